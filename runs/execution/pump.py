"""Moves what a program writes into its file and its log; always reads, so it never waits."""

from __future__ import annotations

import os
import select
import threading
import time
from pathlib import Path
from typing import BinaryIO

from runs.execution.disk import disk_fault
from runs.execution.spec import LogSink

_CHUNK_BYTES = 64 * 1024
_PARTIAL_S = 1.0


class Pump(threading.Thread):
    """Reads stdout and stderr of one program in a thread of its own until both have closed.

    stdout goes to `path`, at most `limit_bytes` of it; what comes after that is read and dropped.
    stderr goes to `log` as it comes; with `stdout_is_log` both streams go there, line by line.
    """

    def __init__(
        self,
        *,
        stdout: int,
        stderr: int,
        path: Path,
        log: LogSink,
        limit_bytes: int,
        stdout_is_log: bool,
    ) -> None:
        super().__init__(name="pump", daemon=True)
        self.stdout_bytes = 0
        """Bytes in the file."""
        self.dropped_bytes = 0
        self.logged_bytes = 0
        """Bytes given to the log, kept there or not."""
        self.over_limit = threading.Event()
        self.finished = threading.Event()
        """Both streams were read to their end, or `stop` was called."""
        self.store_failure = ""
        """Why stdout could not be stored, in words."""
        self.disk_failed = ""
        """What is wrong with the disk, when that is why stdout could not be stored."""
        self.log_failure = ""
        self._stdout = stdout
        self._stderr = stderr
        self._path = path
        self._log = log
        self._limit_bytes = limit_bytes
        self._stdout_is_log = stdout_is_log
        self._wake_read, self._wake_write = os.pipe()
        self._partial: dict[int, bytearray] = {stdout: bytearray(), stderr: bytearray()}
        self._partial_since: dict[int, float] = {}
        self._give_up_at = float("inf")

    def stop(self) -> None:
        """Take what is in the pipes, then close them although somebody may still write."""
        os.write(self._wake_write, b"x")
        self.join()

    def close(self) -> None:
        """Free what is left; call it once `finished`, after `stop`, or when it never started."""
        if self.ident is not None:
            self.join()
        else:
            os.close(self._stdout)
            os.close(self._stderr)
        os.close(self._wake_read)
        os.close(self._wake_write)

    def run(self) -> None:
        """The thread: read until both streams have closed."""
        try:
            # Unbuffered: what is counted is in the file, whatever happens to this process.
            with self._path.open("wb", buffering=0) as target:
                self._read(target)
        except OSError as problem:
            self._note_failure(problem)
            self._read(None)
        finally:
            for stream in (self._stdout, self._stderr):
                self._flush(stream)
                os.close(stream)
            self.finished.set()

    def _read(self, target: BinaryIO | None) -> None:
        poll = select.poll()
        open_streams = {self._stdout, self._stderr}
        for stream in open_streams:
            poll.register(stream, select.POLLIN)
        poll.register(self._wake_read, select.POLLIN)
        stopping = False
        while open_streams:
            ready = poll.poll(0 if stopping else self._patience_ms())
            self._flush_old()
            streams = [stream for stream, _event in ready if stream in open_streams]
            if stopping and not streams:
                return
            for stream in streams:
                data = os.read(stream, _CHUNK_BYTES)
                if not data:
                    poll.unregister(stream)
                    open_streams.discard(stream)
                    self._flush(stream)
                elif stream == self._stdout:
                    self._keep(data, target)
                    if self._stdout_is_log:
                        self._log_lines(stream, data)
                elif self._stdout_is_log:
                    self._log_lines(stream, data)
                else:
                    self._to_log(data)
            if not stopping and any(stream == self._wake_read for stream, _event in ready):
                stopping = True
                poll.unregister(self._wake_read)
                self._give_up_at = time.monotonic() + 1.0
            if time.monotonic() > self._give_up_at:
                return  # somebody out of reach writes without end

    def _keep(self, data: bytes, target: BinaryIO | None) -> None:
        room = self._limit_bytes - self.stdout_bytes
        kept = data[:room] if room > 0 and target is not None and not self.store_failure else b""
        written = 0
        try:
            while target is not None and written < len(kept):
                written += target.write(kept[written:])
        except OSError as problem:
            self._note_failure(problem)
        self.stdout_bytes += written
        self.dropped_bytes += len(data) - written
        if len(data) > room:
            self.over_limit.set()

    def _note_failure(self, problem: OSError) -> None:
        self.store_failure = self.store_failure or _words(problem)
        self.disk_failed = self.disk_failed or disk_fault(problem)

    def _log_lines(self, stream: int, data: bytes) -> None:
        """Log whole lines, so that those of two streams do not get mixed."""
        partial = self._partial[stream]
        end = data.rfind(b"\n") + 1
        if end:
            self._to_log(bytes(partial) + data[:end])
            partial.clear()
            self._partial_since.pop(stream, None)
        if data[end:]:
            partial += data[end:]
            self._partial_since.setdefault(stream, time.monotonic())
        if len(partial) > _CHUNK_BYTES:
            self._flush(stream)

    def _flush_old(self) -> None:
        """A line without an end shall be seen as well, only a little later."""
        for stream, since in list(self._partial_since.items()):
            if time.monotonic() - since >= _PARTIAL_S:
                self._flush(stream)

    def _flush(self, stream: int) -> None:
        partial = self._partial[stream]
        self._partial_since.pop(stream, None)
        if partial:
            self._to_log(bytes(partial))
            partial.clear()

    def _patience_ms(self) -> float | None:
        if not self._partial_since:
            return None
        due = min(self._partial_since.values()) + _PARTIAL_S
        return max(1.0, (due - time.monotonic()) * 1000)

    def _to_log(self, data: bytes) -> None:
        self.logged_bytes += len(data)
        try:
            self._log.write(data)
        except Exception as problem:  # the program must not suffer from a fault of ours
            self.log_failure = self.log_failure or f"{type(problem).__name__}: {problem}"


def _words(problem: OSError) -> str:
    return problem.strerror or str(problem)
