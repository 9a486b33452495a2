"""Environments: built once, under a lock, ended whole; no test asks a package registry."""

from __future__ import annotations

import fcntl
import json
import os
import platform
import stat
import subprocess
import sys
import threading
import zipfile
from pathlib import Path
from typing import Any

import pytest

from runs.execution import installer
from runs.execution.dependencies import (
    BuildFailed,
    BuiltEnvironment,
    build_environment,
    built_environment,
    environment_key,
    find_interpreter,
    find_uv,
    host_interpreter,
    host_platform,
    remove_environment,
)
from tests.processes import is_running, until

LIMIT_S = 300.0


def make_wheel(folder: Path, name: str, version: str, code: str) -> Path:
    """A wheel made by hand, with one module."""
    info = f"{name}-{version}.dist-info"
    path = folder / f"{name}-{version}-py3-none-any.whl"
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(f"{name}.py", code)
        about = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        wheel.writestr(f"{info}/METADATA", about)
        about = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        wheel.writestr(f"{info}/WHEEL", about)
        files = (f"{name}.py", f"{info}/METADATA", f"{info}/WHEEL", f"{info}/RECORD")
        wheel.writestr(f"{info}/RECORD", "".join(f"{file},,\n" for file in files))
    return path


def make_program(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


class Builder:
    """Builds in a folder of its own, with what lies in `wheels` as the only packages."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.wheels = folder / "wheels"
        self.target = folder / "environments" / "key"
        self.log: list[bytes] = []
        make_wheel(self.wheels, "hello", "1.0", "WORD = 'hello'\n")
        make_wheel(self.wheels, "hello", "2.0", "WORD = 'hello again'\n")

    def build(self, *requirements: str, **changes: Any) -> BuiltEnvironment:
        arguments: dict[str, Any] = {
            "requirements": requirements,
            "python": None,
            "log": self.log.append,
            "time_limit_s": LIMIT_S,
            "should_stop": lambda: False,
            "cache_dir": self.folder / "cache",
            "uv": find_uv(),
            "extra_env": {"UV_NO_INDEX": "1", "UV_FIND_LINKS": str(self.wheels)},
        }
        return build_environment(self.target, **(arguments | changes))

    @property
    def printed(self) -> str:
        return b"".join(self.log).decode()

    def left(self) -> set[str]:
        return {path.name for path in self.target.parent.iterdir()}


@pytest.fixture
def builder(tmp_path: Path) -> Builder:
    return Builder(tmp_path)


def ask(environment: BuiltEnvironment, code: str) -> str:
    done = subprocess.run(
        [environment.interpreter, "-c", code],
        env={},
        check=True,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )
    return done.stdout.strip()


def test_a_real_environment_is_built_and_used(builder):
    environment = builder.build("hello>=1", "-c hello<2")
    assert environment.path == builder.target
    assert environment.packages == ("hello==1.0",)
    assert environment.python_version == platform.python_version()
    assert ask(environment, "import hello; print(hello.WORD)") == "hello"
    assert "hello==1.0" in builder.printed
    assert built_environment(builder.target) == environment
    assert builder.left() == {"key", ".key.lock"}


def test_an_environment_without_packages_sees_nothing_of_ours(builder):
    environment = builder.build()
    assert environment.packages == ()
    found = ask(environment, "import sys, importlib.util as u; print(u.find_spec('django'))")
    assert found == "None"
    assert not environment.interpreter.resolve().is_relative_to(sys.prefix)


def test_a_finished_environment_is_not_built_again(builder):
    first = builder.build("hello==2.0")
    builder.log.clear()
    assert builder.build("hello==2.0", uv=Path("/does/not/exist")) == first
    assert builder.log == []


def test_of_two_builders_at_once_one_builds(builder):
    logs: list[list[bytes]] = [[], []]
    built: list[BuiltEnvironment] = []

    def work(log: list[bytes]) -> None:
        built.append(builder.build("hello", log=log.append))

    threads = [threading.Thread(target=work, args=(log,)) for log in logs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT_S)
    assert len(built) == 2
    assert built[0] == built[1]
    assert sum(b"hello==2.0" in b"".join(log) for log in logs) == 1


def test_a_half_built_environment_is_replaced(builder):
    (builder.target / "lib").mkdir(parents=True)
    (builder.target / "lib" / "half").write_text("left by a killed worker")
    (builder.target.parent / ".key.build").mkdir()
    assert built_environment(builder.target) is None
    environment = builder.build("hello")
    assert not (builder.target / "lib" / "half").exists()
    assert ask(environment, "import hello; print(hello.WORD)") == "hello again"


def test_an_environment_whose_python_has_gone_is_built_again(builder):
    environment = builder.build()
    environment.interpreter.unlink()
    environment.interpreter.symlink_to("/does/not/exist")
    assert built_environment(builder.target) is None
    assert ask(builder.build(), "print(1)") == "1"


def test_a_package_that_does_not_exist_is_named_with_a_remedy(builder):
    with pytest.raises(BuildFailed) as failure:
        builder.build("does-not-exist==1.0")
    assert "does-not-exist" in failure.value.message
    assert "Correct the requirements" in failure.value.message
    assert "does-not-exist" in failure.value.tail
    assert failure.value.reason == "failed"
    assert builder.left() == {".key.lock"}


def test_requirements_that_contradict_each_other_fail(builder):
    with pytest.raises(BuildFailed, match="hello"):
        builder.build("hello==1.0", "hello==2.0")
    assert builder.left() == {".key.lock"}


def test_a_missing_installer_is_explained(builder):
    with pytest.raises(BuildFailed, match="could not be started"):
        builder.build(uv=Path("/does/not/exist/uv"))
    assert builder.left() == {".key.lock"}


def test_a_stopped_build_ends_all_its_processes(builder, tmp_path):
    pids = tmp_path / "pids"
    uv = make_program(tmp_path / "uv", f"sleep 1000 & echo $! > {pids}; echo $$ >> {pids}; wait")
    with pytest.raises(BuildFailed) as failure:
        builder.build(
            uv=uv, should_stop=lambda: pids.exists() and pids.read_text().count("\n") == 2
        )
    assert failure.value.reason == "stopped"
    for pid in pids.read_text().split():
        until(lambda pid=int(pid): not is_running(pid))
    assert builder.left() == {".key.lock"}


def test_a_build_that_takes_too_long_is_ended(builder, tmp_path):
    uv = make_program(tmp_path / "uv", "printf 'half a line'; exec sleep 1000")
    with pytest.raises(BuildFailed, match="longer than the 2 s") as failure:
        builder.build(uv=uv, time_limit_s=2)
    assert failure.value.reason == "timed_out"
    assert builder.left() == {".key.lock"}


def test_an_installer_that_ignores_the_polite_signal_is_killed(builder, tmp_path, monkeypatch):
    monkeypatch.setattr(installer, "_GRACE_S", 0.2)
    pid = tmp_path / "pid"
    uv = make_program(
        tmp_path / "uv", f"trap '' TERM; echo $$ > {pid}; while true; do sleep 1; done"
    )
    with pytest.raises(BuildFailed):
        builder.build(uv=uv, should_stop=lambda: pid.exists() and pid.read_text().strip())
    assert not is_running(int(pid.read_text()))


def test_something_left_behind_does_not_hold_the_build(builder, tmp_path, monkeypatch):
    monkeypatch.setattr(installer, "_PIPE_WAIT_S", 0.2)
    pid = tmp_path / "pid"
    uv = make_program(tmp_path / "uv", f"sleep 1000 & echo $! > {pid}; echo done; exit 3")
    with pytest.raises(BuildFailed, match="done"):
        builder.build(uv=uv)
    until(lambda: not is_running(int(pid.read_text())))


UNREACHABLE = """
case "$UV_NO_INDEX$UV_DEFAULT_INDEX $*" in
    *venv*) exec '{uv}' "$@";;
    " "*) echo 'error: Failed to fetch: https://index.example/simple/hello/'; exit 2;;
    *) exec '{uv}' "$@";;
