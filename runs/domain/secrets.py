"""Rules of secrets: which variables and files a run may be given, and how large they are."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Literal

from runs.domain.errors import FieldsInvalid, Taken

ENV, FILE = "env", "file"
KINDS = (ENV, FILE)

MASK = "********"
"""What stands for a value wherever one is asked for. It is never a value itself."""
MOST_SECRETS = 100
"""In one collection."""
LONGEST_VARIABLE_BYTES = 64 * 1024
"""Of a variable's value: the system takes 128 KiB with its name, and all of them together 2 MiB."""
LARGEST_FILE_BYTES = 256 * 1024
LARGEST_COLLECTION_BYTES = 1024 * 1024
"""All values of a collection together."""

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}", re.ASCII)
_OURS = frozenset(
    {
        *("PATH", "HOME", "LANG", "LANGUAGE", "TMPDIR", "TMP", "TEMP", "RUN_ID", "RUN_DIR"),
        *("USER", "LOGNAME", "SHELL", "PWD", "OLDPWD", "TERM", "TZ"),
    }
)
_STEERING = frozenset(
    {
        *("IFS", "ENV", "BASH_ENV", "BASHOPTS", "SHELLOPTS", "PS4", "CDPATH", "GLOBIGNORE"),
        *("GCONV_PATH", "GLIBC_TUNABLES", "LOCPATH", "NLSPATH", "HOSTALIASES", "MALLOC_TRACE"),
        *("NODE_OPTIONS", "NODE_PATH", "PERL5OPT", "PERL5LIB", "PERLLIB", "RUBYOPT", "RUBYLIB"),
        *("JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS", "JDK_JAVA_OPTIONS", "CLASSPATH"),
        *("OPENSSL_CONF", "OPENSSL_MODULES", "OPENSSL_ENGINES", "PROMPT_COMMAND"),
    }
)
_PREFIXES = ("RUNSITE_", "PYTHON", "LD_", "DYLD_", "LC_", "BASH_FUNC_", "MALLOC_")
RESULT_FOLDERS = frozenset({"outputs", "output"})
"""What lies in these is taken for results, and kept in clear text."""


@dataclass(frozen=True)
class SecretValue:
    """One secret in clear text. Its value stands in no text that is made of it."""

    kind: str
    location: str
    value: str = field(repr=False)

    @property
    def key(self) -> tuple[str, str]:
        """What there is once in a collection."""
        return self.kind, self.location


@dataclass(frozen=True)
class SecretOperation:
    """One change of a collection. A deletion has no value."""

    op: Literal["create", "update", "delete"]
    kind: str
    location: str
    value: str | None = field(default=None, repr=False)


def check_secret(kind: str, location: str, value: str) -> dict[str, list[str]]:
    """What is wrong with a secret, by field; none of the messages holds the value."""
    errors: dict[str, list[str]] = {}
    if kind not in KINDS:
        return {"kind": [f"`{kind[:20]}` is no type of secret. Use env or file."]}
    if fault := variable_fault(location) if kind == ENV else file_fault(location):
        errors["location"] = [fault]
    if fault := value_fault(kind, location, value):
        errors["value"] = [fault]
    return errors


def check_collection(secrets: Iterable[SecretValue]) -> None:
    """Raise `FieldsInvalid` unless these can be a collection: each fits, and all together."""
    found: dict[tuple[str, str], SecretValue] = {}
    for secret in secrets:
        if errors := check_secret(secret.kind, secret.location, secret.value):
            raise FieldsInvalid(errors)
        if secret.key in found:
            raise FieldsInvalid({"location": [f"{named(*secret.key)} is given twice. Remove one."]})
        found[secret.key] = secret
    if len(found) > MOST_SECRETS:
        raise FieldsInvalid(
            {
                "secrets": [
                    f"A collection has at most {MOST_SECRETS} secrets; these are {len(found)}."
                    " Remove some, or put several values into one file."
                ]
            }
        )
    total = sum(len(secret.value.encode()) for secret in found.values())
    if total > LARGEST_COLLECTION_BYTES:
        raise FieldsInvalid(
            {
                "secrets": [
                    f"All values of a collection have at most {LARGEST_COLLECTION_BYTES:,} bytes"
                    f" together; these have {total:,}. Shorten or remove some."
                ]
            }
        )
    paths = {location for kind, location in found if kind == FILE}
    for path in sorted(paths):
        above = {str(parent) for parent in PurePosixPath(path).parents} & paths
        if above:
            raise FieldsInvalid(
                {
                    "location": [
                        f"`{path}` lies below `{above.pop()}`, which is a file. Move one of them."
                    ]
                }
            )


