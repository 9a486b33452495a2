"""Where the input of a launch comes from: what may be chosen, and what was chosen as an input."""

from __future__ import annotations

from dataclasses import dataclass, field

from django.http import QueryDict

from runs.actions.inputs import store_text_input
from runs.actions.previews import InputPreview, preview_input, preview_sample
from runs.actions.runs import Target, fits
from runs.actions.samples import Sample, look_at_sample, sample_input
from runs.actions.uploads import Receiver, input_of_uploads
from runs.domain.content import RULES, is_folder_format
from runs.domain.errors import InputRejected
from runs.execution.entries import ArchiveRefused
from runs.models import Account, Application, InputData, ManagedInput, Run

UPLOAD, PASTE, SAMPLE, MANAGED, EARLIER, KEPT, NONE = (
    "upload",
    "paste",
    "sample",
    "managed",
    "earlier",
    "kept",
    "none",
)
SOURCES = (UPLOAD, PASTE, SAMPLE, MANAGED, EARLIER, KEPT, NONE)
FILES = "files"
_EARLIER_OFFERED = 20
_MANAGED_OFFERED = 200


@dataclass(frozen=True)
class Choice:
    """What the form says about the input: the source, and what belongs to each source."""

    source: str = ""
    text: str = ""
    managed: str = ""
    earlier: str = ""
    kept: str = ""
    kept_name: str = ""
    as_is: bool = False


@dataclass(frozen=True)
class Chosen:
    """An input that can be submitted; `data` is None where the program gets nothing."""

    data: InputData | None
    managed: ManagedInput | None = None


@dataclass(frozen=True)
class Offer:
    """What may be chosen for an application."""

    sources: tuple[str, ...]
    is_folder: bool
    accept: str
    help_text: str
    sample: Sample | None = None
    managed: tuple[ManagedInput, ...] = ()
    earlier: tuple[Run, ...] = field(default=())


def choice_of(data: QueryDict) -> Choice:
    """The choice that a form holds."""
    return Choice(
        source=data.get("source", ""),
        text=data.get("text", ""),
        managed=data.get("managed", ""),
        earlier=data.get("earlier", "").strip(),
        kept=data.get("kept", ""),
        kept_name=data.get("kept_name", "")[:300],
        as_is="as_is" in data,
    )


def choice_of_run(run: Run) -> Choice:
    """The input of `run` again: its managed input while that still is the same, else its bytes."""
    if run.input_data_id is None:
        return Choice(source=NONE)
    if run.managed_input is not None and run.managed_input.input_data_id == run.input_data_id:
        return Choice(source=MANAGED, managed=run.managed_input.input_id, earlier=run.run_id)
    return Choice(source=EARLIER, earlier=run.run_id)


def offer_for(application: Application, target: Target, *, kept: str = "") -> Offer:
    """What may be chosen: two queries, and the sample once per process."""
    content_format = target.content_format
    folder = is_folder_format(content_format)
    rules = RULES[content_format]
    sample = look_at_sample(target.executable, content_format)
    readable = [name for name in RULES if fits(name, content_format)]
    managed = tuple(
        application.managed_inputs.filter(input_data__content_format__in=readable)
        .select_related("input_data")
        .order_by("input_id")[:_MANAGED_OFFERED]
    )
    earlier = tuple(
        Run.objects.filter(
            account_id=application.account_id,
            application=application,
            input_data__content_format__in=readable,
        )
        .select_related("input_data")
        .order_by("-id")[:_EARLIER_OFFERED]
    )
    sources = [KEPT] if kept else []
    sources += [UPLOAD] if folder else [UPLOAD, PASTE]
    sources += [SAMPLE] if sample else []
    sources += [MANAGED] if managed else []
    sources += [EARLIER]
    sources += [] if folder else [NONE]
    return Offer(
        sources=tuple(sources),
        is_folder=folder,
        accept=",".join(rules.accepts),
        help_text=rules.help_text,
        sample=sample,
        managed=managed,
        earlier=earlier,
    )


def usual_source(offer: Offer) -> str:
    """Which source is marked at first: what needs no work."""
    for source in (SAMPLE, MANAGED, UPLOAD):
        if source in offer.sources:
            return source
    return UPLOAD


