"""The log of an attempt on the worker's disk, until it is safe elsewhere.

The program must never wait for the database, so its log goes to files first. Positions are byte
offsets in all that the program has written. Of a log beyond the limit, the first and the last
half are kept: files from the middle are removed as new ones come.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from runs.execution.disk import disk_fault

SEGMENT_BYTES = 16 * 1024 * 1024
PIECE_BYTES = 256 * 1024


@dataclass(frozen=True)
class Segment:
    """One file of a spool: bytes `start` to `end` of the log."""

    start: int
    end: int
    path: Path


class Spool:
    """Appends to segments, keeps the first and the last `limit_bytes // 2`, reads anywhere.

    One thread writes; others read what is written.
    """

    def __init__(
        self, folder: Path, *, limit_bytes: int, segment_bytes: int = SEGMENT_BYTES
    ) -> None:
        self.limit_bytes = limit_bytes
        self._folder = folder
        self._half = max(1, limit_bytes // 2)
        self._segment_bytes = min(segment_bytes, max(1, self._half // 2))
        self._segments: list[Segment] = []
        self._file: BinaryIO | None = None
        self._lock = threading.Lock()
        self.written = 0
        self.failed = ""
        self.disk_failed = ""
        """What is wrong with the disk, as "is full", when that is why it failed."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    @property
    def head_bytes(self) -> int:
        """How many bytes of the beginning are kept for good."""
        return self._half

    @property
    def tail_start(self) -> int:
        """Where the kept bytes after the gap begin; up to `head_bytes` there is no gap."""
        with self._lock:
            tail = [segment for segment in self._segments if segment.start >= self._half]
            return tail[0].start if tail else min(self.written, self._half)

    @property
    def missing(self) -> int:
        """How many bytes are missing between the head and the tail."""
        return max(0, self.tail_start - self._half) if self.written > self._half else 0

    def write(self, data: bytes) -> None:
        """Append `data`; when the disk refuses, the rest is lost and `failed` says why."""
        view = memoryview(data)
        while view and not self.failed:
            try:
                view = self._write_some(view)
            except OSError as error:
                self.failed = f"The log could not be kept on the worker's disk: {error.strerror}."
                self.disk_failed = disk_fault(error)

    def read(self, start: int, limit: int) -> tuple[int, bytes]:
        """At most `limit` bytes from `start`, and where they begin: later, inside the gap."""
        with self._lock:
            segments = [segment for segment in self._segments if segment.end > start]
        for segment in segments:
            begin = max(start, segment.start)
            try:
                with segment.path.open("rb") as file:
                    file.seek(begin - segment.start)
                    data = file.read(min(limit, segment.end - begin))
            except FileNotFoundError:
                continue  # it went to make room since we looked
            if data:
                return begin, data
        return self.written, b""

    def pieces(self) -> Iterator[bytes]:
        """All that is kept, in order."""
        position = 0
        while position < self.written:
            position, data = self.read(position, PIECE_BYTES)
            if not data:
                return
            yield data
            position += len(data)

    def close(self) -> None:
        """Close the file that is written to; reading goes on."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _write_some(self, view: memoryview) -> memoryview:
        room = self._room()
        piece = view[:room]
        assert self._file is not None
        count = self._file.write(piece) or 0
        with self._lock:
            last = self._segments[-1]
            self._segments[-1] = Segment(last.start, last.end + count, last.path)
            self.written += count
        return view[count:]

    def _room(self) -> int:
        """How many bytes fit into the present segment; begins the next one when none do."""
        if self._segments and self._file is not None:
            last = self._segments[-1]
            full = last.start + self._segment_bytes
            end = min(full, self._half) if last.start < self._half else full
            if end > last.end:
                return end - last.end
        self._begin_segment()
        return self._room()

    def _begin_segment(self) -> None:
        self.close()
        path = self._folder / f"{self.written:016d}"
        self._file = path.open("wb", buffering=0)
        with self._lock:
            self._segments.append(Segment(self.written, self.written, path))
            tail = [segment for segment in self._segments if segment.start >= self._half]
            while tail and self.written - tail[0].end >= self._half:
                gone = tail.pop(0)
                self._segments.remove(gone)
                gone.path.unlink(missing_ok=True)
