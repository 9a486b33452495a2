"""One run folder of the local tool, taken apart: information, input, result, old pages."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from django.conf import settings

from runs.actions.inputs import (
    STORED_NAMES,
    NewFile,
    store_folder_input,
    store_text_input,
    too_large_words,
)
from runs.actions.tracked_results import TrackedResult
from runs.domain.content import is_folder_format, size_words
from runs.domain.errors import InputRejected, TooLarge
from runs.domain.run_folders import InformationInvalid, RunInformation, parse_information
from runs.execution.documents import Unreadable, read_document
from runs.execution.plain_folders import Listing, list_plain, open_plain, stat_plain
from runs.models import Account, InputData

INFORMATION_BYTES = 8 * 1024 * 1024
RESULT = "solution.json"
_SOLUTIONS = "outputs/solutions"
_LOG = "logs/logs.log"
_READ_AGAIN = 4
_PAUSE_S = 0.05
_FRESH_S = 5.0
_NO_RESULT_BYTES = 2
"""`{}`, as an export writes it where a run left no result at all."""


class RunFolder:
    """The folder `name` in `root`. Nothing behind a link is read; `warnings` tells what was not."""

    def __init__(self, root: Path, name: str) -> None:
        name.encode()  # a name that is no text cannot be the id of a run
        self.name = name
        self.warnings: list[str] = []
        self._root = root

    def information(self) -> RunInformation:
        """What the information file says; raises `InformationInvalid` and `NotPlain`.

        The tool rewrites the file in place, so that a reader sees half of it now and then: one that
        has just changed is read again.
        """
        for attempt in range(_READ_AGAIN):
            found = stat_plain(self._root, self._path(f"{self.name}.json"))
            if found is None:
                raise InformationInvalid(
                    f"There is no `{self.name}.json` in it: this is no folder of a run."
                )
            if found.size > INFORMATION_BYTES:
                raise TooLarge(
                    f"`{self.name}.json` has {size_words(found.size)}; at most"
                    f" {size_words(INFORMATION_BYTES)} are read."
                )
            with self._open(f"{self.name}.json") as stream:
                data = stream.read(INFORMATION_BYTES)
            try:
                return parse_information(read_document(data).value, folder=self.name)
            except Unreadable as error:
                fresh = time.time() - found.changed_at < _FRESH_S
                if not fresh or attempt == _READ_AGAIN - 1:
                    raise InformationInvalid(
                        f"`{self.name}.json` is no JSON: {error}. Repair it, or leave it out."
                    ) from error
            time.sleep(_PAUSE_S)  # the local tool rewrites the file in place; the tries are counted
        raise AssertionError("the last attempt returns or raises")

    def changed_at(self) -> float:
        """When the run last wrote something, in seconds since 1970."""
        files = [stat_plain(self._root, self._path(name)) for name in (f"{self.name}.json", _LOG)]
        return max((file.changed_at for file in files if file is not None), default=0.0)

    def store_input(self, account: Account, information: RunInformation) -> InputData | None:
        """Store the input; None when there is none, or none that can be kept (a warning says so).

        Raises `InputRejected` for hostile names and `TooLarge`.
        """
        content_format = information.input_format
        listing = self._list("inputs", settings.RUNSITE_UPLOAD_LIMIT)
        if not listing.files:
            return None
        if is_folder_format(content_format):
            files = [self._new_file("inputs", file.name) for file in listing.files]
            return store_folder_input(account=account, content_format=content_format, files=files)
        names = [file.name for file in listing.files]
        usual = STORED_NAMES[content_format]
        name = usual if usual in names else names[0]
        if len(names) > 1:
            self.warnings.append(f"Of its {len(names)} input files only `{name}` was kept.")
        try:
            with self._open(f"inputs/{name}") as stream:
                return store_text_input(
                    account=account, content_format=content_format, data=stream, file_name=name
                )
        except InputRejected as error:
            self.warnings.append(f"Its input was not kept: {error.message}")
            return None

    def result(self, information: RunInformation) -> TrackedResult:
        """What the run left, to be opened when it is stored. Raises `TooLarge`."""
        listing = self._list(_SOLUTIONS, settings.RUNSITE_OUTPUT_LIMIT)
        names = [file.name for file in listing.files]
        output: Callable[[], BinaryIO] | None = None
        files: list[NewFile] | None = None
        if is_folder_format(information.output_format) or (names and RESULT not in names):
            files = [self._new_file(_SOLUTIONS, name) for name in names] or None
        elif RESULT in names:
            others = len(names) - 1
            if others:
                self.warnings.append(f"{others} files beside `{RESULT}` were not kept.")
            if not self._is_no_result(information):
                output = partial(self._open, f"{_SOLUTIONS}/{RESULT}")
        log = stat_plain(self._root, self._path(_LOG))
        return TrackedResult(
            output=output,
            files=files,
            log=partial(self._open, _LOG) if log is not None and log.size else None,
            metrics=self._document("metrics") or _bytes_of(information.metrics),
            statistics=self._document("statistics") or _bytes_of(information.statistics),
            assets=self._document("assets"),
            downloads=self._old_visuals(),
        )

    def _old_visuals(self) -> list[NewFile]:
        """The pages that the tool drew: foreign HTML, to be downloaded and never shown."""
        listing = self._list("visuals", settings.RUNSITE_OUTPUT_LIMIT)
        return [
            self._new_file("visuals", file.name)
            for file in listing.files
            if PurePosixPath(file.name).suffix.lower() == ".html"
        ]

    def _is_no_result(self, information: RunInformation) -> bool:
        file = stat_plain(self._root, self._path(f"{_SOLUTIONS}/{RESULT}"))
        if information.output_size != 0 or file is None or file.size != _NO_RESULT_BYTES:
            return False
        with self._open(f"{_SOLUTIONS}/{RESULT}") as stream:
            return stream.read(_NO_RESULT_BYTES) == b"{}"

    def _document(self, key: str) -> Callable[[], BinaryIO] | None:
        for name in (f"outputs/{key}.json", f"outputs/{key}/{key}.json"):
            if stat_plain(self._root, self._path(name)) is not None:
                return partial(self._open, name)
        return None

    def _list(self, name: str, limit_bytes: int) -> Listing:
        limit_files = settings.RUNSITE_UNPACKED_FILES
        listing = list_plain(self._root, self._path(name), limit_files=limit_files)
        if not listing.complete:
            raise TooLarge(f"`{name}` holds more than {limit_files} files. Pack them into few.")
        if listing.size > limit_bytes:
            raise TooLarge(too_large_words(f"`{name}` ({size_words(listing.size)})"))
        self.warnings += [f"Left out of `{name}`: {what}" for what in listing.left_out[:10]]
        return listing

    def _new_file(self, folder: str, name: str) -> NewFile:
        name.encode()
        return NewFile(name, partial(self._open, f"{folder}/{name}"))

    def _open(self, name: str) -> BinaryIO:
        return open_plain(self._root, self._path(name))

    def _path(self, name: str) -> str:
        return f"{self.name}/{name}"


def _bytes_of(document: object) -> bytes | None:
    """A document that the information file itself holds; None without anything in it."""
    return json.dumps(document).encode() if document and isinstance(document, Mapping) else None
