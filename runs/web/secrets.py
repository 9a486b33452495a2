"""Pages of an application's secrets. They show names; no page, form or answer holds a value."""

from __future__ import annotations

from typing import Any, Literal

from django.contrib import messages
from django.db.models import Count, Q
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST

from runs.actions import secrets as actions
from runs.domain.errors import RunsiteError
from runs.domain.secrets import SecretOperation, named
from runs.domain.status import FINAL
from runs.models import Application, SecretsCollection
from runs.web.access import AccountRequest, check_permission, member
from runs.web.applications import find_application, frame, show_errors
from runs.web.forms.secrets import CollectionForm, NewCollectionForm, SecretForm

SHOWN = 200
TAB = "application-secrets"


@member("launch")
@require_http_methods(["GET", "POST"])
def application_secrets(request: AccountRequest, application_id: str) -> HttpResponse:
    """The collections of an application; makes one."""
    if request.method == "POST":
        check_permission(request, "manage applications")
    found = find_application(request, application_id)
    page = frame(request, found, TAB)
    form = NewCollectionForm(request.POST or None) if page["may_manage"] else None
    status = 200
    if request.method == "POST" and form is not None:
        status = 422
        if form.is_valid():
            try:
                made = actions.create_collection(
                    application=found, actor=request.actor, **form.cleaned_data
                )
            except RunsiteError as error:
                status = show_errors(form, error)
            else:
                messages.success(request, f"Secrets {made.collection_id} are there. Add values.")
                return redirect("application-secrets-one", application_id, made.collection_id)
    collections = found.secrets_collections.annotate(
        secret_count=Count("secrets", distinct=True),
        instance_count=Count("instances", distinct=True),
    )
    context = {
        **page,
        "form": form,
        "collections": list(collections.order_by("name", "pk")[:SHOWN]),
    }
    return render(request, "applications/secrets.html", context, status=status)


@sensitive_post_parameters("value")
@member("launch")
@require_http_methods(["GET", "POST"])
def application_secrets_one(
    request: AccountRequest, application_id: str, collection_id: str
) -> HttpResponse:
    """A collection with the names of its secrets; adds one, or gives one another value."""
    if request.method == "POST":
        check_permission(request, "manage applications")
    application, collection = _find(request, application_id, collection_id)
    if request.method != "POST":
        return _page(request, application, collection, form=_replacing(request))
    form = SecretForm(request.POST)
    status = 422
    if form.is_valid():
        fields = form.cleaned_data
        op: Literal["create", "update"] = "update" if fields["replace"] else "create"
        change = SecretOperation(op, fields["kind"], fields["location"], fields["value"])
        try:
            actions.change_collection(
                collection=collection, operations=[change], actor=request.actor
            )
        except RunsiteError as error:
            status = show_errors(form, error)
        else:
            word = "has another value" if fields["replace"] else "has been added"
            words = named(change.kind, change.location).replace("`", "")
            messages.success(request, f"{words[0].upper()}{words[1:]} {word}.")
            return redirect("application-secrets-one", application_id, collection_id)
    return _page(request, application, collection, form=form, status=status)


@member("manage applications")
@require_POST
def application_secrets_name(
    request: AccountRequest, application_id: str, collection_id: str
) -> HttpResponse:
    """Give a collection another name or description."""
    application, collection = _find(request, application_id, collection_id)
    form = CollectionForm(request.POST)
    if not form.is_valid():
        return _page(request, application, collection, about=form, status=422)
    actions.change_collection(collection=collection, actor=request.actor, **form.cleaned_data)
    messages.success(request, f"Secrets {collection_id} have been changed.")
    return redirect("application-secrets-one", application_id, collection_id)


@member("manage applications")
@require_POST
def application_secrets_remove(
    request: AccountRequest, application_id: str, collection_id: str
) -> HttpResponse:
    """Remove one secret of a collection."""
    _application, collection = _find(request, application_id, collection_id)
    kind, location = request.POST.get("kind", ""), request.POST.get("location", "")
    actions.change_collection(
        collection=collection,
        operations=[SecretOperation("delete", kind, location)],
        actor=request.actor,
    )
    words = named(kind, location).replace("`", "")
    messages.success(request, f"{words[0].upper()}{words[1:]} has been removed.")
    return redirect("application-secrets-one", application_id, collection_id)


@member("manage applications")
@require_POST
def application_secrets_delete(
    request: AccountRequest, application_id: str, collection_id: str
) -> HttpResponse:
    """Delete a collection that nothing uses any more."""
    _application, collection = _find(request, application_id, collection_id)
    actions.delete_collection(collection=collection, actor=request.actor)
    messages.success(request, f"Secrets {collection_id} have been deleted.")
    return redirect("application-secrets", application_id)


def _find(
    request: AccountRequest, application_id: str, collection_id: str
) -> tuple[Application, SecretsCollection]:
    application = find_application(request, application_id)
    collection = actions.find_collection(application, collection_id)
    collection.application = application
    return application, collection


def _replacing(request: AccountRequest) -> SecretForm:
    """The form for a new secret, or for another value of the one that the address names."""
    named_there = {name: request.GET.get(name, "")[:1024] for name in ("kind", "location")}
    return SecretForm(initial={**named_there, "replace": True} if all(named_there.values()) else {})


def _page(
    request: AccountRequest,
    application: Application,
    collection: SecretsCollection,
    *,
    form: SecretForm | None = None,
    about: CollectionForm | None = None,
    status: int = 200,
) -> HttpResponse:
    page = frame(request, application, TAB)
    uses = {
        "instances": collection.instances.order_by("instance_id")[:SHOWN],
        **collection.runs.aggregate(
            run_count=Count("pk"), open_count=Count("pk", filter=~Q(status__in=FINAL))
        ),
    }
    context: dict[str, Any] = {
        **page,
        **uses,
        "collection": collection,
        "secrets": list(collection.secrets.defer("encrypted").order_by("kind", "location")),
    }
    if page["may_manage"]:
        context["form"] = form or SecretForm()
        context["about"] = about or CollectionForm(
            initial={"name": collection.name, "description": collection.description}
        )
    return render(request, "applications/secrets_one.html", context, status=status)
