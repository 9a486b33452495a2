"""The build that a form sent: one archive, or the files of a folder with their paths."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.http import HttpRequest

from runs.actions.builds import Build, build_from_archive, build_from_files
from runs.actions.inputs import scratch_file
from runs.actions.uploads import ARCHIVE_ENDS, Receiver
from runs.domain.errors import ArchiveRejected, TooLarge
from runs.web.uploads import Arrivals, sent_paths


class NothingSent(ArchiveRejected):
    """The form came without a file."""


def arrived(request: HttpRequest, field: str) -> list[Receiver]:
    """The files of `field` that have arrived on our disk; raises `TooLarge` for refused ones."""
    request.POST  # noqa: B018 (reads the body, and with it the files)
    handler = next(each for each in request.upload_handlers if isinstance(each, Arrivals))
    if field in handler.refused:
        raise TooLarge(handler.refused[field])
    # A browser sends an unused file field as a file without a name.
    return [each for each in handler.received.get(field, []) if each.file_name or each.size_bytes]


@contextmanager
def sent_build(request: HttpRequest, field: str) -> Iterator[Build]:
    """Check what was sent as `field`; to be used within `arrivals`.

    Raises what `actions.builds` raises, and `NothingSent`.
    """
    received = arrived(request, field)
    if not received:
        raise NothingSent("Choose a .zip, .tar or .tar.gz, or drop the folder of the application.")
    paths = sent_paths(request, field) or []
    if len(paths) != len(received):
        paths = [each.file_name for each in received]
    only = received[0]
    if len(received) == 1 and ("/" not in paths[0] or only.file_name.endswith(ARCHIVE_ENDS)):
        with build_from_archive(source=only.path, file_name=only.file_name) as build:
            yield build
        return
    files = [scratch_file(path, each.path) for path, each in zip(paths, received, strict=True)]
    with build_from_files(files=files) as build:
        yield build
