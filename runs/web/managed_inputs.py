"""Pages of an application's managed inputs."""

from __future__ import annotations

from django.conf import settings
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.csrf import csrf_exempt, csrf_protect
from django.views.decorators.http import require_http_methods, require_POST

from runs.actions import managed_inputs as actions
from runs.actions.inputs import store_text_input
from runs.actions.uploads import input_of_uploads
from runs.domain.content import is_folder_format
from runs.domain.errors import Conflict, FieldsInvalid, NotFound, RunsiteError
from runs.models import Application, ManagedInput
from runs.web.access import AccountRequest, check_permission, member
from runs.web.applications import find_application, frame, show_errors
from runs.web.forms.applications import InputForm
from runs.web.sent_builds import arrived
from runs.web.uploads import arrivals, sent_paths

SHOWN = 200


@csrf_exempt  # the files must arrive before the token is read; checked below
@member("view")
@require_http_methods(["GET", "POST"])
def application_inputs(request: AccountRequest, application_id: str) -> HttpResponse:
    """The managed inputs of an application; makes one."""
    with arrivals(request, limit_bytes=settings.RUNSITE_UPLOAD_LIMIT):
        return _application_inputs(request, application_id)


@csrf_protect
def _application_inputs(request: AccountRequest, application_id: str) -> HttpResponse:
    found = find_application(request, application_id)
    page = frame(request, found, "application-inputs")
    form = None
    status = 200
    if request.method == "POST":
        check_permission(request, "manage applications")
    if page["may_manage"]:
        start = {"run_id": request.GET.get("run", "")[:32]}
        form = InputForm(request.POST if request.method == "POST" else None, initial=start)
        if request.method == "POST":
            status = 422
            if form.is_valid():
                try:
                    managed = _make(request, found, form)
                except RunsiteError as error:
                    status = show_errors(form, error, "upload")
                else:
                    messages.success(request, f"Input {managed.input_id} has been kept.")
                    return redirect("application-inputs", application_id)
    inputs = found.managed_inputs.select_related("input_data", "created_by")
    content_format = found.executable.content_format if found.executable else "json"
    if form is not None and content_format == "json":
        form.fields["text"].widget.attrs["data-json-check"] = True
    context = {
        **page,
        "form": form,
        "inputs": list(inputs.order_by("-id")[:SHOWN]),
        "content_format": content_format,
        "is_folder": is_folder_format(content_format),
    }
    return render(request, "applications/inputs.html", context, status=status)


@member("manage applications")
@require_POST
def application_input_delete(
    request: AccountRequest, application_id: str, input_id: str
) -> HttpResponse:
    """Take a managed input away; runs that used it keep it."""
    found = find_application(request, application_id)
    managed = found.managed_inputs.filter(input_id=input_id).first()
    if managed is None:
        raise NotFound(f"{found} has no input `{input_id[:128]}`.")
    actions.delete_managed_input(managed_input=managed, actor=request.actor)
    messages.success(request, f"Input {input_id} has been deleted.")
    return redirect("application-inputs", application_id)


def _make(request: AccountRequest, application: Application, form: InputForm) -> ManagedInput:
    """The input of the form: files, else text, else that of a run."""
    fields = form.cleaned_data
    named = {"input_id": fields["input_id"], "name": fields["name"]}
    named["description"] = fields["description"]
    # Before any bytes are kept.
    actions.check_new_input(application=application, **named)
    if application.executable is None:
        raise Conflict(f"{application} has no executable, so nothing says what it reads. Upload.")
    content_format = application.executable.content_format
    received = arrived(request, "upload")
    if received:
        data = input_of_uploads(
            account=request.account,
            content_format=content_format,
            received=received,
            paths=sent_paths(request, "upload"),
        )
    elif fields["text"].strip():
        if is_folder_format(content_format):
            raise FieldsInvalid(
                {"text": [f"The application reads {content_format}: upload files."]}
            )
        try:
            data = store_text_input(
                account=request.account,
                content_format=content_format,
                data=fields["text"].encode(),
                file_name="The text",
            )
        except RunsiteError as error:
            raise FieldsInvalid({"text": [error.message]}) from error
    elif fields["run_id"]:
        run = request.account.runs.filter(run_id=fields["run_id"].strip()).first()
        if run is None:
            raise FieldsInvalid({"run_id": ["This account has no such run. Copy its id."]})
        return actions.keep_input_of_run(
            application=application, run=run, actor=request.actor, **named
        )
    else:
        raise FieldsInvalid({"upload": ["Upload files, paste a text, or name a run."]})
    return actions.create_managed_input(
        application=application, input_data=data, actor=request.actor, **named
    )
