"""Finds the run folders of the local tool in what somebody named: an app, its runs, or one run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from runs.domain.errors import InputRejected
from runs.execution.plain_folders import NotPlain, plain_folders, stat_plain

DEEPEST = 4
"""How many folders that hold nothing but one folder are looked into."""
_RUNS = ".nextmv/runs"


@dataclass(frozen=True)
class FoundRuns:
    """The run folders below `root`, by name, and what the application's folder is called."""

    root: Path
    names: tuple[str, ...]
    application_name: str


def find_runs(folder: Path) -> FoundRuns:
    """The run folders in `folder`, see `import_runs`; raises `InputRejected` without any."""
    try:
        root = folder.resolve(strict=True)
        if not root.is_dir():
            raise NotADirectoryError
        found = _look_into(root)
    except (NotPlain, OSError, RuntimeError, ValueError) as error:
        reason = str(error) if isinstance(error, NotPlain) else "It is no folder, or unreadable."
        raise InputRejected(
            f"`{folder.name}` cannot be read. {reason} Name the folder of an application, its"
            f" `{_RUNS}`, or that of one run."
        ) from error
    if found is None:
        raise InputRejected(
            f"`{folder.name}` holds no runs of the local tool. Name the folder of an application"
            f" with `{_RUNS}` in it, that folder itself, or the folder of one run, which holds"
            " `<id>/<id>.json`."
        )
    return found


def _look_into(root: Path) -> FoundRuns | None:
    for _ in range(DEEPEST):
        folders = plain_folders(root)
        if ".nextmv" in folders and plain_folders(root, _RUNS):
            return _all_in(root / _RUNS, root.name)
        if root.name == ".nextmv" and "runs" in folders:
            return _all_in(root / "runs", root.parent.name)
        if stat_plain(root, f"{root.name}.json") is not None:
            return FoundRuns(root.parent, (root.name,), _application_above(root.parent))
        if any(stat_plain(root, f"{name}/{name}.json") is not None for name in folders):
            return _all_in(root, _application_above(root))
        if root.name == "runs" and root.parent.name == ".nextmv" and folders:
            return _all_in(root, root.parent.parent.name)
        if len(folders) != 1:
            return None
        root = root / folders[0]
    return None


def _all_in(root: Path, application_name: str) -> FoundRuns:
    return FoundRuns(root, tuple(plain_folders(root)), application_name)


def _application_above(runs: Path) -> str:
    """What the application is called whose runs lie in `runs`; empty when unknown."""
    in_place = runs.name == "runs" and runs.parent.name == ".nextmv"
    return runs.parent.parent.name if in_place else ""
