"""Builds the environment of an application: once per content and host, under a lock."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from runs.execution.installer import LOOK_S, BuildFailed, Installer, Tail
from runs.execution.interpreters import (
    SEARCH_PATH,
    Interpreter,
    ask_version,
    find_interpreter,
    find_uv,
    host_interpreter,
    host_platform,
)
from runs.execution.package_index import index_environment, without_default_index
from runs.execution.requirements import (
    BUNDLED,
    Kind,
    RequirementsRefused,
    bundled_packages,
    read_requirements,
)

__all__ = [
    "BUNDLED",
    "BuildFailed",
    "BuiltEnvironment",
    "Interpreter",
    "Kind",
    "RequirementsRefused",
    "build_environment",
    "built_environment",
    "bundled_packages",
    "environment_key",
    "find_interpreter",
    "find_uv",
    "host_interpreter",
    "host_platform",
    "index_environment",
    "read_requirements",
    "remove_environment",
]

_MARKER = ".complete"


@dataclass(frozen=True)
class BuiltEnvironment:
    """A finished environment. `interpreter` is what an application is started with."""

    path: Path
    interpreter: Path
    python_version: str
    packages: tuple[str, ...]
    """What was installed, as `name==version`, sorted."""


def environment_key(requirements: Sequence[str], python_version: str, platform: str) -> str:
    """The name of the environment with this content: the same for any order and spacing."""
    content = [
        sorted({" ".join(requirement.split()) for requirement in requirements}),
        python_version,
        platform,
    ]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:40]


def built_environment(target: Path) -> BuiltEnvironment | None:
    """The environment at `target` if it is finished and its Python still exists."""
    try:
        facts = json.loads((target / _MARKER).read_text())
    except (OSError, ValueError):
        return None
    interpreter = target / "bin" / "python"
    if not interpreter.exists():
        return None
    return BuiltEnvironment(
        target, interpreter, str(facts["python_version"]), tuple(facts["packages"])
    )


def build_environment(
    target: Path,
    *,
    requirements: Sequence[str],
    python: Path | None,
    log: Callable[[bytes], None],
    time_limit_s: float,
    should_stop: Callable[[], object],
    cache_dir: Path,
    uv: Path,
    extra_env: Mapping[str, str] | None = None,
) -> BuiltEnvironment:
    """The environment at `target` with `requirements` on top of `python` (None: that of ours).

    One that is finished is returned as it is. Of several builders on a host one builds, the
    others wait for it. The installer sees `extra_env` (see `index_environment`) and nothing else
    of this process; with a `RUNSITE_MARK` in it, a lost worker's builds are found. What it prints
    goes to `log`, addresses without their passwords. Raises `BuildFailed` after which nothing is
    left at `target`; `should_stop` is asked every 0.2 s.
    """
    finished = built_environment(target)
    if finished:
        return finished
    target.parent.mkdir(parents=True, exist_ok=True)
    cache_dir.mkdir(parents=True, exist_ok=True)
    tail = Tail(log)
    deadline = time.monotonic() + time_limit_s
    with _locked(target, tail, deadline, time_limit_s, should_stop):
        finished = built_environment(target)
        if finished:
            tail.write(b"Another builder has finished this environment.\n")
            return finished
        scratch = target.parent / f".{target.name}.build"
        _remove(target)
        _remove(scratch)
        (scratch / "home").mkdir(parents=True)
        installer = Installer(
            environ=_environ(scratch, cache_dir, extra_env or {}),
            tail=tail,
            # Waiting for another builder does not count.
            deadline=time.monotonic() + time_limit_s,
            time_limit_s=time_limit_s,
            should_stop=should_stop,
        )
        try:
            base = python or host_interpreter().path
            _build(installer, target, scratch, uv=uv, python=base, requirements=requirements)
            return _finished(target, tail)
        except BaseException:
            _remove(target)
            raise
        finally:
            _remove(scratch)


def remove_environment(target: Path) -> bool:
    """Remove the environment at `target`; False if it is being built just now."""
    if not target.parent.is_dir():
        return True
    with _lock_file(target).open("ab") as lock:
        if not _try_lock(lock):
            return False
        (target / _MARKER).unlink(missing_ok=True)
        _remove(target)
        return True


def _build(
    installer: Installer,
    target: Path,
    scratch: Path,
    *,
    uv: Path,
    python: Path,
    requirements: Sequence[str],
) -> None:
    # In place, as an environment cannot be moved; finished is what carries the marker.
    installer.run(str(uv), "venv", "--quiet", "--no-project", "--python", str(python), str(target))
    interpreter = target / "bin" / "python"
    arguments = ["--python", str(interpreter), "--no-progress", "--color", "never"]
    wanted = [line for line in requirements if not line.startswith("-c ")]
    bounds = [line.removeprefix("-c ") for line in requirements if line.startswith("-c ")]
    for option, lines in (("--requirements", wanted), ("--constraints", bounds)):
        if lines:
            file = scratch / f"{option.strip('-')}.txt"
            file.write_text("".join(f"{line}\n" for line in lines))
            arguments += [option, str(file)]
    if wanted:
        _install(installer, [str(uv), "pip", "install", *arguments])
    try:
        version = ask_version(interpreter)
    except OSError as error:
        raise BuildFailed(
            f"The Python of the environment does not start: {error}. Check that installation.",
            installer.tail.text(),
        ) from None
    facts = {"python_version": version, "packages": _installed(target)}
    marker = scratch / "marker"
    marker.write_text(json.dumps(facts))
    marker.replace(target / _MARKER)


def _install(installer: Installer, command: Sequence[str]) -> None:
    """Install; on a host that reaches nothing, from its local places alone, as pip does."""
    no_index = ["--no-index"] if installer.environ.get("UV_NO_INDEX") else []
    try:
        installer.run(*command, *no_index)
    except BuildFailed as failure:
        local = without_default_index(installer.environ)
        if no_index or local is None or not failure.is_unreachable:
            raise
        installer.tail.write(b"The package index is out of reach. Trying local places alone.\n")
        try:
            _install(replace(installer, environ=local), command)
        except BuildFailed as second:
            raise failure if second.reason == "failed" else second from None


def _finished(target: Path, tail: Tail) -> BuiltEnvironment:
    finished = built_environment(target)
    if finished is None:
        raise BuildFailed(
            f"Something removed the environment `{target.name}` while it was built. Build again.",
            tail.text(),
        )
    return finished


def _environ(scratch: Path, cache_dir: Path, extra: Mapping[str, str]) -> dict[str, str]:
    return {
        "PATH": SEARCH_PATH,
        "LANG": "C.UTF-8",
        # An environment of its own files: an application that writes into its packages does not
        # change those of others, as it would through links into the cache.
        "UV_LINK_MODE": "copy",
        **extra,
        "HOME": str(scratch / "home"),
        "TMPDIR": str(scratch),
        "UV_CACHE_DIR": str(cache_dir),
        "UV_PYTHON_DOWNLOADS": "never",
        "UV_NO_PROGRESS": "1",
        "NO_COLOR": "1",
    }


@contextlib.contextmanager
def _locked(
    target: Path,
    tail: Tail,
    deadline: float,
    time_limit_s: float,
    should_stop: Callable[[], object],
) -> Iterator[None]:
    """Hold the lock of `target` on this host; it goes with the process, however that ends."""
    with _lock_file(target).open("ab") as lock:
        waiting = False
        while not _try_lock(lock):
            if not waiting:
                tail.write(b"Waiting for another builder of this environment.\n")
                waiting = True
            if should_stop():
                raise BuildFailed("The build was stopped.", tail.text(), "stopped")
            if time.monotonic() > deadline:
                raise BuildFailed(
                    f"Another builder held this environment for {time_limit_s:g} s. Build again.",
                    tail.text(),
                    "timed_out",
                )
            time.sleep(LOOK_S)
        yield


def _lock_file(target: Path) -> Path:
    return target.parent / f".{target.name}.lock"


def _try_lock(lock: IO[bytes]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _remove(path: Path) -> None:
    if not path.exists():
        return
    try:
        shutil.rmtree(path)
    except PermissionError:
        # Some build tools leave folders that nobody may write to.
        for folder, _, _ in os.walk(path):
            Path(folder).chmod(0o700)
        shutil.rmtree(path)


def _installed(target: Path) -> list[str]:
    """The packages in an environment, from the names of their folders."""
    names = [path.name.removesuffix(".dist-info") for path in target.glob("lib/*/*/*.dist-info")]
    return sorted("==".join(name.rsplit("-", 1)) for name in names)
