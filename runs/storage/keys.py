"""All layouts of keys: the only place that says under which name an object is kept.

Numbers are padded, so that keys sort as the numbers do. Everything that goes away together lies
under one prefix.
"""

from __future__ import annotations

from runs.storage.base import check_key

Id = str | int


def executable_prefix(application_id: Id, executable_id: Id) -> str:
    """All objects of one executable."""
    return f"executables/{application_id}/{executable_id}/"


def executable_archive(application_id: Id, executable_id: Id) -> str:
    """The build as one archive, packed by us or uploaded."""
    return _key(executable_prefix(application_id, executable_id) + "archive")


def environment_log(environment_id: Id) -> str:
    """What the installer printed while an environment was built."""
    return _key(f"environments/{environment_id}/log")


def upload_prefix(upload_id: Id) -> str:
    """All objects of one upload."""
    return f"uploads/{upload_id}/"


def upload(upload_id: Id) -> str:
    """The bytes that a client put into the store itself, as they came; it may replace them."""
    return _key(upload_prefix(upload_id) + "data")


def received_upload(upload_id: Id, nonce: str) -> str:
    """The bytes that came by a ticket of ours: each time under a new name, and never changed."""
    return _key(f"{upload_prefix(upload_id)}{nonce}")


def input_prefix(input_id: Id) -> str:
    """All files of one input."""
    return f"inputs/{input_id}/"


def input_file(input_id: Id, number: int) -> str:
    """File `number` (from 0) of an input; `json` and `text` inputs have number 0 alone.

    The names of the files are in the database: they may hold any character.
    """
    return _key(f"{input_prefix(input_id)}{_padded(number)}")


def run_prefix(run_id: Id) -> str:
    """All objects of one run, over all attempts; its input is not among them."""
    return f"runs/{run_id}/"


def attempt_prefix(run_id: Id, attempt: int) -> str:
    """All objects of one attempt of a run."""
    return f"runs/{run_id}/{attempt}/"


def stdout(run_id: Id, attempt: int) -> str:
    """The standard output as the program wrote it: the result of `json` and `text` runs."""
    return _key(attempt_prefix(run_id, attempt) + "stdout")


def cleaned(run_id: Id, attempt: int) -> str:
    """The JSON result with null for NaN and infinities; there is none where nothing was mended."""
    return _key(attempt_prefix(run_id, attempt) + "cleaned")


def log(run_id: Id, attempt: int) -> str:
    """The whole log of an ended attempt."""
    return _key(attempt_prefix(run_id, attempt) + "log")


def log_index(run_id: Id, attempt: int) -> str:
    """Byte offsets and times of the lines of the whole log."""
    return index_of(log(run_id, attempt))


def found_log(run_id: Id, attempt: int) -> str:
    """What was found of the log of an attempt whose worker was lost."""
    return _key(attempt_prefix(run_id, attempt) + "found-log")


def found_log_index(run_id: Id, attempt: int) -> str:
    """The index of what was found."""
    return index_of(found_log(run_id, attempt))


def index_of(log_key: str) -> str:
    """The index that belongs to a log."""
    return _key(f"{log_key}-index")


def log_parts_prefix(run_id: Id, attempt: int) -> str:
    """The older parts of the log of an attempt that still runs."""
    return attempt_prefix(run_id, attempt) + "log-parts/"


def log_part(run_id: Id, attempt: int, first_byte: int) -> str:
    """A part of a live log that starts at `first_byte` of it."""
    return _key(f"{log_parts_prefix(run_id, attempt)}{_padded(first_byte, 16)}")


def usage(run_id: Id, attempt: int) -> str:
    """CPU time and memory of the process tree over time."""
    return _key(attempt_prefix(run_id, attempt) + "usage")


def statistics(run_id: Id, attempt: int) -> str:
    """The statistics of a result, as JSON."""
    return _key(attempt_prefix(run_id, attempt) + "statistics")


def metrics(run_id: Id, attempt: int) -> str:
    """The metrics of a result, as JSON."""
    return _key(attempt_prefix(run_id, attempt) + "metrics")


def series(run_id: Id, attempt: int) -> str:
    """Values over time that a run reported, as JSON."""
    return _key(attempt_prefix(run_id, attempt) + "series")


def output_prefix(run_id: Id, attempt: int) -> str:
    """All result files of an attempt."""
    return attempt_prefix(run_id, attempt) + "output/"


def output_file(run_id: Id, attempt: int, number: int) -> str:
    """Result file `number` (from 0); its name is in the database."""
    return _key(f"{output_prefix(run_id, attempt)}{_padded(number)}")


def assets_prefix(run_id: Id, attempt: int) -> str:
    """All assets of an attempt."""
    return attempt_prefix(run_id, attempt) + "assets/"


def asset(run_id: Id, attempt: int, number: int) -> str:
    """Asset `number` (from 0) of an attempt, as JSON."""
    return _key(f"{assets_prefix(run_id, attempt)}{_padded(number)}")


def _key(key: str) -> str:
    check_key(key)
    return key


def _padded(number: int, digits: int = 8) -> str:
    return f"{number:0{digits}d}"
