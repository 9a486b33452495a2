"""The scripts before there is an environment: one clear line when Python does not do."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ("bash", "cat", "dirname", "env", "flock", "grep", "mv", "readlink", "rm")


@pytest.fixture
def clone(tmp_path):
    """A checkout with the scripts only, and a folder for programs that is all of PATH."""
    root = tmp_path / "a clone"
    shutil.copytree(ROOT / "script", root / "script")
    (root / "requirements.txt").write_text("")
    (root / "manage.py").write_text("import sys; print('started', *sys.argv[1:])\n")
    programs = tmp_path / "bin"
    programs.mkdir()
    for tool in TOOLS:
        path = shutil.which(tool)
        if path:
            (programs / tool).symlink_to(path)
    return root


def start(clone, *words):
    """Run script/server with `words` and the programs of the clone's PATH only."""
    home = clone.parent / "home"
    home.mkdir(exist_ok=True)
    return subprocess.run(
        [shutil.which("bash"), str(clone / "script" / "server"), *words],
        env={"PATH": str(clone.parent / "bin"), "HOME": str(home)},
        cwd="/",
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def program(clone, name, text):
    path = clone.parent / "bin" / name
    path.write_text(f"#!{shutil.which('bash')}\n{text}\n")
    path.chmod(0o755)


def refuse(done, *words):
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    for word in ("runsite: ", *words):
        assert word in done.stderr


def test_no_python_is_said_in_one_line(clone):
    refuse(start(clone), "No Python found", "3.11")
    assert not (clone / ".venv").exists()


def test_an_old_python_is_said_in_one_line(clone):
    # answers the question for its version, and fails each check of it
    program(clone, "python3", 'case "$2" in *print*) echo 3.8.10 ;; *) exit 1 ;; esac')
    refuse(start(clone), "Python 3.8.10 is too old", "3.11")
    assert not (clone / ".venv").exists()


def test_a_python_without_venv_is_said_in_one_line(clone):
    program(clone, "python3", 'case "$2" in *venv*) exit 1 ;; *) exit 0 ;; esac')
    refuse(start(clone), "python3-venv")
    assert not (clone / ".venv").exists()


@pytest.mark.process
def test_an_environment_is_made_once_and_again_after_an_interruption(clone):
    (clone.parent / "bin" / "python3").symlink_to(sys.executable)
    first = start(clone)
    assert (first.returncode, first.stdout) == (0, "started serve\n"), first.stderr
    assert "Making .venv" in first.stderr

    second = start(clone)
    assert (second.returncode, second.stdout, second.stderr) == (0, "started serve\n", "")
    assert start(clone, "--tls").stdout == "started serve --tls\n"

    # as if the first set-up had been killed half-way
    (clone / ".venv" / "server.stamp").unlink()
    shutil.rmtree(next((clone / ".venv" / "lib").glob("python3*")) / "site-packages" / "pip")
    third = start(clone)
    assert (third.returncode, third.stdout) == (0, "started serve\n"), third.stderr
    assert "Making .venv" in third.stderr
