"""Why a program cannot be started, in words: the file and the remedy."""

from __future__ import annotations

import errno
import os
import platform
import shutil
import stat
from collections.abc import Mapping
from pathlib import Path

from runs.execution.spec import CannotStart, RunSpec

_MACHINES = {3: "x86", 8: "mips", 20: "ppc", 21: "ppc64", 22: "s390", 40: "arm", 62: "x86_64"} | {
    183: "aarch64",
    243: "riscv",
    258: "loongarch",
}
_SAME_MACHINE = {"amd64": "x86_64", "arm64": "aarch64", "i386": "x86", "i686": "x86"}


def check_start(spec: RunSpec) -> None:
    """Raise `CannotStart` for what can be seen before the start."""
    if not spec.command:
        raise CannotStart("The command is empty: set `execution.entrypoint` in `app.yaml`.")
    if not spec.cwd.is_dir():
        raise CannotStart(
            f"The working directory `{spec.cwd}` does not exist: correct `execution.cwd` in"
            " `app.yaml`."
        )
    if spec.entry is not None and not spec.entry.is_file():
        raise CannotStart(
            f"The entry file `{_shown(spec.entry, spec)}` is not there: add it to `files`, or"
            " correct `execution.entrypoint` in `app.yaml`."
        )
    if spec.stdin is not None and not spec.stdin.is_file():
        raise CannotStart(f"The input file `{spec.stdin.name}` is not there: submit the run again.")
    if find_program(spec.command[0], spec.env, spec.cwd) is None and "/" not in spec.command[0]:
        raise CannotStart(_absent(spec.command[0]))


def find_program(name: str, env: Mapping[str, str], cwd: Path) -> Path | None:
    """The file that a command starts, or None; `name` may be a path or a name to look up."""
    if "/" in name:
        path = cwd / name
        return path if path.exists() else None
    found = shutil.which(name, path=env.get("PATH", os.defpath))
    return Path(found) if found else None


def words_for(problem: Exception, spec: RunSpec) -> str:
    """What to tell about an exception that starting raised."""
    name = spec.command[0]
    program = find_program(name, spec.env, spec.cwd) or spec.cwd / name
    shown = _shown(program, spec)
    if isinstance(problem, ValueError):  # UnicodeEncodeError is one
        return (
            f"`{shown}` cannot be given its options: one of them holds a character that no command"
            " line can carry (a zero byte or half a character). Remove it."
        )
    code = problem.errno if isinstance(problem, OSError) else None
    if code == errno.ENOENT:
        if program.exists():
            return f"`{shown}` cannot be started: {_missing_interpreter(program)}"
        return _absent(name) if "/" not in name else f"`{shown}` is not there: upload it again."
    if code == errno.EACCES:
        if program.is_dir():
            return f"`{shown}` is a directory: set `execution.entrypoint` to a file."
        if not program.stat().st_mode & (stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH):
            return (
                f"`{shown}` is not executable: set its mode with `chmod +x` and upload the"
                " application again (zip archives made on Windows lose it)."
            )
        return (
            f"`{shown}` may not be executed by the worker's user: look at the permissions on the"
            " way to it, and whether its file system is mounted `noexec`."
        )
    if code == errno.ENOEXEC:
        return f"`{shown}` is no program for this machine: {_format_words(program)}"
    if code == errno.E2BIG:
        return "The options are too long for a command line: give long values in the input."
    if code == errno.ETXTBSY:
        return f"`{shown}` is still being written: run it again."
    if code in (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE):
        return (
            f"The worker has no room for another process ({os.strerror(code)}): run it again, or"
            " give the worker fewer slots."
        )
    return f"`{shown}` could not be started: {problem}."


def _absent(name: str) -> str:
    if name == "java":
        return (
            "`java` is not installed on the worker: install a Java runtime (17 or later) and put"
            " it on the worker's search path."
        )
    return f"`{name}` was not found on the search path of the run: install it on the worker."


def _missing_interpreter(program: Path) -> str:
    """A file that exists but for which the system says that something does not."""
    head = _head(program)
    if head.startswith(b"#!"):
        line = head[2:].split(b"\n", 1)[0].decode("utf-8", "replace")
        if line.endswith("\r"):
            return "its first line ends in a Windows line end; save it with Unix line ends."
        return f"its first line asks for `{line.strip()}`, which the worker does not have."
    return (
        "it needs a loader or library that the worker does not have; link it statically, or build"
        " it for the worker's system."
    )


def _format_words(program: Path) -> str:
    head = _head(program)
    here = platform.machine()
    if not head:
        return "the file is empty; upload it again."
    if head.startswith(b"\x7fELF") and len(head) > 19:
        order = "little" if head[5] == 1 else "big"
        number = int.from_bytes(head[18:20], "little" if order == "little" else "big")
        built = _MACHINES.get(number, f"machine {number}")
        if built == _SAME_MACHINE.get(here, here):
            return "it is damaged or cut short; build and upload it again."
        return f"it was built for {built}, the worker is {here}; build it for linux/{here}."
    if head.startswith(b"MZ"):
        return f"it was built for Windows; build it for linux/{here}."
    if head[:4] in (b"\xcf\xfa\xed\xfe", b"\xce\xfa\xed\xfe", b"\xca\xfe\xba\xbe"):
        return f"it was built for macOS; build it for linux/{here}."
    if b"\0" not in head:
        return "it is a text without a first line such as `#!/bin/sh`; add one."
    return f"its format is not known; build it for linux/{here}."


def _head(program: Path) -> bytes:
    try:
        with program.open("rb") as handle:
            return handle.read(256)
    except OSError:
        return b""


def _shown(path: Path, spec: RunSpec) -> str:
    """The path as its author knows it: relative to the working copy where it lies in it."""
    return str(path.relative_to(spec.cwd)) if path.is_relative_to(spec.cwd) else str(path)
