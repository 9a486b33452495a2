"""What a page shows, as the requests that a program sends for the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from runs.actions.previews import preview_sample
from runs.actions.run_limits import usual_limits
from runs.actions.samples import look_at_sample
from runs.domain.errors import ManifestInvalid
from runs.domain.manifest import Manifest, manifest_from_json
from runs.domain.options import to_wire, visible_to
from runs.domain.requests import (
    FILE,
    INLINE,
    MANAGED,
    NONE,
    OF_RUN,
    InputSource,
    Language,
    ListRequest,
    ReadRequest,
    RunRequest,
    Snippet,
    file_name_of,
    small_json,
)
from runs.domain.requests_client import (
    cli_list,
    cli_read,
    cli_run,
    python_list,
    python_read,
    python_run,
)
from runs.domain.requests_curl import curl_list, curl_read, curl_run
from runs.models import InputData, Run
from runs.models.run_list import RunFilter
from runs.models.runs import DEFAULT_PRIORITY
from runs.web import launch_inputs as inputs
from runs.web.access import AccountRequest
from runs.web.addresses import public_base
from runs.web.forms.launch import LaunchForm
from runs.web.forms.limits import COLUMNS, MIB
from runs.web.launch_drafts import Draft, Scene
from runs.web.launch_order import WAITS_FOR, find_ids

LARGEST_INLINE_BYTES = 5 * MIB
"""The client uploads what is larger; so do the commands for curl."""
_NEWEST = "latest"


# --- The launch form --------------------------------------------------------------------------


def launch_requests(
    request: AccountRequest,
    scene: Scene,
    draft: Draft,
    *,
    requested: dict[str, object],
    data: InputData | None,
) -> dict[str, Any]:
    """The run that the form would submit as it stands; no query.

    `requested` are the options that it asks for, `data` the stored input that is chosen. Options
    that the role does not see are left out.
    """
    seen = {item.name: visible_to(item, request.role) for item in scene.definitions}
    shown = {name: to_wire(value) for name, value in requested.items() if seen.get(name, True)}
    clean = _clean_values(draft.form)
    limits: dict[str, Any] = {column: clean.get(name) for name, column in COLUMNS.items()}
    for name, column in COLUMNS.items():
        if name.endswith("_mib") and limits[column] is not None:
            limits[column] = max(1, round(limits[column] * MIB))
    named = draft.waits.named or find_ids(draft.form[WAITS_FOR].value() or "")
    run = RunRequest(
        base=public_base(request),
        application_id=scene.application.application_id,
        instance_id=scene.target.instance.instance_id if scene.target.instance else "",
        input=_chosen_source(scene, draft.choice, data),
        output_format=_output_format(scene),
        options=shown,
        name=clean.get("name") or "",
        description=clean.get("description") or "",
        priority=clean.get("priority"),
        usual_priority=scene.usual["priority"],
        execution_class=clean.get("execution_class") or "",
        secrets_collection_id=clean.get("secrets") or "",
        waits_for=named,
        wait_policy=clean.get("wait_policy") or "",
        **_limits(limits),
    )
    return {
        "request_languages": _run_languages(run),
        "request_notes": [*_file_notes(run.input), *_hidden_notes(len(requested) - len(shown))],
    }


def _clean_values(form: LaunchForm) -> dict[str, Any]:
    """The values of a form, also of one that nobody has sent; what is wrong is left out."""
    if not form.is_bound:
        initial = {name: form[name].value() for name in form.fields}
        given = {name: value for name, value in initial.items() if value is not None}
        form = LaunchForm(given, **form.made_with)
        form.full_clean()  # never that of the page: messages that others put there would be gone
    return dict(getattr(form, "cleaned_data", {}))


def _chosen_source(scene: Scene, choice: inputs.Choice, data: InputData | None) -> InputSource:
    wanted = scene.target.content_format
    usual = InputSource(FILE, "", wanted)
    if choice.source == inputs.NONE:
        return InputSource(NONE, None, wanted)
    if choice.source == inputs.MANAGED and choice.managed:
        return InputSource(MANAGED, choice.managed, data.content_format if data else wanted)
    if choice.source == inputs.EARLIER and choice.earlier and data is not None:
        large = data.size_bytes > LARGEST_INLINE_BYTES
        return InputSource(OF_RUN, choice.earlier, data.content_format, large)
    if choice.source == inputs.KEPT:
        large = data is not None and data.size_bytes > LARGEST_INLINE_BYTES
        return replace(usual, value=choice.kept_name, large=large)
    text = ""
    if choice.source == inputs.PASTE:
        text = choice.text
    elif choice.source == inputs.SAMPLE:
        sample = look_at_sample(scene.target.executable, wanted)
        preview = preview_sample(sample) if sample else None
        text = preview.text if preview and not preview.cut else ""
    value = small_json(text) if wanted == "json" else None
    return usual if value is None else InputSource(INLINE, value, wanted)


def _output_format(scene: Scene) -> str:
    """The format of the result, when the run says nothing about it."""
    instance, wanted = scene.target.instance, scene.target.content_format
    if instance is not None and instance.output_format:
        return instance.output_format
    return "json" if wanted == "text" else wanted


# --- The list of runs -------------------------------------------------------------------------


def list_requests(request: AccountRequest, chosen: RunFilter) -> dict[str, Any]:
    """The list that is shown, as far as the API can be asked for it; no query."""
    wanted = ListRequest(
        base=public_base(request),
        application_id=chosen.application,
        statuses=[str(status) for status in chosen.statuses],
        who=chosen.who,
    )
    command, missing = cli_list(wanted)
    languages = (
        Language("curl", "curl", (Snippet("", curl_list(wanted)),), missing=_not_of_curl(wanted)),
        Language("python", "Python", (Snippet("", python_list(wanted)),)),
        _command_line(wanted.base, (Snippet("", command),), missing),
    )
    given = {
        "text": chosen.text,
        "how it ended": chosen.reasons,
        "source": chosen.source,
        "time": chosen.since or chosen.until,
    }
    lacking = [name for name, value in given.items() if value]
    notes = []
    if lacking:
        notes.append(f"The API does not filter by {_listed(lacking)}: these requests list more.")
    return {"request_languages": languages, "request_notes": notes}


def _not_of_curl(wanted: ListRequest) -> tuple[str, ...]:
    lacking = ["several statuses at once"] if len(wanted.statuses) > 1 else []
    lacking += ["who"] if wanted.who else []
    lacking += [] if wanted.application_id else ["every application at once"]
    if not wanted.application_id and set(wanted.statuses) & {"queued", "running"}:
        # The queue of the account has exactly those that wait or run.
        lacking = ["who"] if wanted.who else []
    return tuple(lacking)


# --- The pages of a run -----------------------------------------------------------------------


def run_requests(request: AccountRequest, run: Run, *, may_launch: bool) -> dict[str, Any]:
    """State, result and log of the run, and the same run again; no query."""
    base = public_base(request)
    read = ReadRequest(base, run.application.application_id, run.run_id, run.output_format)
    reads = (curl_read(read), python_read(read), cli_read(read))
    if not may_launch or (run.is_tracked and run.application.executable_id is None):
        languages = (
            Language("curl", "curl", reads[0]),
            Language("python", "Python", reads[1]),
            _command_line(base, reads[2], ()),
        )
        return {"request_languages": languages, "request_notes": []}
    again, hidden = _run_again(request, run)
    found = _run_languages(again, title="Run again", before=reads)
    return {"request_languages": found, "request_notes": _hidden_notes(hidden)}


def _run_again(request: AccountRequest, run: Run) -> tuple[RunRequest, int]:
    """The request for the same run, and how many options the role does not see."""
    manifest = _manifest_of(run)
    seen = {
        item.name: visible_to(item, request.role)
        for item in (manifest.options.items if manifest else ())
    }
    asked = {name: to_wire(value) for name, value in run.requested_options.items()}
    shown = {name: text for name, text in asked.items() if seen.get(name, True)}
    instance = run.instance
    usual = (instance.priority if instance else None) or DEFAULT_PRIORITY
    limits: dict[str, Any] = {}
    if manifest is not None:
        unasked = usual_limits(run.application, manifest, instance)
        own = {column: getattr(run, column) for column in COLUMNS.values()}
        limits = {column: value for column, value in own.items() if value != unasked[column]}
    follows = not run.former_instance_id and run.application.default_instance_id is not None
    again = RunRequest(
        base=public_base(request),
        application_id=run.application.application_id,
        instance_id=instance.instance_id if instance else _NEWEST if follows else "",
        input=_source_of(run),
        output_format=run.output_format,
        options=shown,
        name=run.name,
        description=run.description,
        priority=None if run.priority == usual else run.priority,
        usual_priority=usual,
        execution_class=run.execution_class
        if run.execution_class != (instance.execution_class if instance else "")
        else "",
        secrets_collection_id=run.secrets.collection_id if run.secrets else "",
        **_limits(limits),
    )
    return again, len(asked) - len(shown)


def _manifest_of(run: Run) -> Manifest | None:
    if run.executable is None:
        return None
    try:
        return manifest_from_json(run.executable.manifest)
    except (ManifestInvalid, ValueError, KeyError, TypeError):
        return None  # made by an older release


def _source_of(run: Run) -> InputSource:
    if run.input_data is None:
        return InputSource(NONE, None, run.input_format)
    managed = run.managed_input
    if managed is not None and managed.input_data_id == run.input_data_id:
        return InputSource(MANAGED, managed.input_id, run.input_format)
    large = run.input_bytes > LARGEST_INLINE_BYTES
    return InputSource(OF_RUN, run.run_id, run.input_format, large)


# --- What they share --------------------------------------------------------------------------


def _limits(limits: dict[str, Any]) -> dict[str, Any]:
    """Limits by column, as a request has them: the time limit stands for itself."""
    given = {name: value for name, value in limits.items() if value not in (None, "")}
    return {"time_limit_s": given.pop("time_limit_s", None), "limits": given}


def _run_languages(
    run: RunRequest, *, title: str = "", before: Sequence[tuple[Snippet, ...]] = ((), (), ())
) -> tuple[Language, ...]:
    command, missing = cli_run(run)
    return (
        Language("curl", "curl", (*before[0], Snippet(title, curl_run(run)))),
        Language("python", "Python", (*before[1], Snippet(title, python_run(run)))),
        _command_line(run.base, (*before[2], Snippet(title, command)), missing),
    )


def _command_line(base: str, snippets: tuple[Snippet, ...], missing: Sequence[str]) -> Language:
    note = ""
    if base.startswith("http://"):
        note = "The command line speaks https only, and this address is http. See docs/api.md."
    return Language("cli", "Command line", snippets, note, tuple(missing))


def _file_notes(source: InputSource) -> list[str]:
    if source.kind != FILE:
        return []
    what = "folder with the input" if source.is_folder else "file with the input"
    return [f"`{file_name_of(source)}` stands for the {what}."]


def _hidden_notes(count: int) -> list[str]:
    if not count:
        return []
    words = "1 option is" if count == 1 else f"{count} options are"
    return [f"{words} left out, because your role does not see it."]


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
