"""Where bytes live: a store of objects under keys, chosen once from the settings."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from django.conf import settings

from runs.storage.base import (
    InvalidKey,
    ObjectMissing,
    ObjectStore,
    ObjectTooLarge,
    StorageError,
    Stored,
)
from runs.storage.local import LocalStore

__all__ = [
    "InvalidKey",
    "ObjectMissing",
    "ObjectStore",
    "ObjectTooLarge",
    "StorageError",
    "Stored",
    "object_store",
]


def object_store() -> ObjectStore:
    """The store of this installation: `store` in the data directory.

    One per data directory and process, so a test that points the setting elsewhere gets another.
    """
    return _local_store(Path(settings.RUNSITE_DATA_DIR) / "store")


@cache
def _local_store(root: Path) -> ObjectStore:
    return LocalStore(root)
