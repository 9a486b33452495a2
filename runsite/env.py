"""Typed readers of environment variables; a wrong value ends in one clear line."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import urlsplit

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?", re.IGNORECASE)


class SettingError(Exception):
    """A variable of the environment cannot be used; the message names it and the remedy."""


def given(name: str) -> str | None:
    """The variable without surrounding blanks; None when it is absent or empty."""
    value = os.environ.get(name, "").strip()
    return value or None


def text(name: str, default: str = "", *, choices: tuple[str, ...] = ()) -> str:
    """A text, one of `choices` when there are any."""
    value = given(name)
    if value is None:
        return default
    if choices and value not in choices:
        raise SettingError(f"{name} is {value!r}; give one of {', '.join(choices)}.")
    return value


def secret(name: str) -> str | None:
    """A text that must not be shown: from `name`, or from the file that `name`_FILE names.

    One newline at the end of the file is not part of the secret. No message repeats the value.
    """
    value = given(name)
    file_name = given(f"{name}_FILE")
    if value is not None and file_name is not None:
        raise SettingError(f"{name} and {name}_FILE are both set; keep one of them.")
    if file_name is None:
        return value
    try:
        content = Path(file_name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise SettingError(
            f"{name}_FILE names {file_name}, which cannot be read: {reason}. "
            "Give a file that this user can read."
        ) from error
    content = content.strip()
    if not content:
        raise SettingError(f"{name}_FILE names {file_name}, which is empty; write the value in it.")
    return content


def integer(
    name: str, default: int, *, minimum: int | None = None, maximum: int | None = None
) -> int:
    """A whole number between `minimum` and `maximum`, both included."""
    value = given(name)
    if value is None:
        return default
    try:
        number = int(value)
    except ValueError:
        raise SettingError(f"{name} is {value!r}; give a whole number, as {default}.") from None
    _check_range(name, number, minimum, maximum)
    return number


def flag(name: str, default: bool) -> bool:
    """A yes or no: 1, true, yes, on; 0, false, no, off."""
    value = given(name)
    if value is None:
        return default
    if value.lower() in _TRUE:
        return True
    if value.lower() in _FALSE:
        return False
    raise SettingError(f"{name} is {value!r}; give 1 or 0.")


def words(name: str, default: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Several texts separated by commas; blanks around them are dropped."""
    value = given(name)
    if value is None:
        return default
    return tuple(word.strip() for word in value.split(",") if word.strip())


def folder(name: str, default: Path) -> Path:
    """A folder as an absolute path; it need not exist. A relative one starts at the current
    directory, `~` is the home of the user."""
    value = given(name)
    if value is None:
        return default.absolute()
    if "\n" in value or "\0" in value:
        raise SettingError(f"{name} holds a line break; give one path.")
    try:
        return Path(os.path.abspath(Path(value).expanduser()))  # noqa: PTH100 (keeps links)
    except RuntimeError:
        raise SettingError(
            f"{name} is {value!r}, and the home it names is unknown; give a full path."
        ) from None


def file(name: str) -> Path | None:
    """A file as an absolute path, as `folder` reads one; None when the variable is absent."""
    return folder(name, Path()) if given(name) is not None else None


def folders(name: str) -> tuple[Path, ...]:
    """Folders separated by `:`, as in PATH; each must be absolute."""
    found = []
    for part in (given(name) or "").split(":"):
        if not part.strip():
            continue
        path = Path(part.strip())
        if not path.is_absolute():
            raise SettingError(f"{name} names {part!r}; give full paths, separated by ':'.")
        found.append(path)
    return tuple(found)


def url(name: str, default: str | None, *, schemes: tuple[str, ...]) -> str | None:
    """An address whose scheme is one of `schemes`, without the slash at its end."""
    value = given(name)
    if value is None:
        return default
    check_url(name, value, schemes)
    return value.rstrip("/")


def secret_url(name: str, *, schemes: tuple[str, ...]) -> str | None:
    """An address that may hold a password, so it may also come from `name`_FILE."""
    value = secret(name)
    if value is not None:
        check_url(name, value, schemes)
    return value


def check_url(name: str, value: str, schemes: tuple[str, ...]) -> None:
    """Raise `SettingError` unless `value` is an address with one of `schemes`.

    The message shows the scheme only: the rest may hold a password.
    """
    wanted = " or ".join(f"{scheme}://…" for scheme in schemes)
    try:
        parts = urlsplit(value)
        _ = parts.port
    except ValueError:
        raise SettingError(f"{name} is not a well-formed address; give {wanted}") from None
    if parts.scheme not in schemes or "://" not in value:
        shown = f"begins with {parts.scheme}:" if parts.scheme else "has no scheme"
        raise SettingError(f"{name} {shown}; give an address as {wanted}")
    if any(character.isspace() for character in value):
        raise SettingError(f"{name} holds a blank; write it as %20.")


def seconds(
    name: str, default: float | None, *, minimum: float = 0.0, maximum: float | None = None
) -> float | None:
    """A number of seconds; `none` stands for no limit where the default is none."""
    value = given(name)
    if value is None:
        return default
    if default is None and value.lower() == "none":
        return None
    try:
        number = float(value)
    except ValueError:
        number = float("nan")
    if number != number or number in (float("inf"), float("-inf")):
        raise SettingError(f"{name} is {value!r}; give a number of seconds, as 10 or 0.5.")
    _check_range(name, number, minimum, maximum)
    return number


def size(name: str, default: int, *, minimum: int = 0) -> int:
    """A number of bytes: 1048576, 512 KiB, 1.5G (always powers of 1024)."""
    value = given(name)
    if value is None:
        return default
    match = _SIZE.fullmatch(value)
    if match is None:
        raise SettingError(f"{name} is {value!r}; give a size in bytes, or as 500 MiB or 4 GiB.")
    number = int(float(match[1]) * _UNITS[match[2].lower()])
    _check_range(name, number, minimum, None)
    return number


def inherited(names: tuple[str, ...], prefixes: tuple[str, ...]) -> dict[str, str]:
    """Variables that are not ours but are handed on: those named, and those that begin so."""
    return {
        name: value
        for name, value in os.environ.items()
        if value and (name in names or name.startswith(prefixes))
    }


def _check_range(name: str, number: float, minimum: float | None, maximum: float | None) -> None:
    if minimum is not None and number < minimum:
        raise SettingError(f"{name} is {number}; it must be at least {minimum}.")
    if maximum is not None and number > maximum:
        raise SettingError(f"{name} is {number}; it must be at most {maximum}.")