esac
"""


def test_a_host_that_reaches_no_index_uses_its_local_places(builder, tmp_path):
    uv = make_program(tmp_path / "uv", UNREACHABLE.format(uv=find_uv()))
    links = {"UV_FIND_LINKS": str(builder.wheels)}
    environment = builder.build("hello==1.0", uv=uv, extra_env=links)
    assert environment.packages == ("hello==1.0",)
    assert "out of reach" in builder.printed
    remove_environment(builder.target)
    with pytest.raises(BuildFailed, match=r"index\.example.* reaches its package index"):
        builder.build("not-there", uv=uv, extra_env=links)
    with pytest.raises(BuildFailed, match=r"index\.example"):
        builder.build("hello", uv=uv, extra_env={})


def test_the_installer_sees_a_small_environment(builder, tmp_path, monkeypatch):
    monkeypatch.setenv("RUNSITE_SECRET_KEY", "secret")
    uv = make_program(tmp_path / "uv", "env; exit 1")
    with pytest.raises(BuildFailed):
        builder.build(uv=uv, extra_env={"UV_INDEX": "https://index.example/", "HOME": "/root"})
    names = {line.partition("=")[0] for line in builder.printed.splitlines()}
    assert names - {"_", "SHLVL", "OLDPWD", "PWD", "LC_CTYPE"} == {
        "HOME",
        "LANG",
        "NO_COLOR",
        "PATH",
        "TMPDIR",
        "UV_CACHE_DIR",
        "UV_INDEX",
        "UV_LINK_MODE",
        "UV_NO_PROGRESS",
        "UV_PYTHON_DOWNLOADS",
    }
    assert f"HOME={builder.target.parent}/.key.build/home" in builder.printed


def test_passwords_in_addresses_do_not_reach_the_log(builder, tmp_path):
    uv = make_program(
        tmp_path / "uv",
        "printf 'error: cannot reach https://me:sec'; sleep 0.3; echo 'ret@index.example/'; exit 1",
    )
    with pytest.raises(BuildFailed) as failure:
        builder.build(uv=uv)
    shown = builder.printed + failure.value.tail + failure.value.message
    assert "https://***@index.example/" in shown
    assert "ret@" not in shown


def test_a_builder_that_waits_for_another_says_so_and_can_be_stopped(builder):
    builder.target.parent.mkdir(parents=True)
    with (builder.target.parent / ".key.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(BuildFailed) as failure:
            builder.build(should_stop=lambda: builder.log)
        assert failure.value.reason == "stopped"
        assert "Waiting for another builder" in builder.printed
        with pytest.raises(BuildFailed, match="held this environment") as failure:
            builder.build(time_limit_s=0.1)
        assert failure.value.reason == "timed_out"
        assert remove_environment(builder.target) is False
    assert remove_environment(builder.target) is True


def test_a_removed_environment_is_gone(builder):
    builder.build()
    assert remove_environment(builder.target) is True
    assert builder.left() == {".key.lock"}
    assert remove_environment(builder.target.parent / "no" / "such") is True


def test_the_files_of_an_environment_are_its_own(builder):
    environment = builder.build("hello==2.0")
    (module,) = environment.path.glob("lib/*/site-packages/hello.py")
    assert module.stat().st_nlink == 1


def test_the_key_follows_the_content_and_not_its_order():
    key = environment_key(["a>=1", "b"], "3.11.7", "linux")
    assert environment_key(["b", " a>=1 ", "b"], "3.11.7", "linux") == key
    others = [
        environment_key(["a>=2", "b"], "3.11.7", "linux"),
        environment_key(["a>=1"], "3.11.7", "linux"),
        environment_key(["a>=1", "-c b"], "3.11.7", "linux"),
        environment_key(["a>=1", "b"], "3.12.0", "linux"),
        environment_key(["a>=1", "b"], "3.11.7", "other"),
    ]
    assert len({key, *others}) == 6
    assert len(key) == 40


def test_the_interpreter_of_this_host_is_a_real_file_outside_of_our_environment():
    host = host_interpreter()
    assert not host.path.is_symlink()
    assert not host.path.is_relative_to(sys.prefix) or sys.prefix == sys.base_prefix
    assert os.access(host.path, os.X_OK)
    assert host.path.read_bytes()[:4] == b"\x7fELF"
    assert host.version == platform.python_version()


@pytest.mark.parametrize("wanted", [None, "", platform.python_version(), "3"])
def test_a_version_that_the_host_python_meets_needs_no_search(wanted):
    assert find_interpreter(wanted, uv=Path("/does/not/exist")) == host_interpreter()


@pytest.mark.parametrize("wanted", ["3.99", "2.7", "3.1", "pypy", "/etc/passwd", "3.11 --x", "3.x"])
def test_a_version_that_is_not_there_is_replaced_with_a_warning(wanted):
    found = find_interpreter(wanted, uv=find_uv())
    assert found.path == host_interpreter().path
    assert wanted in found.warning
    assert platform.python_version() in found.warning


def test_a_version_that_is_there_is_found_by_its_real_path(tmp_path):
    real = host_interpreter().path
    answer = json.dumps([str(real), "3.99.1"])
    other = make_program(tmp_path / "python3.99", f"echo '{answer}'")
    uv = make_program(tmp_path / "uv", f"echo {other}")
    found = find_interpreter("3.99", uv=uv)
    assert (found.path, found.version, found.warning) == (real, "3.99.1", "")


def test_the_platform_names_system_and_machine():
    assert host_platform().startswith(f"{platform.system().lower()}-{platform.machine()}")
    assert stat.S_ISREG(find_uv().stat().st_mode)
