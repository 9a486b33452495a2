"""Where a worker keeps its things on its host, and the marks by which its processes are known."""

from __future__ import annotations

import hashlib
import platform
import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Places:
    """The folders of one worker, below the data directory, and its marks."""

    data_dir: Path
    worker_name: str

    @property
    def root(self) -> Path:
        """All of this worker's files."""
        return self.data_dir / "worker" / re.sub(r"[^A-Za-z0-9._-]", "_", self.worker_name)

    @property
    def runs(self) -> Path:
        """One folder for each attempt that goes on."""
        return self.root / "runs"

    @property
    def executables(self) -> Path:
        """Unpacked executables, by id; read only for runs."""
        return self.root / "executables"

    @property
    def checks(self) -> Path:
        """What is unpacked of pushed executables while they are checked."""
        return self.root / "checks"

    @property
    def environments(self) -> Path:
        """Prepared dependencies, by key; shared by all workers of this data directory."""
        return self.data_dir / "environments"

    @property
    def cache(self) -> Path:
        """What the installer of dependencies keeps between builds."""
        return self.data_dir / "cache"

    @property
    def installation(self) -> str:
        """Tells apart two data directories on one machine."""
        return hashlib.sha256(str(self.data_dir).encode()).hexdigest()[:12]

    @property
    def host(self) -> str:
        """Where environments are built once: this machine, and this data directory on it."""
        return f"{platform.node() or 'host'}#{self.installation[:6]}"

    @property
    def family(self) -> str:
        """How the marks of all boots of this worker begin."""
        return f"{self.worker_name}@{self.installation}:"

    def boot(self, boot_id: str) -> str:
        """How the marks of one boot begin."""
        return f"{self.family}{boot_id}:"

    def mark(self, boot_id: str, run_id: str, attempt: int) -> str:
        """The mark of the processes of one attempt."""
        return f"{self.boot(boot_id)}{run_id}:{attempt}"

    def workspace(self, run_id: str, attempt: int) -> Path:
        """The folder of one attempt."""
        return self.runs / f"{run_id}-{attempt}"

    def make(self) -> None:
        """Make the folders, readable by this user only."""
        for folder in (self.runs, self.executables, self.environments, self.cache):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
