"""Pages of an application's instances."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from runs.actions import instances as actions
from runs.domain.errors import Conflict, NotFound, OptionsInvalid, RunsiteError
from runs.models import Application, Instance
from runs.web.access import AccountRequest, check_permission, member
from runs.web.applications import find_application, frame, show_errors
from runs.web.forms.applications import InstanceForm

SHOWN = 200


@member("view")
@require_http_methods(["GET", "POST"])
def application_instances(request: AccountRequest, application_id: str) -> HttpResponse:
    """The instances of an application; makes one."""
    found = find_application(request, application_id)
    page = frame(request, found, "application-instances")
    form = None
    status = 200
    if request.method == "POST":
        check_permission(request, "manage applications")
    if page["may_manage"]:
        form = InstanceForm(
            request.POST if request.method == "POST" else None,
            application=found,
            manifest=actions.instance_manifest(found, None),
        )
        if request.method == "POST":
            status = 422
            if form.is_valid():
                try:
                    instance = actions.create_instance(
                        application=found,
                        instance_id=form.cleaned_data["instance_id"],
                        values=_values(form),
                        actor=request.actor,
                    )
                except RunsiteError as error:
                    status = _show(form, error)
                else:
                    messages.success(request, f"Instance {instance.instance_id} has been made.")
                    return redirect("application-instances", application_id)
    instances = found.instances.select_related("version")
    context = {
        **page,
        "form": form,
        "instances": list(instances.order_by("-id")[:SHOWN]),
        "queues": _queues(request),
    }
    return render(request, "applications/instances.html", context, status=status)


@member("view")
@require_http_methods(["GET", "POST"])
def application_instance(
    request: AccountRequest, application_id: str, instance_id: str
) -> HttpResponse:
    """An instance; changes it."""
    found = find_application(request, application_id)
    instance = find_instance(found, instance_id)
    if request.method == "POST":
        check_permission(request, "manage applications")
    form = InstanceForm(
        request.POST if request.method == "POST" else None,
        application=found,
        manifest=actions.instance_manifest(found, instance.version),
        instance=instance,
    )
    status = 200
    if request.method == "POST":
        status = 422
        if form.is_valid():
            try:
                actions.update_instance(
                    instance=instance,
                    values=replace(_values(form), output_format=instance.output_format),
                    seen_at=_seen_at(form),
                    actor=request.actor,
                )
            except RunsiteError as error:
                status = _show(form, error)
            else:
                messages.success(request, f"Instance {instance_id} has been changed.")
                return redirect("application-instances", application_id)
    context = {
        **frame(request, found, "application-instances"),
        "form": form,
        "instance": instance,
        "queues": _queues(request),
    }
    return render(request, "applications/instance.html", context, status=status)


@member("manage applications")
@require_POST
def application_instance_default(
    request: AccountRequest, application_id: str, instance_id: str
) -> HttpResponse:
    """Make an instance the default one, or no longer."""
    found = find_application(request, application_id)
    instance = find_instance(found, instance_id)
    is_default = request.POST.get("default") != "0"
    actions.set_default_instance(
        application=found, instance=instance if is_default else None, actor=request.actor
    )
    word = "the default" if is_default else "no longer the default"
    messages.success(request, f"Instance {instance_id} is {word} now.")
    return redirect("application-instances", application_id)


@member("manage applications")
@require_POST
def application_instance_lock(
    request: AccountRequest, application_id: str, instance_id: str
) -> HttpResponse:
    """Lock an instance or release it."""
    instance = find_instance(find_application(request, application_id), instance_id)
    locked = request.POST.get("locked") != "0"
    actions.lock_instance(instance=instance, locked=locked, actor=request.actor)
    messages.success(request, f"Instance {instance_id} is {'locked' if locked else 'unlocked'}.")
    return redirect("application-instances", application_id)


@member("manage applications")
@require_POST
def application_instance_delete(
    request: AccountRequest, application_id: str, instance_id: str
) -> HttpResponse:
    """Delete an instance whose runs have all ended."""
    instance = find_instance(find_application(request, application_id), instance_id)
    actions.delete_instance(instance=instance, actor=request.actor)
    messages.success(request, f"Instance {instance_id} has been deleted.")
    return redirect("application-instances", application_id)


def find_instance(application: Application, instance_id: str) -> Instance:
    """The instance with this id; raises `NotFound`."""
    found = application.instances.select_related(
        "version__executable", "application__account", "secrets"
    )
    instance = found.filter(instance_id=instance_id).first()
    if instance is None:
        raise NotFound(f"{application} has no instance `{instance_id[:128]}`.")
    return instance


def _values(form: InstanceForm) -> actions.InstanceValues:
    fields = form.cleaned_data
    return actions.InstanceValues(
        name=fields["name"],
        description=fields["description"],
        version=form.chosen_version(),
        options=form.chosen_options(),
        execution_class=fields["execution_class"],
        content_format=fields["content_format"],
        priority=fields["priority"],
        queuing_disabled=fields["queuing_disabled"],
        time_limit_s=fields["time_limit_s"],
        secrets=form.chosen_secrets(),
    )


def _seen_at(form: InstanceForm) -> datetime:
    try:
        return datetime.fromisoformat(form.cleaned_data["seen_at"])
    except ValueError as error:
        raise Conflict("The form does not say when it was opened. Open it again.") from error


def _queues(request: AccountRequest) -> list[str]:
    return list(request.account.queues.order_by("name").values_list("name", flat=True)[:100])


def _show(form: InstanceForm, error: RunsiteError) -> int:
    if isinstance(error, OptionsInvalid):
        form.show_option_errors(error.errors)
        return error.status
    return show_errors(form, error)
