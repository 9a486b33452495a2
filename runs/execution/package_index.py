"""Where packages come from: the settings of the worker in the words of the installer."""

from __future__ import annotations

import configparser
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

_SYSTEM_FILES = (Path("/etc/xdg/pip/pip.conf"), Path("/etc/pip.conf"))
_PASSED_ON = frozenset(
    {"PATH", "LANG", "LC_ALL", "TZ", "NETRC", "SSL_CERT_FILE", "SSL_CERT_DIR", "GIT_SSL_CAINFO"}
    | {"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"}
    | {"http_proxy", "https_proxy", "all_proxy", "no_proxy"}
    | {"UV_CONFIG_FILE", "UV_CONSTRAINT", "UV_DEFAULT_INDEX", "UV_EXCLUDE_NEWER"}
    | {"UV_EXTRA_INDEX_URL", "UV_FIND_LINKS", "UV_HTTP_RETRIES", "UV_HTTP_TIMEOUT", "UV_INDEX"}
    | {"UV_INDEX_STRATEGY", "UV_INDEX_URL", "UV_INSECURE_HOST", "UV_KEYRING_PROVIDER"}
    | {"UV_LINK_MODE", "UV_NATIVE_TLS", "UV_NO_INDEX", "UV_OFFLINE", "UV_OVERRIDE"}
    | {"UV_PRERELEASE", "UV_RESOLUTION", "UV_SYSTEM_CERTS", "UV_TORCH_BACKEND"}
)
_INDEXES = ("UV_DEFAULT_INDEX", "UV_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS")


def index_environment(
    environ: Mapping[str, str], *, system_files: Sequence[Path] = _SYSTEM_FILES
) -> dict[str, str]:
    """The variables an installer gets, out of those of the worker in `environ`; nothing else.

    `uv` does not read what was configured for pip (PIP_* variables, `pip.conf`), but people
    expect one setting to do: it is translated, unless indexes are set for `uv` itself. As with
    pip, all indexes then count alike. `UV_NO_INDEX` is our own word for pip's `no-index`.
    """
    found = {
        name: value
        for name, value in environ.items()
        if name in _PASSED_ON or name.startswith("UV_INDEX_")
    }
    home = environ.get("HOME", "")
    config_home = environ.get("XDG_CONFIG_HOME") or (f"{home}/.config" if home else "")
    if config_home:
        found["XDG_CONFIG_HOME"] = config_home  # where uv looks for the settings of the user
    if home and "NETRC" not in found and Path(home, ".netrc").is_file():
        found["NETRC"] = f"{home}/.netrc"
    pip = _pip_settings(environ, config_home, system_files)
    if not any(found.get(name) for name in _INDEXES):
        found |= _translated_indexes(pip)
    for name, key in (
        ("SSL_CERT_FILE", "cert"),
        ("UV_HTTP_TIMEOUT", "timeout"),
        ("UV_HTTP_TIMEOUT", "default-timeout"),
        ("UV_INSECURE_HOST", "trusted-host"),
        ("HTTPS_PROXY", "proxy"),
        ("HTTP_PROXY", "proxy"),
    ):
        if pip.get(key):
            found.setdefault(name, " ".join(pip[key].split()))
    return found


def without_default_index(environ: Mapping[str, str]) -> dict[str, str] | None:
    """`environ` of an installer for a host that does not reach the public index.

    None if the default index was chosen on purpose, or nothing local is set that could do.
    """
    chosen = environ.get("UV_DEFAULT_INDEX") or environ.get("UV_INDEX_URL")
    local = [place for place in environ.get("UV_INDEX", "").split() if place.startswith("file:")]
    if chosen or not (local or environ.get("UV_FIND_LINKS")):
        return None
    if not local:
        return {**environ, "UV_NO_INDEX": "1"}
    return {**environ, "UV_INDEX": " ".join(local[1:]), "UV_DEFAULT_INDEX": local[0]}


def _translated_indexes(pip: Mapping[str, str]) -> dict[str, str]:
    found = {}
    default = pip.get("index-url", "").strip()
    extra = [place for place in pip.get("extra-index-url", "").split() if _is_there(place)]
    links = [place for place in pip.get("find-links", "").split() if _is_there(place)]
    if default:
        found["UV_DEFAULT_INDEX"] = default
    if extra:
        found["UV_INDEX"] = " ".join(extra)
        found["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    if links:
        found["UV_FIND_LINKS"] = ",".join(links)
    if pip.get("no-index", "").strip().lower() in ("1", "true", "yes", "on"):
        found["UV_NO_INDEX"] = "1"
    return found


def _is_there(place: str) -> bool:
    """Whether a local place exists; uv ends with an error where pip only warns."""
    parts = urlsplit(place)
    if parts.scheme == "file":
        return Path(unquote(parts.path)).exists()
    return bool(parts.scheme) or Path(place).expanduser().exists()


def _pip_settings(
    environ: Mapping[str, str], config_home: str, system_files: Sequence[Path]
) -> dict[str, str]:
    """What pip would use to install: its files, the later ones first in rank, then PIP_*."""
    settings: dict[str, str] = {}
    for path in _pip_files(environ, config_home, system_files):
        parser = configparser.RawConfigParser()
        try:
            parser.read(path, encoding="utf-8")
        except (configparser.Error, OSError, UnicodeDecodeError):
            continue  # pip itself would complain to whoever wrote it
        for section in ("global", "install"):
            if parser.has_section(section):
                settings |= {name.replace("_", "-"): value for name, value in parser.items(section)}
    for name, value in environ.items():
        if name.startswith("PIP_") and value:
            settings[name.removeprefix("PIP_").lower().replace("_", "-")] = value
    return settings


def _pip_files(
    environ: Mapping[str, str], config_home: str, system_files: Sequence[Path]
) -> Iterator[Path]:
    chosen = environ.get("PIP_CONFIG_FILE")
    if chosen == os.devnull:
        return
    yield from system_files
    if home := environ.get("HOME"):
        yield Path(home, ".pip/pip.conf")
    if config_home:
        yield Path(config_home, "pip/pip.conf")
    yield Path(sys.prefix, "pip.conf")
    if chosen:
        yield Path(chosen)
