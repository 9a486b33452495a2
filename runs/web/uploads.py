"""Files of a form, written to our disk while they arrive; memory is that of one piece."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.core.files.uploadhandler import FileUploadHandler, SkipFile
from django.http import HttpRequest

from runs.actions.uploads import Receiver
from runs.domain.errors import TooLarge

PIECE_BYTES = 256 * 1024


class NoFiles(FileUploadHandler):
    """Reads files past without keeping a byte: of every form that did not ask for `arrivals`.

    Else anybody could fill the disk by sending files to a form that takes none.
    """

    def new_file(self, *args: Any, **kwargs: Any) -> None:  # as Django calls it
        """A file begins; it is passed over."""
        raise SkipFile

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        """Never called: each file was passed over."""

    def file_complete(self, file_size: int) -> None:
        """Never called: each file was passed over."""
        return None


class Arrivals(FileUploadHandler):
    """Takes every file of a request. `received` are whole ones by field, `refused` says why not.

    A file that is refused is skipped, so that the fields after it are still read and nothing that
    was typed is lost. The limit is that of all files together.
    """

    chunk_size = PIECE_BYTES

    def __init__(self, request: HttpRequest, limit_bytes: int) -> None:
        super().__init__(request)
        self.received: dict[str, list[Receiver]] = {}
        self.refused: dict[str, str] = {}
        self._left = limit_bytes
        self._now: Receiver | None = None

    def new_file(self, *args: Any, **kwargs: Any) -> None:  # as Django calls it
        """A file begins."""
        super().new_file(*args, **kwargs)
        if self.field_name in self.refused:
            raise SkipFile
        self._now = Receiver(self.file_name or "file", limit_bytes=self._left)

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        """A piece of it."""
        if self._now is None:
            return
        try:
            self._now.write(raw_data)
        except TooLarge as error:
            self._refuse(error.message)
        except OSError:
            self._refuse(
                f"{self._now.file_name} could not be kept: the server's disk is full or broken."
                " Tell the people who run this console."
            )

    def file_complete(self, file_size: int) -> None:
        """It is whole. Django keeps no file of its own, so nothing is returned."""
        if self._now is not None:
            self._now.close()
            self._left -= self._now.size_bytes
            self.received.setdefault(self.field_name or "", []).append(self._now)
            self._now = None
        return None

    def discard(self) -> None:
        """Remove what was not moved into the store."""
        for receiver in [*(each for some in self.received.values() for each in some), self._now]:
            if receiver is not None:
                receiver.discard()
        self._now = None

    def _refuse(self, message: str) -> None:
        field = self.field_name or ""
        self.refused[field] = message
        for receiver in [self._now, *self.received.pop(field, [])]:
            if receiver is not None:
                self._left += receiver.size_bytes if receiver is not self._now else 0
                receiver.discard()
        self._now = None
        raise SkipFile


@contextmanager
def arrivals(request: HttpRequest, *, limit_bytes: int) -> Iterator[Arrivals]:
    """Let the files of `request` arrive on our disk; they are gone after the context.

    Enter it before anything reads `request.POST`: the view must be `csrf_exempt`, and check the
    token itself inside (`csrf_protect`).
    """
    handler = Arrivals(request, limit_bytes)
    request.upload_handlers = [handler]
    try:
        yield handler
    finally:
        handler.discard()


def sent_paths(request: HttpRequest, field: str) -> list[str] | None:
    """The relative paths that the drop zone sent beside the files of `field`; None without it."""
    text = request.POST.get(f"{field}_paths", "")
    if not text:
        return None
    try:
        paths = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(paths, list) or not all(isinstance(path, str) for path in paths):
        return None
    return paths
