"""What a launch form says about the order of runs: whom to wait for, and whose key is taken."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from django.db.models import Q
from django.http import QueryDict

from runs.actions.concurrency import key_of
from runs.domain.concurrency import WHOLE_APPLICATION
from runs.domain.manifest import Manifest
from runs.domain.options import ResolvedOption
from runs.models import Account, Application, Run
from runs.models.concurrency import admitted
from runs.models.runs import RunQuerySet

WAITS_FOR = "waits_for"
OFFERED = 8
MOST_WAITS = 50


@dataclass(frozen=True)
class Waits:
    """The runs that a form names: those that there are, and what is wrong with the others."""

    named: tuple[str, ...] = ()
    runs: tuple[Run, ...] = ()
    errors: tuple[str, ...] = ()


def find_waits(account: Account, texts: Sequence[str]) -> Waits:
    """The runs of the account whose ids stand in `texts`, each once; one query."""
    named = find_ids(*texts)
    if not named:
        return Waits()
    if len(named) > MOST_WAITS:
        return Waits(named, errors=(f"Name at most {MOST_WAITS} runs; these are {len(named)}.",))
    rows = account.runs.filter(run_id__in=[name for name in named if len(name) <= 32])
    found = {run.run_id: run for run in rows.select_related("application")}
    errors = tuple(
        f"There is no run `{name[:40]}` in {account.name}. Copy its id from its page."
        for name in named
        if name not in found
    )
    return Waits(named, tuple(found[name] for name in named if name in found), errors)


def find_ids(*texts: str) -> tuple[str, ...]:
    """The ids that stand in texts, each once; separated by blanks or commas."""
    words = " ".join(texts).replace(",", " ").replace("\x00", " ").split()
    return tuple(dict.fromkeys(word.lower() for word in words))


def one_waits_for(data: QueryDict) -> QueryDict:
    """The form with all ids in one text: boxes that were ticked, and what was typed."""
    changed = data.copy()
    changed[WAITS_FOR] = " ".join(data.getlist(WAITS_FOR)).replace("\x00", " ").strip()
    return changed


def offered_runs(account: Account, named: Sequence[str] = ()) -> list[Run]:
    """The newest runs that have not ended, to choose from, and those named; one query."""
    newest = account.runs.active().order_by("-pk").values("pk")[:OFFERED]
    wanted = Q(pk__in=newest)
    if named:
        wanted |= Q(run_id__in=[name for name in named if len(name) <= 32][:MOST_WAITS])
    shown = account.runs.filter(wanted).select_related("application")
    return list(
        shown.only(
            "run_id", "name", "status", "created_at", "account", "application__name"
        ).order_by("-pk")
    )


def key_words(
    application: Application, manifest: Manifest, options: Sequence[ResolvedOption]
) -> str:
    """What the concurrency policy will do with a run that has these options; empty without one.

    One query, none for an application without a limit.
    """
    limit = application.concurrency_limit
    key, _ = key_of(application, manifest, options)
    if limit is None or not key:
        return ""
    under_way: RunQuerySet = admitted(application.pk, key)
    count = under_way.count()
    of_key = "of this application" if key == WHOLE_APPLICATION else f"with key `{key}`"
    runs = f"{min(count, limit)} of {limit} runs {of_key}"
    begin = f"{runs} {'is' if min(count, limit) == 1 else 'are'} under way"
    if count < limit:
        return f"{begin}: yours starts without waiting for them."
    return f"{begin}: {_POLICY_WORDS[application.concurrency_policy or Application.QUEUE]}"


_POLICY_WORDS: Mapping[str, str] = {
    Application.QUEUE: "yours will wait for its turn.",
    Application.DROP: "yours would be recorded as canceled, and not be run.",
    Application.REPLACE: "yours takes their place, and they are canceled.",
    Application.REUSE: "no run is made; you are led to the one that is there.",
}
