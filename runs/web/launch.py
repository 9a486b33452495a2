"""The launch form: drawn from the declared options, checked here, nothing lost on an error."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from django.conf import settings
from django.contrib import messages
from django.core.exceptions import RequestDataTooBig, TooManyFieldsSent, TooManyFilesSent
from django.http import Http404, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt, csrf_protect
from django.views.decorators.http import require_http_methods, require_POST

from runs.actions.runs import submit_run
from runs.actions.secrets import named_collection
from runs.domain.errors import (
    ArchiveRejected,
    FieldsInvalid,
    InputRejected,
    OptionsInvalid,
    TooLarge,
)
from runs.domain.status import Status
from runs.models import Application, Run, SecretsCollection
from runs.models.waits import FAIL
from runs.templatetags.human import coded
from runs.web import launch_inputs as inputs
from runs.web.access import AccountRequest, member
from runs.web.forms.limits import FIELDS
from runs.web.launch_drafts import (
    Draft,
    Scene,
    find_application,
    first_draft,
    place_option_errors,
    sent_draft,
    set_scene,
    without_errors,
)
from runs.web.launch_pages import (
    note_context,
    page_context,
    preview_context,
    settings_context,
)
from runs.web.middleware import UPLOAD_HEADER
from runs.web.uploads import Arrivals, arrivals, sent_paths

PARTS = ("settings", "preview", "note")


@csrf_exempt  # the token is checked by `_submit`, once the files have a place to go
@member("launch")
@require_http_methods(["GET", "HEAD", "POST"])
def launch(request: AccountRequest, application_id: str) -> HttpResponseBase:
    """The form, and its submission; `?from=<run_id>` fills it in from an earlier run."""
    application = find_application(request, application_id)
    if request.method != "POST":
        if application.executable_id is None and application.default_instance_id is None:
            return render(request, "launch/empty.html", {"application": application})
        scene = set_scene(
            request,
            application,
            instance_id=request.GET.get("instance"),
            original_id=request.GET.get("from", ""),
        )
        return _page(request, scene, first_draft(request, scene))
    if not request.META.get("CONTENT_LENGTH"):
        return HttpResponse(status=411)
    with arrivals(request, limit_bytes=settings.RUNSITE_UPLOAD_LIMIT) as handler:
        try:
            return _submit(request, application, handler)
        except (RequestDataTooBig, TooManyFieldsSent, TooManyFilesSent):
            if request.headers.get(UPLOAD_HEADER) != "1":
                raise
            # The script keeps its page, and all that was typed, when the answer is none.
            return HttpResponse(status=413, content_type="text/plain")


@csrf_protect
def _submit(
    request: AccountRequest, application: Application, handler: Arrivals
) -> HttpResponseBase:
    scene = set_scene(
        request,
        application,
        instance_id=request.POST.get("instance"),
        original_id=request.POST.get("from", ""),
    )
    draft = sent_draft(request, scene)
    reload_only = "reload" in request.POST
    chosen = _take_input(request, scene, draft, handler, reload_only=reload_only)
    status = 413 if handler.refused else 422
    if reload_only:
        return _page(request, scene, without_errors(draft))
    if chosen is None or not draft.is_valid:
        return _page(request, scene, draft, status=status)
    clean, began_at = draft.form.cleaned_data, timezone.now()
    try:
        run = submit_run(
            account=request.account,
            application=application,
            instance=scene.target.instance,
            options=draft.requested,
            input_data=chosen.data,
            managed_input=chosen.managed,
            name=clean["name"],
            description=clean["description"],
            priority=clean["priority"],
            limits=draft.form.limits(),
            waits_for=draft.waits.runs,
            wait_policy=clean["wait_policy"] or FAIL,
            execution_class=clean["execution_class"] or None,
            secrets=_secrets(application, clean.get("secrets", "")),
            cloned_from=scene.original,
            actor=request.actor,
        )
    except OptionsInvalid as error:
        place_option_errors(request, scene, draft, error.errors)
    except FieldsInvalid as error:
        for name, texts in error.errors.items():
            for text in texts:
                place = FIELDS.get(name, name)
                draft.form.add_error(place if place in draft.form.fields else None, coded(text))
    except InputRejected as error:
        draft.input_errors.append(error.message)
    else:
        _say_what_came(request, run, began_at)
        return redirect("run", run_id=run.run_id)
    return _page(request, scene, draft, status=status)


def _secrets(application: Application, collection_id: str) -> SecretsCollection | None:
    """The collection that was chosen; None leaves it to the instance."""
    return named_collection(application, collection_id) if collection_id else None


def _say_what_came(request: AccountRequest, run: Run, began_at: datetime) -> None:
    """The policy of a key may have ended the run at once, or have led to an earlier one."""
    if run.status == Status.CANCELED:
        messages.warning(request, f"Run {run} was recorded, but not queued: {run.error}.")
    elif run.created_at < began_at:
        messages.info(request, f"No new run was made: {run} has the same key and is under way.")
    else:
        messages.success(request, f"Run {run} has been submitted.")


@member("launch")
@require_POST
def launch_part(request: AccountRequest, application_id: str, part: str) -> HttpResponse:
    """A part of the form for another instance, another input, or changed options."""
    if part not in PARTS:
        raise Http404
    scene = set_scene(
        request,
        find_application(request, application_id),
        instance_id=request.POST.get("instance"),
        original_id=request.POST.get("from", ""),
    )
    draft = sent_draft(request, scene)
    if part == "preview":
        context = preview_context(request, scene, draft.choice)
    elif part == "note":
        context = {**note_context(request, scene, draft), "is_part": True}
    else:
        context = settings_context(request, scene, without_errors(draft))
    shared = {"application": scene.application, "original": scene.original}
    return render(request, f"launch/_{part}.html", {**shared, **context})


def _take_input(
    request: AccountRequest,
    scene: Scene,
    draft: Draft,
    handler: Arrivals,
    *,
    reload_only: bool,
) -> inputs.Chosen | None:
    """The chosen input; what came with the form is stored at once and named by the next form."""
    received = handler.received.get(inputs.FILES, [])
    if refused := handler.refused.get(inputs.FILES):
        draft.input_errors.append(refused)
        return None
    if reload_only and not (draft.choice.source == inputs.UPLOAD and received):
        return None
    try:
        chosen = inputs.take_input(
            draft.choice,
            account=request.account,
            application=scene.application,
            target=scene.target,
            received=received,
            paths=sent_paths(request, inputs.FILES),
        )
    except (InputRejected, ArchiveRejected, TooLarge) as error:
        draft.input_errors.append(error.message)
        return None
    if draft.choice.source == inputs.UPLOAD and chosen.data is not None:
        names = [each.file_name for each in received]
        shown = names[0] if len(names) == 1 else f"{len(names)} files"
        draft.choice = replace(
            draft.choice, source=inputs.KEPT, kept=chosen.data.input_key, kept_name=shown[:300]
        )
    return chosen


def _page(
    request: AccountRequest, scene: Scene, draft: Draft, *, status: int = 200
) -> HttpResponse:
    context = page_context(request, scene, draft)
    return render(
        request, "launch/form.html", {**context, "is_invalid": status != 200}, status=status
    )
