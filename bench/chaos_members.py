"""A process of the chaos test's installation: started, killed, frozen, started again."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import socket
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[1]
MARK = "RUNSITE_CHAOS_OF"
"""Stands in the environment of every process of the product that the test starts."""
SERVER_MARK = "RUNSITE_CHAOS_SERVER_OF"
"""And this in that of its servers."""


@dataclass
class Member:
    """A process of the installation that may die and is started again."""

    name: str
    words: list[str]
    env: dict[str, str]
    log: Path
    cwd: Path = ROOT
    user: str | None = None
    before: Callable[[], None] = lambda: None
    process: psutil.Popen | None = None
    starts: int = 0
    down_until: float = 0.0
    frozen: list[psutil.Process] = field(default_factory=list)

    def start(self) -> None:
        """Start it; waits for nothing."""
        self.before()
        self.starts += 1
        with self.log.open("ab") as output:
            self.process = psutil.Popen(
                self.words,
                env=self.env,
                cwd=self.cwd,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                **as_user(self.user),
            )

    @property
    def pid(self) -> int:
        """Its number at present."""
        return self.process.pid if self.process is not None else 0

    def is_up(self) -> bool:
        """Whether its main process lives."""
        return self.process is not None and self.process.poll() is None

    def tree(self) -> list[psutil.Process]:
        """Its main process first, then all below it."""
        if not self.is_up() or self.process is None:
            return []
        with contextlib.suppress(psutil.Error):
            main = psutil.Process(self.process.pid)
            return [main, *main.children(recursive=True)]
        return []

    def signal(self, number: int) -> None:
        """Send a signal to its main process, if that lives."""
        if self.is_up() and self.process is not None:
            self.process.send_signal(number)


def freeze(member: Member) -> None:
    """Stop a member and all below it until `thaw`; what it does is not asked."""
    for process in member.tree():
        with contextlib.suppress(psutil.Error):
            process.suspend()
            member.frozen.append(process)


def thaw(member: Member) -> None:
    """Let it go on."""
    for process in reversed(member.frozen):
        with contextlib.suppress(psutil.Error):
            process.resume()
    member.frozen.clear()


def free_port() -> int:
    """A port on which nobody listens now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def as_user(name: str | None) -> dict[str, object]:
    if name is None or os.geteuid() != 0:
        return {}
    user = pwd.getpwnam(name)
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": _groups(name)}


def _groups(name: str) -> list[int]:
    return [group.gr_gid for group in grp.getgrall() if name in group.gr_mem]
