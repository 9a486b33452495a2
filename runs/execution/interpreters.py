"""Which Pythons this host has, as the real files behind links and shims."""

from __future__ import annotations

import json
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

SEARCH_PATH = "/usr/local/bin:/usr/bin:/bin"

_OLDEST_PYTHON = (3, 8)
_LIMIT_S = 60
_ASK = "import sys, json; print(json.dumps([sys._base_executable, sys.version.split()[0]]))"


@dataclass(frozen=True)
class Interpreter:
    """A Python on this host: the real file, no link or shim; a warning if it is second choice."""

    path: Path
    version: str
    warning: str = ""


def host_platform() -> str:
    """What decides which wheels fit this host, such as `linux-x86_64-glibc2.36`."""
    library, version = platform.libc_ver()
    parts = (platform.system(), platform.machine(), library + version)
    return "-".join(part.lower() for part in parts if part)


def host_interpreter() -> Interpreter:
    """The Python that runs this process, without its virtual environment."""
    base = getattr(sys, "_base_executable", "") or sys.executable
    return Interpreter(Path(base).resolve(), platform.python_version())


def find_uv() -> Path:
    """The installer: beside the Python of this process, else on its search path."""
    beside = Path(sys.executable).parent / "uv"
    if beside.is_file():
        return beside
    return Path(shutil.which("uv") or beside)


def find_interpreter(
    wanted: str | None, *, uv: Path, environ: Mapping[str, str] | None = None
) -> Interpreter:
    """The Python of version `wanted` on this host, else that of this process with a warning."""
    host = host_interpreter()
    if not wanted or wanted == "None":
        return host
    version = re.fullmatch(r"(\d{1,2})(\.\d{1,3}){0,2}", wanted.strip())
    if version is None:
        return _instead(host, f"`{wanted[:40]}` is not a Python version.")
    parts = wanted.strip().split(".")
    if host.version.split(".")[: len(parts)] == parts:
        return host
    if tuple(map(int, parts[:2])) < _OLDEST_PYTHON[: len(parts)]:
        return _instead(host, f"Python {wanted} is too old to build an environment with.")
    found = _ask_for_python(wanted.strip(), uv, environ or {})
    return found or _instead(host, f"Python {wanted} is not installed on this host.")


def ask_version(interpreter: Path) -> str:
    """The version that `interpreter` says to be; raises `OSError` if it does not start."""
    try:
        answer = json.loads(_output([str(interpreter), "-I", "-c", _ASK], {"PATH": SEARCH_PATH}))
    except (subprocess.SubprocessError, ValueError) as error:
        raise OSError(f"`{interpreter}` does not answer: {error}") from None
    return str(answer[1])


def _instead(host: Interpreter, problem: str) -> Interpreter:
    return Interpreter(host.path, host.version, f"{problem} Python {host.version} is used.")


def _ask_for_python(wanted: str, uv: Path, environ: Mapping[str, str]) -> Interpreter | None:
    """What `uv` finds for a version; None if it finds none that works."""
    environ = {"PATH": SEARCH_PATH, **environ, "UV_PYTHON_DOWNLOADS": "never"}
    command = [str(uv), "python", "find", "--no-project", "--no-config", "--system", wanted]
    try:
        found = _output(command, environ)
        base, version = json.loads(_output([found, "-I", "-c", _ASK], environ))
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    return Interpreter(Path(base).resolve(), version)


def _output(command: Sequence[str], environ: Mapping[str, str]) -> str:
    done = subprocess.run(
        command, env=environ, cwd="/", check=True, capture_output=True, text=True, timeout=_LIMIT_S
    )
    return done.stdout.strip()
