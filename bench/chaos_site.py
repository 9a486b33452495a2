"""The installation of the chaos test: its processes, its servers, and what isolates one worker.

Everything is its own: data directories, PostgreSQL, Redis or RabbitMQ on free ports. Every process
carries `MARK`, so that all of them are found and ended whatever became of their parents.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from bench.chaos_members import MARK, ROOT, SERVER_MARK, Member, free_port, thaw

DISK_BYTES = 400 * 1024 * 1024
"""The disk of the worker whose disk is filled."""


@dataclass(frozen=True)
class Wanted:
    """What the command line asks for; `lease_s` shortens leases (0: the product's own)."""

    database: str = "sqlite"
    broker: str = "folder"
    workers: int = 2
    slots: int = 4
    lease_s: float = 0.0
    attempts: int = 9

    @property
    def shared(self) -> bool:
        """Whether all workers share one data directory, as they do on the embedded default."""
        return self.database == "sqlite"


class Site:
    """An installation that is prepared, started, and ended with everything that it left."""

    def __init__(self, folder: Path, wanted: Wanted, say: Callable[[str], None]) -> None:
        self.folder = folder
        self.wanted = wanted
        self.say = say
        self.key = folder.name
        self.marks = folder / "marks.txt"
        self.marks.touch()
        self.data_dir = folder / "data"
        self.data_dir.mkdir(mode=0o700)
        self.port = free_port()
        self.members: dict[str, Member] = {}
        self.data_dirs: list[Path] = [self.data_dir]
        self.disk: Path | None = None
        self.beside: list[Path] = []  # what lies beside the folder, where only we may enter
        self.skipped: dict[str, str] = {}
        self.namespace = ""
        self.isolated = ""
        self.files: Any = None  # an input of the tables, which are not there yet
        self.host_address = "127.0.0.1"
        self.env = self._environment()

    # --- making it --------------------------------------------------------------------------

    def prepare(self) -> None:
        """Servers, database, account, applications; nothing of the product runs afterwards."""
        from bench.chaos_servers import make_servers

        self._isolate()
        make_servers(self)
        for name in [name for name in os.environ if name.startswith("RUNSITE_")]:
            del os.environ[name]
        os.environ |= {n: v for n, v in self.env.items() if n.startswith("RUNSITE_")}
        os.environ["DJANGO_SETTINGS_MODULE"] = "runsite.settings"
        os.environ["TMPDIR"] = str(self.data_dir / "tmp")
        tempfile.tempdir = None
        (self.data_dir / "tmp").mkdir(mode=0o700, exist_ok=True)
        self._prepare_database()
        if self.wanted.shared:
            self._add_console()
        else:
            self._add_processes()

    def _environment(self) -> dict[str, str]:
        env = {name: value for name, value in os.environ.items() if "RUNSITE_" not in name}
        env |= {
            MARK: self.key,
            "RUNSITE_DATA_DIR": str(self.data_dir),
            "RUNSITE_PORT": str(self.port),
            "RUNSITE_SLOTS": str(self.wanted.slots),
            "RUNSITE_SECRET_KEY": "only-for-bench-" + "0" * 32,
            "RUNSITE_MAX_ATTEMPTS": str(self.wanted.attempts),
            "RUNSITE_GRACE_S": "2",
            "RUNSITE_FREE_SPACE": "64MiB",
            "RUNSITE_WEB_THREADS": "32",
            "PYTHONPATH": str(ROOT),
        }
        if lease_s := self.wanted.lease_s:
            env |= {
                "RUNSITE_LEASE_S": str(lease_s),
                "RUNSITE_HEARTBEAT_S": str(lease_s / 4),
                "RUNSITE_REAP_S": str(lease_s / 4),
            }
        return env

    @property
    def lease_s(self) -> float:
        """After how long a silent worker is lost."""
        return self.wanted.lease_s or 20.0

    def _prepare_database(self) -> None:
        from runsite import preparation

        preparation.call("migrate", interactive=False, verbosity=0)
        preparation.make_admin()
        from bench.chaos_apps import write_applications
        from runs.actions.actors import product
        from runs.actions.builds import build_from_folder
        from runs.actions.executables import create_with_build
        from runs.actions.inputs import scratch_file, store_folder_input
        from runs.models import Account, Membership, Queue, User

        account = Account.objects.create(slug="demo", name="Demo")
        Queue.objects.create(account=account, name="default")
        for user in User.objects.filter(is_superuser=True):
            Membership.objects.create(account=account, user=user, role="admin")
        # The first start finds its data there, as a later one would.
        preparation._write_stamp(preparation._schema_stamp())
        for place in write_applications(self.folder / "applications"):
            with build_from_folder(folder=place) as build:
                create_with_build(
                    account=account, build=build, actor=product("chaos"), application_id=place.name
                )
        given = self.folder / "given.txt"
        given.write_text("a file\n")
        self.files = store_folder_input(
            account=account,
            content_format="multi-file",
            files=[scratch_file("given.txt", given)],
        )

    def _member(self, name: str, command: str, **env: str) -> Member:
        words = [sys.executable, str(ROOT / "manage.py"), command]
        made = Member(name, words, {**self.env, **env}, self.folder / f"{name}.log")
        self.members[name] = made
        return made

    def _add_console(self) -> None:
        """The embedded default: one console, and further workers beside it."""
        self._member("console", "serve", RUNSITE_WORKER_NAME="w1")
        for number in range(2, self.wanted.workers + 1):
            self._member(f"w{number}", "worker", RUNSITE_WORKER_NAME=f"w{number}")

    def _add_processes(self) -> None:
        """Several hosts: each worker has a data directory of its own, the store is shared."""
        self._member("web", "web")
        for number in (1, 2):
            name = f"s{number}"
            self._member(name, "schedule", RUNSITE_WORKER_NAME=name)
        (self.data_dir / "store").mkdir(mode=0o700, exist_ok=True)
        for number in range(1, self.wanted.workers + 1):
            self._add_worker(f"w{number}", last=number == self.wanted.workers)

    def _add_worker(self, name: str, *, last: bool) -> None:
        data_dir = self.folder / name
        data_dir.mkdir(mode=0o700)
        self.data_dirs.append(data_dir)
        if last:
            self._mount_disk(data_dir)
        (data_dir / "store").symlink_to(self.data_dir / "store")
        member = self._member(
            name, "worker", RUNSITE_WORKER_NAME=name, RUNSITE_DATA_DIR=str(data_dir)
        )
        if last and self.namespace:
            self.isolated = name
            member.words = ["ip", "netns", "exec", self.namespace, *member.words]
            for variable in ("RUNSITE_DATABASE_URL", "RUNSITE_BROKER_URL"):
                if variable in member.env:
                    member.env[variable] = member.env[variable].replace(
                        "127.0.0.1", self.host_address
                    )

    def _mount_disk(self, place: Path) -> None:
        """A small disk of its own for this worker, which may be filled."""
        done = _run("mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES},mode=0700", "runsite", place)
        if done:
            self.skipped["a full disk"] = done
        else:
            self.disk = place

    def _isolate(self) -> None:
        """A network namespace for one worker, joined to this one by a pair of devices."""
        if self.wanted.shared:
            for fault in ("a full disk", "a network down"):
                self.skipped[fault] = "all workers share one data directory and its SQLite file"
            return
        number = os.getpid() % 200
        name, inside = f"rc{os.getpid()}", f"10.213.{number}.2"
        outer, inner = f"{name}a", f"{name}b"
        host = f"10.213.{number}.1"
        self.namespace, self.host_address = name, host
        for words in (
            ("ip", "netns", "add", name),
            ("ip", "link", "add", outer, "type", "veth", "peer", "name", inner),
            ("ip", "link", "set", inner, "netns", name),
            ("ip", "addr", "add", f"{host}/30", "dev", outer),
            ("ip", "link", "set", outer, "up"),
            ("ip", "-n", name, "addr", "add", f"{inside}/30", "dev", inner),
            ("ip", "-n", name, "link", "set", inner, "up"),
            ("ip", "-n", name, "link", "set", "lo", "up"),
        ):
            if problem := _run(*words):
                self.skipped["a network down"] = problem
                self._join_again()
                self.namespace, self.host_address = "", "127.0.0.1"
                return

    def set_network(self, *, up: bool) -> None:
        """Let packets of the isolated worker through, or drop them all."""
        _run("ip", "link", "set", f"{self.namespace}a", "up" if up else "down")

    # --- looking ----------------------------------------------------------------------------

    def workers(self) -> list[str]:
        """The members that are workers alone."""
        return [name for name in self.members if name[0] == "w" and name[1:].isdecimal()]

    def servers(self) -> list[str]:
        """The members that are servers of others."""
        return [name for name in self.members if name in {"database", "broker"}]

    def is_open(self) -> bool:
        """Whether somebody listens where pages are."""
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 2):
            return True
        return False

    def apps(self) -> list[psutil.Process]:
        """Living processes of runs: those that know the file of marks, or a data directory."""
        wanted = [os.fsencode(f"RUN_DIR={folder}/") for folder in self.data_dirs]
        marks = os.fsencode(str(self.marks))
        return [
            process
            for process, command, environment in _processes()
            if marks in command.split(b"\0") or any(word in environment for word in wanted)
        ]

    def own(self, mark: str = MARK) -> list[psutil.Process]:
        """Living processes of the installation itself, or with `SERVER_MARK` of its servers."""
        wanted = os.fsencode(f"{mark}={self.key}") + b"\0"
        return [process for process, _, environment in _processes() if wanted in environment]

    def workspaces(self) -> list[Path]:
        """What workers keep for runs that go on."""
        return [path for data in self.data_dirs for path in data.glob("worker/*/runs/*")]

    # --- ending it --------------------------------------------------------------------------

    def stop(self) -> list[str]:
        """Stop everything of the product in order; what was left after that, in words."""
        for member in self.members.values():
            thaw(member)
        product = [m for name, m in self.members.items() if name not in self.servers()]
        for member in product:
            member.signal(signal.SIGTERM)
        for member in product:
            if member.process is not None:
                with contextlib.suppress(subprocess.TimeoutExpired, psutil.TimeoutExpired):
                    member.process.wait(30)
        end = time.monotonic() + 5
        while (left := self.own()) and time.monotonic() < end:
            time.sleep(0.1)  # not all are children of ours, so they cannot be waited for
        return [_words(process) for process in left]

    def end(self) -> None:
        """End everything that was started, in any state, and remove what it mounted."""
        for member in self.members.values():
            thaw(member)
        for _ in range(50):
            # Servers may write over their environment: they are known by their members, too.
            known = [process for member in self.members.values() for process in member.tree()]
            left = [*known, *self.own(), *self.own(SERVER_MARK), *self.apps()]
            for process in left:
                with contextlib.suppress(psutil.Error):
                    process.kill()
            if not left:
                break
            time.sleep(0.1)  # a killed process is gone a moment later; the tries are counted
        for member in self.members.values():
            if member.process is not None:
                with contextlib.suppress(subprocess.TimeoutExpired, psutil.TimeoutExpired):
                    member.process.wait(10)
        self._join_again()
        if self.disk is not None:
            _run("umount", "-l", self.disk)
        for place in self.beside:
            shutil.rmtree(place, ignore_errors=True)

    def _join_again(self) -> None:
        if self.namespace:
            _run("ip", "link", "del", f"{self.namespace}a")
            _run("ip", "netns", "del", self.namespace)


def _processes() -> Iterator[tuple[psutil.Process, bytes, bytes]]:
    """Every living process but this one, with its command line and its environment."""
    for pid in psutil.pids():
        if pid == os.getpid():
            continue
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
            environment = Path(f"/proc/{pid}/environ").read_bytes()
            process = psutil.Process(pid)
            if process.status() != psutil.STATUS_ZOMBIE:
                yield process, command, environment
        except (OSError, psutil.Error):
            continue


def _words(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):
        return f"{process.pid} {shlex.join(process.cmdline())[:150]}"
    return f"{process.pid} (gone)"


def _run(*words: str | Path) -> str:
    """Run a command of the system; what went wrong, or nothing."""
    if shutil.which(str(words[0])) is None:
        return f"there is no command {words[0]}"
    done = subprocess.run(
        [str(word) for word in words], capture_output=True, text=True, timeout=20, check=False
    )
    if done.returncode == 0:
        return ""
    return f"{shlex.join(str(word) for word in words)}: {done.stderr.strip()}"