def take_input(
    choice: Choice,
    *,
    account: Account,
    application: Application,
    target: Target,
    received: list[Receiver],
    paths: list[str] | None,
) -> Chosen:
    """The input that was chosen, stored if it came with the form.

    Raises `InputRejected`, `ArchiveRejected` or `TooLarge` with what to do about it.
    """
    content_format = target.content_format
    if choice.source == UPLOAD:
        return Chosen(
            input_of_uploads(
                account=account,
                content_format=content_format,
                received=received,
                paths=paths,
                unpack=not choice.as_is,
            )
        )
    if choice.source == PASTE:
        if is_folder_format(content_format):
            raise InputRejected(f"An app of format {content_format} reads files. Send some.")
        if content_format == "json" and not choice.text.strip():
            raise InputRejected("Nothing was pasted. Paste a JSON object, or take another input.")
        text = choice.text.replace("\r\n", "\n")  # browsers send line breaks so
        return Chosen(
            store_text_input(account=account, content_format=content_format, data=text.encode())
        )
    if choice.source == SAMPLE:
        return Chosen(_sample(account, target))
    if choice.source == NONE:
        return Chosen(None)
    chosen = find_input(choice, account=account, application=application, target=target)
    if chosen is None:
        raise InputRejected("Choose where the input comes from.")
    return chosen


def find_input(
    choice: Choice, *, account: Account, application: Application, target: Target
) -> Chosen | None:
    """The stored input that a choice names; None for a choice that brings bytes or none.

    Raises `InputRejected` when there is no such input, or the app cannot read it.
    """
    if choice.source == MANAGED:
        managed = (
            application.managed_inputs.filter(input_id=choice.managed)
            .select_related("input_data")
            .first()
        )
        if managed is None:
            raise InputRejected(
                f"There is no managed input `{choice.managed[:128]}`. Choose another one."
            )
        return Chosen(_readable(managed.input_data, target), managed)
    if choice.source == EARLIER:
        if not choice.earlier:
            raise InputRejected("Name the run whose input is to be used.")
        run = (
            Run.objects.filter(account=account, run_id=choice.earlier)
            .select_related("input_data")
            .first()
        )
        if run is None:
            raise InputRejected(
                f"There is no run `{choice.earlier[:40]}` in this account. Choose another one."
            )
        if run.input_data is None:
            raise InputRejected(f"Run {run.run_id} had no input. Choose another one.")
        return Chosen(_readable(run.input_data, target))
    if choice.source == KEPT:
        kept = InputData.objects.filter(account=account, input_key=choice.kept).first()
        if kept is None:
            raise InputRejected("What you sent before is no longer kept. Send it again.")
        return Chosen(_readable(kept, target))
    return None


def preview(
    choice: Choice, *, account: Account, application: Application, target: Target
) -> InputPreview | None:
    """A look at what is chosen; None while there is nothing to look at."""
    if choice.source == SAMPLE:
        sample = look_at_sample(target.executable, target.content_format)
        return preview_sample(sample) if sample else None
    if choice.source == EARLIER and not choice.earlier:
        return None
    chosen = find_input(choice, account=account, application=application, target=target)
    return preview_input(chosen.data) if chosen and chosen.data else None


def known_input(
    choice: Choice, *, account: Account, application: Application, target: Target
) -> InputData | None:
    """The stored input that is chosen, the sample included once a run has used it."""
    if choice.source == SAMPLE:
        sample = look_at_sample(target.executable, target.content_format)
        if sample is None or not sample.sha256:
            return None
        return InputData.objects.filter(
            account=account, content_format=sample.content_format, sha256=sample.sha256
        ).first()
    try:
        chosen = find_input(choice, account=account, application=application, target=target)
    except InputRejected:
        return None
    return chosen.data if chosen else None


def size_of(choice: Choice, data: InputData | None, target: Target) -> int | None:
    """How large the chosen input is, as far as that is known before it is stored; no query."""
    if data is not None:
        return data.size_bytes
    if choice.source == SAMPLE:
        sample = look_at_sample(target.executable, target.content_format)
        return sample.size_bytes if sample else None
    return len(choice.text.encode()) if choice.source == PASTE and choice.text else None


def _sample(account: Account, target: Target) -> InputData:
    if look_at_sample(target.executable, target.content_format) is None:
        raise InputRejected("The application brings no sample. Choose another input.")
    try:
        stored = sample_input(
            account=account, executable=target.executable, content_format=target.content_format
        )
    except ArchiveRefused as refused:
        raise InputRejected(f"The application's sample cannot be read: {refused}") from refused
    if stored is None:
        raise InputRejected("The application brings no sample. Choose another input.")
    return stored


def _readable(data: InputData, target: Target) -> InputData:
    if not fits(data.content_format, target.content_format):
        raise InputRejected(
            f"That input is {data.content_format}, but the app reads {target.content_format}."
            " Choose another one."
        )
    return data
