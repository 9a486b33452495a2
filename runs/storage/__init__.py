"""Where bytes live: a store of objects under keys, chosen once from the settings."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

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
    """The store of this installation: a bucket, or the folder `store` in the data directory.

    One per address or directory and process, so a test that changes the settings gets another.
    """
    address: dict[str, Any] | None = settings.RUNSITE_STORE
    if address is None:
        return _local_store(Path(settings.RUNSITE_DATA_DIR) / "store")
    return _s3_store(
        access_key=settings.RUNSITE_S3_ACCESS_KEY,
        secret_key=settings.RUNSITE_S3_SECRET_KEY,
        **address,
    )


@cache
def _local_store(root: Path) -> ObjectStore:
    return LocalStore(root)


@cache
def _s3_store(**address: Any) -> ObjectStore:
    # Only here: a console with a folder does not load it.
    from runs.storage.s3 import S3Store
    from runs.storage.s3_client import S3Address

    return S3Store(S3Address(**address))
