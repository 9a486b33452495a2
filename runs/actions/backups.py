"""Backup into a folder while the console runs, and restore into an empty data directory."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from django.conf import settings
from django.db import connection, models

from runs.domain.errors import Conflict, RunsiteError
from runs.models import Asset, Attempt, Executable, InputFile, LogChunk, RunFile
from runs.storage import keys, object_store
from runs.storage.local import LocalStore

DATABASE, OBJECTS, KEY, NOTE = "runsite.sqlite3", "store", "secret_key", "backup.json"
TRIES = 3
MOST_NAMED = 5

_REFERENCES: tuple[tuple[type[models.Model], str, str], ...] = (
    # table, column of the key, the question for keys and sizes (NULL where no row has one)
    (InputFile, "key", "SELECT key, size_bytes FROM runs_inputfile"),
    (Executable, "archive_key", "SELECT archive_key, archive_bytes FROM runs_executable"),
    (RunFile, "key", "SELECT key, size_bytes FROM runs_runfile"),
    (Asset, "key", "SELECT key, size_bytes FROM runs_asset"),
    (LogChunk, "key", "SELECT key, size FROM runs_logchunk"),
    (Attempt, "log_key", "SELECT log_key, NULL FROM runs_attempt"),
    (Attempt, "usage_key", "SELECT usage_key, NULL FROM runs_attempt"),
)
"""Every column that names an object which must be there. Uploads under way are not among them."""


@dataclass(frozen=True)
class Backup:
    """What a backup holds, or what was restored. `missing` are objects that rows name in vain."""

    made_at: str
    release: str
    runs: int
    objects: int
    object_bytes: int
    copied: int
    missing: tuple[str, ...] = ()


def make_backup(*, folder: Path, now: datetime) -> Backup:
    """Copy database, objects and secret key into `folder`, while everything goes on.

    The database is copied as it is at one instant; objects afterwards, and never changed, so all
    that its rows name are there. What was deleted in between is looked for again, with a new copy
    of the database. A folder that holds an older backup keeps it until this one is whole, and
    only what is new is copied. Raises `Conflict` where it cannot be done this way.
    """
    database, store = _database(), _local_store()
    data_dir = Path(settings.RUNSITE_DATA_DIR).resolve()
    if folder.resolve().is_relative_to(data_dir) or data_dir.is_relative_to(folder.resolve()):
        raise Conflict("The backup must lie outside of the data directory. Name another folder.")
    _make_folder(folder)
    if any(folder.iterdir()) and not _is_ours(folder):
        raise Conflict(f"{folder} holds other things. Name an empty folder, or one with a backup.")
    partial = folder / f"{DATABASE}.part"
    target = LocalStore(folder / OBJECTS)
    copied = _copy_objects(store, target)
    missing: tuple[str, ...] = ()
    for _ in range(TRIES):
        _copy_database(database, partial)
        copied += _copy_objects(store, target)
        missing = _missing(partial, target)
        if not missing:
            break
    _copy_key(Path(settings.RUNSITE_SECRET_KEY_FILE), folder / KEY)
    partial.replace(folder / DATABASE)
    _prune(store, target, folder / DATABASE)
    return _note(folder, now, copied=copied, missing=missing)


def restore_backup(*, folder: Path) -> Backup:
    """Put a backup into the data directory of this installation, which must be empty.

    Every object that a row names is compared by size, before and after; those that were missing
    already when the backup was made are only told. Nothing is left there when it fails. Raises
    `Conflict` when the data directory is in use, or the backup not whole.
    """
    data_dir, database = Path(settings.RUNSITE_DATA_DIR), _database()
    _local_store()
    if not _is_ours(folder) or not (folder / DATABASE).is_file():
        raise Conflict(f"{folder} holds no whole backup. Make one with `manage.py backup`.")
    if data_dir.exists() and any(data_dir.iterdir()):
        raise Conflict(
            f"The data directory {data_dir} is not empty; a console may use it. Set "
            "RUNSITE_DATA_DIR to a new folder, or move what is there away."
        )
    if database.exists():
        raise Conflict(f"The database {database} exists already. Move it away first.")
    found = read_backup(folder)
    _check(folder / DATABASE, LocalStore(folder / OBJECTS), found)
    made = not data_dir.exists()
    _make_folder(data_dir)
    try:
        copied = _copy_objects(LocalStore(folder / OBJECTS), LocalStore(data_dir / "store"))
        _copy_key(folder / KEY, data_dir / KEY)
        partial = database.with_name(f"{database.name}.part")
        _copy_database(folder / DATABASE, partial)
        _check(partial, LocalStore(data_dir / "store"), found)
        partial.replace(database)
    except BaseException:
        _empty(data_dir)
        if made:
            data_dir.rmdir()
        raise
    return Backup(**{**asdict(found), "copied": copied})


def read_backup(folder: Path) -> Backup:
    """What the backup in `folder` says of itself."""
    words = json.loads((folder / NOTE).read_text(encoding="utf-8"))
    return Backup(**{**words, "missing": tuple(words["missing"])})


class NeedsDump(RunsiteError):
    """The database is a server's: it is dumped with the server's own program."""


# --- What is copied ---------------------------------------------------------------------------


def _database() -> Path:
    if connection.vendor != "sqlite":
        raise NeedsDump(
            "The database is PostgreSQL, which has a program for this. Dump it first, then copy "
            "the store:\n"
            '  pg_dump --format=custom --file=FOLDER/runsite.dump "$RUNSITE_DATABASE_URL"\n'
            '  rsync --archive "$RUNSITE_DATA_DIR/store/" FOLDER/store/\n'
            "To restore it: pg_restore --clean --if-exists, with all processes stopped. "
            "docs/operations.md has the rest."
        )
    return Path(connection.settings_dict["NAME"])


def _local_store() -> LocalStore:
    store = object_store()
    if not isinstance(store, LocalStore):
        raise Conflict(
            "The objects are in a bucket. Keep them there with versions and a copy elsewhere, by "
            "the means of its provider; back up the database alone. docs/operations.md says how."
        )
    return store


def _copy_database(source: Path, target: Path) -> None:
    """A consistent copy, in one step: writers go on meanwhile. The copy is one file."""
    target.unlink(missing_ok=True)
    handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    os.close(handle)
    with (
        contextlib.closing(sqlite3.connect(source, timeout=20)) as opened,
        contextlib.closing(sqlite3.connect(target)) as copy,
    ):
        opened.backup(copy)
        copy.execute("PRAGMA journal_mode=DELETE")
    _settle(target)


def _copy_objects(source: LocalStore, target: LocalStore) -> int:
    """Copy what `target` does not have yet; how many. One that is removed meanwhile is no error."""
    count = 0
    for relative, path in _files(source.root):
        place = target.root / relative
        with contextlib.suppress(FileNotFoundError):
            status = path.stat()
            if place.exists():
                kept = place.stat()
                if (kept.st_size, kept.st_mtime_ns) == (status.st_size, status.st_mtime_ns):
                    continue
            _make_folder(place.parent)
            partial = place.with_name(f".{place.name}.part")
            shutil.copy2(path, partial)
            _settle(partial)
            partial.replace(place)
            count += 1
    return count


def _copy_key(source: Path, target: Path) -> None:
    """The key that signs sessions, for its owner only; none where it comes from a variable."""
    if not source.is_file():
        return
    partial = target.with_name(f"{target.name}.part")
    partial.unlink(missing_ok=True)
    handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(source.read_bytes())
    partial.replace(target)


def _prune(source: LocalStore, target: LocalStore, database: Path) -> None:
    """Remove what neither the store nor the copied database knows any more."""
    known = set(_referenced(database))
    for relative, path in _files(target.root):
        if not (source.root / relative).exists() and _key_of(relative) not in known:
            path.unlink(missing_ok=True)


def _note(folder: Path, now: datetime, *, copied: int, missing: tuple[str, ...]) -> Backup:
    sizes = [path.stat().st_size for _, path in _files(folder / OBJECTS)]
    with contextlib.closing(sqlite3.connect(folder / DATABASE)) as database:
        [runs] = database.execute("SELECT COUNT(*) FROM runs_run").fetchone()
    found = Backup(
        made_at=now.isoformat(timespec="seconds"),
        release=settings.RUNSITE_RELEASE,
        runs=runs,
        objects=len(sizes),
        object_bytes=sum(sizes),
        copied=copied,
        missing=missing,
    )
    partial = folder / f"{NOTE}.part"
    partial.write_text(json.dumps(asdict(found), indent=2) + "\n", encoding="utf-8")
    partial.replace(folder / NOTE)
    return found


# --- Whether all is there ---------------------------------------------------------------------


def _check(database: Path, store: LocalStore, made: Backup) -> None:
    with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as opened:
        [answer] = opened.execute("PRAGMA quick_check").fetchone()
    if answer != "ok":
        raise Conflict(f"The database of the backup is damaged ({answer}). Use another backup.")
    missing = [key for key in _missing(database, store) if key not in made.missing]
    if missing:
        named = ", ".join(missing[:MOST_NAMED])
        raise Conflict(
            f"{len(missing)} objects that the database names are missing or have another size "
            f"({named}). Make the backup again, or use another."
        )


def _missing(database: Path, store: LocalStore) -> tuple[str, ...]:
    """Keys that rows name and for which there is no object of that size."""
    missing = []
    for key, size in _referenced(database).items():
        try:
            found = store.size(key)
        except Exception:  # whatever the store says of it, it is not there
            found = -1
        if found < 0 or (size is not None and size != found):
            missing.append(key)
    return tuple(missing)


def _referenced(database: Path) -> dict[str, int | None]:
    """Every key that a row names, with its size where a row says it."""
    found: dict[str, int | None] = {}
    with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as opened:
        for _, column, question in _REFERENCES:
            rows = [row for row in opened.execute(question) if row[0]]
            found.update(rows)
            if column == "log_key":
                found |= {keys.index_of(key): None for key, _ in rows}
    return found


def _key_of(relative: Path) -> str:
    """The key of an object of a local store, by its place below `objects/<shard>/`."""
    return "/".join(relative.parts[2:]).replace("=", "")


def _files(root: Path) -> Iterator[tuple[Path, Path]]:
    """The files of a local store, relative and as they are; not those being written."""
    for parent, _, names in os.walk(root / "objects"):
        for name in names:
            if not name.startswith("."):
                path = Path(parent, name)
                yield path.relative_to(root), path


# --- Folders ----------------------------------------------------------------------------------


def _is_ours(folder: Path) -> bool:
    return (folder / NOTE).is_file() or (folder / OBJECTS).is_dir()


def _make_folder(folder: Path) -> None:
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _settle(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
