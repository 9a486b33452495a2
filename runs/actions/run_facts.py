"""What does not change of a run once it is there: its options, and its documents once it ended."""

from __future__ import annotations

import json
import logging
import threading
from collections import OrderedDict, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from django.db.models import BigIntegerField, F, TextField, Value
from django.db.models.functions import Cast

from runs.domain.values import unwrap
from runs.models import Run, RunFile, RunMetric, RunOption
from runs.storage import StorageError, object_store

logger = logging.getLogger(__name__)

DOCUMENT_BYTES = 1024 * 1024
"""Metrics or statistics above this are not told with every look at a run."""
KEPT_BYTES = 32 * 1024 * 1024
KEPT_RUNS = 5_000
MOST_INDICATORS = 50
"""So many metrics of a run stand in a list."""
_ROWS = 500
_OPTION, _FILE = "option", "file"


@dataclass(frozen=True)
class OptionFact:
    """An option in force as text; `source` is `manifest`, `instance` or `run`."""

    name: str
    text: str
    source: str


@dataclass(frozen=True)
class RunFacts:
    """Options in force, and the two documents, each an object or None. Nobody may change them."""

    options: tuple[OptionFact, ...] = ()
    metrics: Mapping[str, object] | None = None
    statistics: Mapping[str, object] | None = None


@dataclass(frozen=True)
class ListFacts:
    """What a list tells of a run: options in force, and its first metrics by flat name."""

    options: tuple[OptionFact, ...] = ()
    indicators: tuple[tuple[str, object], ...] = ()


def facts_of(run: Run) -> RunFacts:
    """The options and documents of a run; one query, none for what is known already.

    The store is read once, after the end. A document that is above 1 MiB, no object or gone is
    None.
    """
    name = run.run_id if run.is_final else f"{run.run_id} under way"
    known = _cache.get(name)
    if known is not None:
        return known
    options, files = _rows(run)
    documents: dict[str, Mapping[str, object] | None] = {}
    size = sum(len(option.name) + len(option.text) for option in options)
    complete = True
    for role, (key, size_bytes) in files.items():
        if size_bytes > DOCUMENT_BYTES:
            continue
        try:
            documents[role] = _document(role, key, size_bytes)
        except StorageError as error:
            logger.warning("the %s of run %s cannot be read: %s", role, run.run_id, error)
            complete = False
        size += size_bytes
    facts = RunFacts(options, documents.get(RunFile.METRICS), documents.get(RunFile.STATISTICS))
    if complete:
        _cache.put(name, facts, size + 500)
    return facts


def list_facts(runs: Sequence[Run]) -> dict[int, ListFacts]:
    """What a list tells of these runs, by primary key; two queries for each 500."""
    found: dict[int, ListFacts] = {}
    for start in range(0, len(runs), _ROWS):
        page = [run.pk for run in runs[start : start + _ROWS]]
        options: dict[int, list[OptionFact]] = defaultdict(list)
        given = RunOption.objects.filter(run__in=page).order_by("run", "position")
        for pk, *fact in given.values_list("run_id", "name", "text", "source"):
            options[int(pk)].append(OptionFact(*fact))
        indicators: dict[int, list[tuple[str, object]]] = defaultdict(list)
        metrics = RunMetric.objects.filter(run__in=page, position__lt=MOST_INDICATORS)
        metrics = metrics.order_by("run", "position")
        for run_id, name, text, number in metrics.values_list("run_id", "name", "text", "number"):
            indicators[run_id].append((name, _value(text, number)))
        for pk in page:
            found[pk] = ListFacts(tuple(options[pk]), tuple(indicators[pk]))
    return found


def _rows(run: Run) -> tuple[tuple[OptionFact, ...], dict[str, tuple[str, int]]]:
    """The options in their order, and key and size of each document of a run that has ended."""
    columns = ("place", "kind", "name", "text", "source")
    rows = (
        RunOption.objects.filter(run=run)
        .annotate(place=_bigint("position"), kind=Value(_OPTION))
        .values_list(*columns)
    )
    if run.is_final:
        files = RunFile.objects.filter(
            run=run, role__in=(RunFile.METRICS, RunFile.STATISTICS)
        ).annotate(
            place=_bigint("size_bytes"),
            kind=Value(_FILE),
            name=_text("role"),
            text=_text("key"),
            source=Value(""),
        )
        rows = rows.union(files.values_list(*columns), all=True)
    found = list(rows)
    options = sorted(row for row in found if row[1] == _OPTION)
    documents = {name: (key, size) for size, kind, name, key, _ in found if kind == _FILE}
    return tuple(OptionFact(*row[2:]) for row in options), documents


def _bigint(column: str) -> Cast:
    return Cast(F(column), BigIntegerField())


def _text(column: str) -> Cast:
    return Cast(F(column), TextField())


def _document(role: str, key: str, size_bytes: int) -> Mapping[str, object] | None:
    data = object_store().read_range(key, 0, size_bytes)
    try:
        document = unwrap(json.loads(data), role)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, Mapping) else None


def _value(text: str, number: float | None) -> object:
    """The value of a flat metric: whole numbers stay whole."""
    if number is None:
        return text
    try:
        return json.loads(text)
    except ValueError:
        return number


class _Cache:
    """The facts of runs, as many as fit; the ones used last stay."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, tuple[RunFacts, int]] = OrderedDict()
        self._size = 0

    def get(self, name: str) -> RunFacts | None:
        with self._lock:
            kept = self._kept.get(name)
            if kept is None:
                return None
            self._kept.move_to_end(name)
            return kept[0]

    def put(self, name: str, facts: RunFacts, size: int) -> None:
        with self._lock:
            former = self._kept.pop(name, None)
            self._size += size - (former[1] if former else 0)
            self._kept[name] = (facts, size)
            while len(self._kept) > KEPT_RUNS or (self._size > KEPT_BYTES and self._kept):
                _, (_, gone) = self._kept.popitem(last=False)
                self._size -= gone


_cache = _Cache()
"""Run ids are never used again, so what is kept here never becomes wrong."""
