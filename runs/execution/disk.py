"""Tells a disk that is full or broken from what a program or a file is to blame for."""

from __future__ import annotations

import errno

_WORDS = {
    errno.ENOSPC: "is full",
    errno.EDQUOT: "is full",
    errno.EROFS: "cannot be written",
    errno.EIO: "does not work",
}


def disk_fault(error: OSError) -> str:
    """What is wrong with the disk, as "is full"; empty when the error is about something else."""
    return _WORDS.get(error.errno or 0, "")
