"""What a launch form is about, and what it holds: as it is opened, and as it was sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from django.db.models import Value
from django.urls import reverse

from runs.actions.run_limits import most_allowed, usual_limits
from runs.actions.runs import Target, resolve_target
from runs.domain.errors import Conflict, NotFound
from runs.domain.manifest import OptionDefinition
from runs.domain.options import check_options, to_wire, visible_to
from runs.models import Application, Instance, Run
from runs.models.runs import DEFAULT_PRIORITY
from runs.templatetags.human import coded
from runs.web import launch_inputs as inputs
from runs.web.access import AccountRequest
from runs.web.forms.launch import (
    FreeRow,
    LaunchForm,
    sent_free_options,
    sent_options,
    shown_text,
)
from runs.web.forms.limits import COLUMNS, typed
from runs.web.launch_order import WAITS_FOR, Waits, find_ids, find_waits, one_waits_for


@dataclass(frozen=True)
class Scene:
    """What a launch is about: the application, what would run, and the run that is run again."""

    application: Application
    instances: Sequence[Instance]
    target: Target
    original: Run | None = None
    unknown_instance: str = ""

    @property
    def definitions(self) -> tuple[OptionDefinition, ...]:
        """The declared options, also those that the role at hand does not see."""
        return self.target.manifest.options.items

    @property
    def of_instance(self) -> dict[str, object]:
        """The options that the instance sets."""
        return dict(self.target.instance.options) if self.target.instance else {}

    @cached_property
    def base(self) -> dict[str, str]:
        """What holds for each declared option when nobody changes it, as text."""
        of_instance = self.of_instance
        return {
            item.name: shown_text(item, of_instance.get(item.name, item.default))
            for item in self.definitions
        }

    @cached_property
    def original_options(self) -> dict[str, str]:
        """The options in force for the original run, as texts of the fields of today; one query."""
        if self.original is None:
            return {}
        by_name = {item.name: item for item in self.definitions}
        texts = self.original.options.order_by("position").values_list("name", "text")
        return {
            name: shown_text(by_name[name], text) if name in by_name else text
            for name, text in texts
        }

    @cached_property
    def usual(self) -> dict[str, Any]:
        """Queue, priority and limits (by column) of a run that says nothing about them."""
        instance = self.target.instance
        return {
            "queue": (instance.execution_class if instance else "") or "default",
            "priority": (instance.priority if instance else None) or DEFAULT_PRIORITY,
            "secrets": instance.secrets.collection_id if instance and instance.secrets else "",
            "limits": usual_limits(self.application, self.target.manifest, self.target.instance),
        }


@dataclass
class Draft:
    """What the form shows: texts as typed, and the messages beside them."""

    form: LaunchForm
    shown: dict[str, str]
    free: list[FreeRow]
    choice: inputs.Choice
    option_errors: dict[str, list[str]] = field(default_factory=dict)
    input_errors: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    requested: dict[str, object] = field(default_factory=dict)
    waits: Waits = field(default_factory=Waits)

    @property
    def is_valid(self) -> bool:
        """Whether nothing was found wrong so far."""
        wrong = self.option_errors or self.input_errors or self.errors or self.form.errors
        return not wrong and not any(row.errors for row in self.free)


def find_application(request: AccountRequest, application_id: str) -> Application:
    """The application of the account. Raises `NotFound`, and `Conflict` for an archived one."""
    application = (
        request.account.applications.filter(application_id=application_id)
        .select_related("executable__environment")
        .first()
    )
    if application is None:
        raise NotFound(f"There is no application `{application_id}` in this account.")
    if application.archived_at is not None:
        raise Conflict(f"{application} is archived. Restore it on its page, then launch.")
    return application


def set_scene(
    request: AccountRequest,
    application: Application,
    *,
    instance_id: str | None,
    original_id: str,
) -> Scene:
    """Find the original run and the instance; the default one when none is named."""
    instances = list(
        application.instances.select_related(
            "version__executable__environment", "secrets"
        ).order_by("instance_id")
    )
    by_id = {instance.instance_id: instance for instance in instances}
    by_key = {instance.pk: instance for instance in instances}
    original = _find_original(request, application, original_id) if original_id else None
    application.default_instance = by_key.get(application.default_instance_id or 0)
    instance = application.default_instance
    unknown = ""
    if instance_id:
        instance = by_id.get(instance_id)
        unknown = "" if instance else instance_id
    elif original is not None and instance_id is None:
        instance = by_key.get(original.instance_id or 0) or instance
    target = resolve_target(application=application, instance=instance)
    return Scene(application, instances, target, original, unknown)


def _find_original(request: AccountRequest, application: Application, run_id: str) -> Run:
    run = (
        Run.objects.filter(account=request.account, application=application, run_id=run_id)
        .select_related("executable", "version", "managed_input", "instance", "secrets")
        .first()
    )
    if run is None:
        raise NotFound(f"{application} has no run `{run_id[:40]}`. It may have been deleted.")
    return run


def seen_options(request: AccountRequest, scene: Scene) -> list[OptionDefinition]:
    """The declared options that the role at hand sees."""
    return [item for item in scene.definitions if visible_to(item, request.role)]


# --- Drafts --------------------------------------------------------------------------------------


def first_draft(request: AccountRequest, scene: Scene) -> Draft:
    """The form as it is opened: the defaults of the instance, or what the original run had."""
    base, original = scene.base, scene.original
    choice = inputs.Choice()
    free: list[FreeRow] = []
    initial: dict[str, Any] = {}
    shown = base
    if original is not None:
        before = scene.original_options
        shown = {**base, **{name: text for name, text in before.items() if name in base}}
        choice = inputs.choice_of_run(original)
        initial = initial_of(scene, original)
        if scene.target.manifest.allows_free_options:
            free = [
                FreeRow(name, text)
                for name, text in before.items()
                if name not in base and not _holds(scene, name, text)
            ]
    initial[WAITS_FOR] = " ".join(find_ids(*request.GET.getlist(WAITS_FOR)))
    initial["instance"] = scene.target.instance.instance_id if scene.target.instance else ""
    draft = Draft(_launch_form(request, scene, None, initial), dict(shown), free, choice)
    if scene.unknown_instance:
        draft.errors.append(_unknown_instance(scene))
    return draft


def initial_of(scene: Scene, original: Run) -> dict[str, Any]:
    """Name and settings of the original; what is usual anyway is left empty."""
    usual = scene.usual
    queue = original.execution_class or "default"
    secrets = original.secrets.collection_id if original.secrets else ""
    own_limits = [
        (name, column, getattr(original, column))
        for name, column in COLUMNS.items()
        if name in LaunchForm.base_fields
    ]
    return {
        "name": original.name,
        "description": original.description,
        "priority": "" if original.priority == usual["priority"] else original.priority,
        "execution_class": "" if queue == usual["queue"] else queue,
        "secrets": "" if secrets == usual["secrets"] else secrets,
        **{
            name: typed(column, None if own == usual["limits"][column] else own)
            for name, column, own in own_limits
        },
    }


def sent_draft(request: AccountRequest, scene: Scene) -> Draft:
    """The form as it was sent, its options read and checked."""
    data = request.POST
    seen = seen_options(request, scene)
    values, shown, errors = sent_options(seen, data, role=request.role)
    free_values, free = sent_free_options(scene.definitions, data)
    base = scene.base
    kept = {name: text for name, text in shown.items() if name in values or name in errors}
    draft = Draft(
        form=_launch_form(request, scene, one_waits_for(data), None),
        shown={**base, **kept},
        free=free,
        choice=inputs.choice_of(data),
        option_errors=errors,
    )
    draft.form.full_clean()
    draft.waits = find_waits(request.account, data.getlist(WAITS_FOR))
    for text in draft.waits.errors:
        draft.form.add_error(WAITS_FOR, coded(text))
    # What equals the base of the instance that is chosen now is nothing that was asked for.
    requested: dict[str, object] = {
        name: value
        for name, value in values.items()
        if name in errors or shown_text(_named(scene, name), value) != base.get(name, "")
    }
    requested |= {
        name: value for name, value in free_values.items() if not _holds(scene, name, value)
    }
    requested |= hidden_of_original(request, scene)
    draft.requested = requested
    found = check_options(
        scene.definitions,
        {**scene.of_instance, **requested},
        strict=scene.target.manifest.options.strict,
        free_options=scene.target.manifest.allows_free_options,
    )
    place_option_errors(request, scene, draft, found)
    if scene.unknown_instance:
        draft.form.add_error("instance", coded(_unknown_instance(scene)))
    return draft


def _named(scene: Scene, name: str) -> OptionDefinition:
    return next(item for item in scene.definitions if item.name == name)


def _holds(scene: Scene, name: str, text: str) -> bool:
    """Whether the instance sets this undeclared option to the same value anyway."""
    of_instance = scene.of_instance
    return name in of_instance and to_wire(of_instance[name]) == text


def hidden_of_original(request: AccountRequest, scene: Scene) -> dict[str, object]:
    """What the original run asked for in options that the role at hand does not see."""
    if scene.original is None:
        return {}
    asked: Mapping[str, object] = scene.original.requested_options
    return {
        item.name: asked[item.name]
        for item in scene.definitions
        if item.name in asked and not visible_to(item, request.role)
    }


def place_option_errors(
    request: AccountRequest, scene: Scene, draft: Draft, found: Mapping[str, Sequence[str]]
) -> None:
    """Put each message at its field, at its row, or above the form."""
    seen = {item.name for item in seen_options(request, scene)}
    drawn = draft.free if scene.target.manifest.allows_free_options else []
    rows = {row.name: at for at, row in enumerate(drawn)}
    for name, texts in found.items():
        if name in draft.option_errors:
            continue
        if name in seen:
            draft.option_errors[name] = list(texts)
        elif name in rows:
            row = draft.free[rows[name]]
            draft.free[rows[name]] = replace(row, errors=(*row.errors, *texts))
        else:
            draft.errors.extend(text for text in texts if text not in draft.errors)


def without_errors(draft: Draft) -> Draft:
    """The same, as it looks before it is submitted; what is wrong with a file stays said."""
    form = draft.form
    initial = {name: form[name].value() for name in form.fields}
    calm = LaunchForm(initial=initial, **form.made_with)
    free = [replace(row, errors=()) for row in draft.free]
    return replace(draft, form=calm, free=free, option_errors={}, errors=[])


def _unknown_instance(scene: Scene) -> str:
    return (
        f"{scene.application} has no instance `{scene.unknown_instance[:128]}`."
        " Choose one of the list."
    )


def _launch_form(
    request: AccountRequest, scene: Scene, data: Any, initial: Mapping[str, Any] | None
) -> LaunchForm:
    choices = [
        (
            each.instance_id,
            " · ".join(
                text
                for text in (
                    str(each),
                    str(each.version) if each.version else "newest build",
                    "default" if each.pk == scene.application.default_instance_id else "",
                )
                if text
            ),
        )
        for each in scene.instances
    ]
    if scene.application.default_instance is None:
        choices.insert(0, ("", "Newest build"))
    queues, collections = _queues_and_secrets(request, scene.application)
    return LaunchForm(
        data,
        initial=initial,
        instances=choices,
        queues=queues,
        usual=scene.usual,
        most=most_allowed(),
        reload_url=reverse("launch-part", args=[scene.application.application_id, "settings"]),
        collections=collections,
    )


def _queues_and_secrets(
    request: AccountRequest, application: Application
) -> tuple[list[str], dict[str, str]]:
    """What a run may choose among: names of queues, and names of secrets by id; one query."""
    queues = request.account.queues.values_list(Value(""), "name")
    secrets = application.secrets_collections.values_list("collection_id", "name")
    rows = sorted(queues.union(secrets, all=True), key=lambda row: (row[1], row[0]))
    return [name for key, name in rows if not key], {key: name for key, name in rows if key}
