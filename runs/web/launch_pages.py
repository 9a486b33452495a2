"""What the templates of the launch form are given."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from runs.actions.estimates import solved_already, usual_duration
from runs.domain.errors import InputRejected
from runs.domain.options import resolve_options, to_wire
from runs.execution.environment import VARIABLES
from runs.web import launch_inputs as inputs
from runs.web.access import AccountRequest
from runs.web.expected import span_words
from runs.web.forms.launch import LaunchForm, option_rows, padded, was_words
from runs.web.forms.limits import COLUMNS
from runs.web.launch_drafts import (
    Draft,
    Scene,
    hidden_of_original,
    initial_of,
    seen_options,
)
from runs.web.launch_order import WAITS_FOR, find_ids, key_words, offered_runs
from runs.web.same_request import launch_requests


def page_context(request: AccountRequest, scene: Scene, draft: Draft) -> dict[str, Any]:
    """Everything on the page. A source that cannot be chosen gives way to the usual one."""
    offer = inputs.offer_for(scene.application, scene.target, kept=draft.choice.kept)
    if draft.choice.source not in offer.sources:
        draft.choice = replace(draft.choice, source=inputs.usual_source(offer))
    if draft.choice.source == inputs.MANAGED and not draft.choice.managed:
        draft.choice = replace(draft.choice, managed=offer.managed[0].input_id)
    return {
        "application": scene.application,
        "original": scene.original,
        "errors": [*draft.errors, *draft.form.non_field_errors()],
        "offer": offer,
        "choice": draft.choice,
        "input_errors": draft.input_errors,
        "notes": _notes(request, scene),
        **settings_context(request, scene, draft),
        **preview_context(request, scene, draft.choice),
        **note_context(request, scene, draft),
    }


def settings_context(request: AccountRequest, scene: Scene, draft: Draft) -> dict[str, Any]:
    manifest = scene.target.manifest
    rows = option_rows(
        seen_options(request, scene),
        shown=draft.shown,
        base=scene.base,
        errors=draft.option_errors,
        original=scene.original_options if scene.original else None,
        of_instance=scene.of_instance,
    )
    names = {item.name for item in scene.definitions}
    named_advanced = ("description", "priority", "execution_class", "secrets")
    advanced = [name for name in named_advanced if name in draft.form.fields]
    limits = [name for name in COLUMNS if name in draft.form.fields]
    named = find_ids(draft.form[WAITS_FOR].value() or "")
    offered = offered_runs(request.account, named)
    listed = {run.run_id for run in offered}
    return {
        "target": scene.target,
        "form": draft.form,
        "basics": [_field_row(scene, draft.form, name) for name in ("instance", "name")],
        "advanced": [_field_row(scene, draft.form, name) for name in advanced],
        "advanced_open": any(draft.form[name].errors for name in advanced),
        "offers_secrets": "secrets" in draft.form.fields,
        "limits": [_field_row(scene, draft.form, name) for name in limits],
        "limits_open": any(
            draft.form[name].errors or draft.form[name].value() for name in (*limits, WAITS_FOR)
        ),
        "offered": [(run, run.run_id in named) for run in offered],
        "waits_typed": " ".join(name for name in named if name not in listed),
        "option_rows": rows,
        "allows_free_options": manifest.allows_free_options,
        "free_rows": padded(draft.free),
        "free_open": bool(draft.free),
        "free_of_instance": [
            (name, to_wire(value)) for name, value in scene.of_instance.items() if name not in names
        ],
    }


def _field_row(scene: Scene, form: LaunchForm, name: str) -> dict[str, Any]:
    """A field, and beside it what the original run had where that differs."""
    bound = form[name]
    if scene.original is None:
        return {"field": bound, "original": None, "changed": ""}
    initial = initial_of(scene, scene.original) | {
        "instance": scene.original.instance.instance_id if scene.original.instance else ""
    }
    before = "" if initial[name] is None else str(initial[name])
    now = "" if bound.value() is None else str(bound.value())
    words = "was usual" if before == "" and name in {"priority", "secrets", *COLUMNS} else ""
    choices = dict(getattr(bound.field, "choices", ()))
    return {
        "field": bound,
        "original": before,
        "changed": "" if before == now else words or was_words(str(choices.get(before, before))),
    }


def _notes(request: AccountRequest, scene: Scene) -> list[str]:
    """What a run again cannot do as the original did."""
    original = scene.original
    if original is None:
        return []
    notes = []
    build, now = original.executable, scene.target.executable
    if build is not None and build.pk != now.pk:
        notes.append(f"The original ran build {build.number}, this one runs build {now.number}.")
    declared = {item.name for item in scene.definitions}
    if not scene.target.manifest.allows_free_options:
        gone = [name for name in scene.original_options if name not in declared]
        if gone:
            names = ", ".join(f"`{name}`" for name in gone[:10])
            notes.append(f"Not carried over, because it is no longer declared: {names}.")
    hidden = len(hidden_of_original(request, scene))
    if hidden:
        words = "1 option" if hidden == 1 else f"{hidden} options"
        notes.append(f"{words} that your role does not see is carried over as it was.")
    if original.input_data_id is None:
        notes.append("The original had no input.")
    return notes


def preview_context(request: AccountRequest, scene: Scene, choice: inputs.Choice) -> dict[str, Any]:
    try:
        found = inputs.preview(
            choice,
            account=request.account,
            application=scene.application,
            target=scene.target,
        )
    except InputRejected as error:
        return {"preview": None, "preview_error": error.message}
    return {"preview": found, "preview_error": ""}


def note_context(request: AccountRequest, scene: Scene, draft: Draft) -> dict[str, Any]:
    data = inputs.known_input(
        draft.choice,
        account=request.account,
        application=scene.application,
        target=scene.target,
    )
    usual = usual_duration(scene.application, inputs.size_of(draft.choice, data, scene.target))
    told: dict[str, Any] = {
        "solved": None,
        "usual_duration": usual,
        "usual_words": (
            span_words(usual.range.low_s, usual.range.high_s).replace("within", "up to")
            if usual.range
            else ""
        ),
        "key_words": "",
    }
    requested = draft.requested or _requested_at_first(request, scene, draft)
    told |= launch_requests(request, scene, draft, requested=requested, data=data)
    if draft.option_errors:
        return told
    manifest = scene.target.manifest
    options = resolve_options(
        manifest.options.items,
        scene.of_instance,
        requested,
        strict=manifest.options.strict,
        environment=VARIABLES,
    )
    told["key_words"] = key_words(scene.application, manifest, options)
    if data is None:
        return told
    solved = solved_already(
        application=scene.application,
        executable=scene.target.executable,
        input_data=data,
        options=options,
    )
    return {**told, "solved": solved}


def _requested_at_first(request: AccountRequest, scene: Scene, draft: Draft) -> dict[str, object]:
    """What the form would ask for as it stands, before anybody sent it."""
    base = scene.base
    changed = {name: text for name, text in draft.shown.items() if text != base.get(name, "")}
    return {**changed, **{row.name: row.value for row in draft.free if row.name}}