def changed(
    secrets: Iterable[SecretValue], operations: Sequence[SecretOperation]
) -> dict[tuple[str, str], SecretValue]:
    """The secrets after all `operations`, one after the other, by kind and location.

    To update one with the mask leaves it as it is: then what was read can be sent back. Raises
    `Taken` for one that is there already, `FieldsInvalid` for one that is not there and for what
    does not fit; the collection is checked as it is after the last operation.
    """
    now = {secret.key: secret for secret in secrets}
    for operation in operations:
        key = operation.kind, operation.location
        if operation.op == "delete":
            if key not in now:
                raise _missing(key)
            del now[key]
            continue
        if operation.op == "create" and key in now:
            raise Taken(
                {"location": [f"There is {named(*key)} already. Replace its value instead."]}
            )
        if operation.op == "update" and key not in now:
            raise _missing(key)
        if operation.op not in {"create", "update"}:
            raise FieldsInvalid(
                {"operations": [f"`{operation.op[:20]}` is none of create, update, delete."]}
            )
        if operation.value is None:
            raise FieldsInvalid({"value": [f"Give {named(*key)} a value."]})
        if operation.op == "update" and operation.value == MASK:
            continue
        now[key] = SecretValue(*key, operation.value)
    check_collection(now.values())
    return now


def variable_fault(name: str) -> str:
    """Why an environment variable may not be called so; empty when it may."""
    shown = _shown(name)
    if not _VARIABLE.fullmatch(name):
        return (
            f"`{shown}` is no name of an environment variable. Use letters, digits and"
            " underscores, at most 255, and begin with no digit."
        )
    upper = name.upper()
    if upper in _OURS or upper.startswith("RUNSITE_"):
        return f"`{shown}` is set by Runsite itself or by the system. Choose another name."
    if upper in _STEERING or upper.startswith(_PREFIXES):
        return (
            f"`{shown}` changes how programs are started, so it may not be a secret. Choose"
            " another name."
        )
    return ""


def file_fault(path: str) -> str:
    """Why a file of the working directory may not be called so; empty when it may."""
    shown = _shown(path)
    if not path:
        return "Give the path of the file, relative to the working directory."
    if path.startswith(("/", "~")):
        return (
            f"`{shown}` is not relative to the working directory of the run. Give a path as"
            f" `{_shown(path.lstrip('/~')) or 'key.pem'}`, and let the program read it there."
        )
    parts = path.split("/")
    if any(part in {"", ".", ".."} for part in parts):
        return f"`{shown}` has an empty part, `.` or `..` in it. Give a plain path as `keys/a.pem`."
    if len(path) > 1024 or any(len(part.encode("utf-8", "replace")) > 255 for part in parts):
        return "A path has at most 1,024 characters, and each part of it 255 bytes. Shorten it."
    if not path.isprintable() or "\\" in path or not _is_text(path):
        return f"`{shown}` holds a control character or a backslash. Remove it."
    if parts[0] in RESULT_FOLDERS:
        return (
            f"`{shown}` lies in a folder whose files are kept as results, in clear text. Choose"
            " another folder."
        )
    return ""


def value_fault(kind: str, location: str, value: str) -> str:
    """Why this cannot be the value of a secret, without a word of it; empty when it can."""
    if not value:
        return "Give a value."
    if value == MASK:
        return "That is what stands for a value, not one. Give the value itself."
    if not _is_text(value):
        return "The value is no valid text. Give it in UTF-8; encode binary data, as with base64."
    if kind == ENV and "\0" in value:
        return "The value of a variable cannot hold a zero byte. Use a file."
    most = LONGEST_VARIABLE_BYTES if kind == ENV else LARGEST_FILE_BYTES
    if (size := len(value.encode())) > most:
        remedy = "Use a file." if kind == ENV and size <= LARGEST_FILE_BYTES else "Shorten it."
        return f"The value has {size:,} bytes; at most {most:,} are allowed. {remedy}"
    return ""


def named(kind: str, location: str) -> str:
    """A secret in words, as "the variable `API_KEY`"."""
    return f"the {'variable' if kind == ENV else 'file'} `{_shown(location)}`"


def _missing(key: tuple[str, str]) -> FieldsInvalid:
    return FieldsInvalid({"location": [f"There is not {named(*key)} in this collection."]})


def _shown(text: str) -> str:
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)[
        :100
    ]


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
