"""The input and output files of runs as one tar.gz each, packed while they are read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import BinaryIO

from django.db.models import QuerySet

from runs.actions.outputs import inside_name
from runs.domain.errors import NotFound
from runs.execution.entries import ArchiveRefused, clean_name
from runs.execution.packing import pack_tar_stream
from runs.models import InputFile, Run, RunFile
from runs.storage import ObjectMissing, object_store

INPUT, OUTPUT = "input", "output"
"""The two parts of a run that can be had as one archive."""
_PAGE = 500


def archive_of_run(*, run_id: str, part: str) -> Iterator[bytes]:
    """The files of a run's `INPUT` or `OUTPUT` as tar.gz, in pieces of a few KiB or more.

    A run without such files gives an empty archive. Equal files give equal bytes. Raises
    `NotFound` for a run that is gone, and while the pieces are read for a file that is.
    """
    run = Run.objects.filter(run_id=run_id).only("pk", "input_data_id").first()
    if run is None:
        raise NotFound(f"There is no run {run_id} any more. It was deleted.")
    if part == OUTPUT:
        return pack_tar_stream(_entries(RunFile.objects.filter(run=run, role=RunFile.SOLUTION)))
    return pack_tar_stream(_entries(InputFile.objects.filter(input_data=run.input_data_id)))


def _entries(
    rows: QuerySet[RunFile] | QuerySet[InputFile],
) -> Iterator[tuple[str, Callable[[], BinaryIO]]]:
    """Names and openers of all files, by short queries: a slow client must not keep one open."""
    after = -1
    while True:
        page = list(
            rows.filter(number__gt=after)
            .order_by("number")
            .values_list("number", "path", "key")[:_PAGE]
        )
        for number, path, key in page:
            yield _name(path, number), partial(_open, key, path)
        if len(page) < _PAGE:
            return
        after = page[-1][0]


def _name(path: str, number: int) -> str:
    """`path` as it is where every program unpacks it below its folder, else one that is like it."""
    for name in (path, inside_name(path, number)):
        try:
            if cleaned := clean_name(name):
                return cleaned
        except ArchiveRefused:
            continue
    return f"file-{number}"  # too long or too deep for any archive


def _open(key: str, name: str) -> BinaryIO:
    try:
        return object_store().open(key)
    except ObjectMissing as error:
        raise NotFound(f"`{name}` is not in the store any more.") from error
