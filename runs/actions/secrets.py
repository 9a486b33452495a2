"""Collections of secrets: made and changed here, opened for the run that is given them only.

Values are sealed before they are written (`domain.sealing`); no other function opens them than
`reveal`, which staging calls. Whatever shows a collection shows names.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NoReturn

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.utils import timezone

from runs.actions.actors import Actor
from runs.actions.applications import LONGEST_DESCRIPTION, check_manages, id_fault, raise_invalid
from runs.actions.audit import record_change
from runs.domain.errors import Conflict, FieldsInvalid, NotFound, RunsiteError, Taken
from runs.domain.sealing import CannotUnseal, Sealer
from runs.domain.secrets import (
    MASK,
    SecretOperation,
    SecretValue,
    changed,
    check_collection,
    named,
)
from runs.domain.status import FINAL
from runs.models import Application, Run, Secret, SecretsCollection

MOST_NAMED = 20
"""So many ids a message lists."""


class CannotReveal(RunsiteError):
    """A secret that no key of this process opens; the text names it, and the remedy."""

    status = 409


# --- Find ---------------------------------------------------------------------------------------


def find_collection(application: Application, collection_id: str) -> SecretsCollection:
    """The collection of the application with this id; raises `NotFound`."""
    found = application.secrets_collections.filter(collection_id=collection_id).first()
    if found is None:
        raise NotFound(f"{application} has no secrets collection `{collection_id[:128]}`.")
    return found


def named_collection(application: Application, collection_id: str) -> SecretsCollection:
    """The same for an id that a run or an instance names; raises `FieldsInvalid`."""
    found = application.secrets_collections.filter(collection_id=collection_id).first()
    return found if found is not None else _raise_unknown(application, collection_id)


def check_of_application(application: Application, collection: SecretsCollection | None) -> None:
    """Raise `FieldsInvalid` when the collection is another application's; None is fine."""
    if collection is not None and collection.application_id != application.pk:
        _raise_unknown(application, collection.collection_id)


def lock_collection(application: Application, collection: SecretsCollection | None) -> None:
    """Keep the collection from being deleted until a run that names it is written.

    Raises `FieldsInvalid` when it has gone. Call it first in the transaction.
    """
    rows = SecretsCollection.objects.select_for_update()
    if collection is not None and not rows.filter(pk=collection.pk).exists():
        _raise_unknown(application, collection.collection_id)


def masked_secrets(collection: SecretsCollection) -> list[SecretValue]:
    """The secrets of a collection with the mask for each value, by kind and location; one query."""
    rows = collection.secrets.order_by("kind", "location").values_list("kind", "location")
    return [SecretValue(kind, location, MASK) for kind, location in rows]


# --- Change -------------------------------------------------------------------------------------


def create_collection(
    *,
    application: Application,
    collection_id: str,
    actor: Actor,
    name: str = "",
    description: str = "",
    secrets: Iterable[SecretValue] = (),
    now: datetime | None = None,
) -> SecretsCollection:
    """A new collection with its secrets; its name is its id when none is given.

    Raises `Taken` for an id that the application has already, `FieldsInvalid` for what does not
    fit, `NotAllowed` without the permission *manage applications*.
    """
    check_manages(actor)
    errors = _text_errors(name, description)
    if fault := id_fault(collection_id):
        errors["collection_id"] = [fault]
    elif application.secrets_collections.filter(collection_id=collection_id).exists():
        errors["collection_id"] = [_taken(collection_id)]
    if errors:
        raise_invalid(errors, "collection_id", _taken(collection_id))
    given = list(secrets)
    check_collection(given)
    sealer, now = _sealer(writes=True), now or timezone.now()
    try:
        with transaction.atomic():
            collection = SecretsCollection.objects.create(
                application=application,
                collection_id=collection_id,
                name=name.strip() or collection_id,
                description=description,
                created_by=actor.user,
                created_at=now,
                updated_at=now,
            )
            Secret.objects.bulk_create(_row(collection, one, sealer, now) for one in given)
            _record(collection, actor, "created", _list("added", (one.key for one in given)), now)
    except IntegrityError as error:
        raise Taken({"collection_id": [_taken(collection_id)]}) from error
    return collection


def change_collection(
    *,
    collection: SecretsCollection,
    actor: Actor,
    name: str | None = None,
    description: str | None = None,
    operations: Sequence[SecretOperation] = (),
    now: datetime | None = None,
) -> SecretsCollection:
    """Change name, description and secrets, all or nothing; None leaves what there is.

    Runs that were staged before keep what they were given. What an older key sealed is sealed anew
    on the way. Raises what `create_collection` and `domain.secrets.changed` raise, `NotFound` when
    it was deleted meanwhile. Locks the collection.
    """
    check_manages(actor)
    if errors := _text_errors(name or "", description or ""):
        raise FieldsInvalid(errors)
    sealer, now = _sealer(writes=bool(operations)), now or timezone.now()
    with transaction.atomic():
        held = SecretsCollection.objects.select_for_update().filter(pk=collection.pk).first()
        if held is None:
            raise NotFound(f"Secrets collection `{collection.collection_id}` was deleted.")
        told = []
        if operations:
            told = _apply(held, operations, sealer, now)
        if name is not None and (name := name.strip() or held.collection_id) != held.name:
            held.name = name
            told.append("renamed")
        if description is not None and description != held.description:
            held.description = description
            told.append("described anew")
        if told:
            held.updated_at = now
            held.save(update_fields=["name", "description", "updated_at"])
            _record(held, actor, "changed", "; ".join(told), now)
    for field in ("name", "description", "updated_at"):
        setattr(collection, field, getattr(held, field))
    return collection


def delete_collection(
    *, collection: SecretsCollection, actor: Actor, now: datetime | None = None
) -> None:
    """Delete a collection and its secrets for good.

    Raises `Conflict` while an instance names it or a run that has not ended is to be given it.
    Runs that have ended keep its id in their history only. Locks the collection.
    """
    check_manages(actor)
    with transaction.atomic():
        held = SecretsCollection.objects.select_for_update().filter(pk=collection.pk).first()
        if held is None:
            raise NotFound(f"Secrets collection `{collection.collection_id}` was deleted.")
        instances = held.instances.order_by("instance_id").values_list("instance_id", flat=True)
        if names := list(instances[:MOST_NAMED]):
            raise Conflict(
                f"Secrets collection `{held.collection_id}` is used by"
                f" {'instance' if len(names) == 1 else 'instances'} `{'`, `'.join(names)}`."
                " Choose another collection there, or none, then delete it."
            )
        if run_id := open_runs(held).values_list("run_id", flat=True).first():
            raise Conflict(
                f"Secrets collection `{held.collection_id}` is used by runs that have not ended,"
                f" as {run_id}. Wait for them or cancel them, then delete it."
            )
        _record(held, actor, "deleted", "", now or timezone.now())
        held.delete()


def open_runs(collection: SecretsCollection) -> QuerySet[Run]:
    """The runs that have not ended and are given this collection."""
    return collection.runs.exclude(status__in=FINAL).order_by("pk")


# --- Open ---------------------------------------------------------------------------------------


def reveal(collection: SecretsCollection) -> list[SecretValue]:
    """The secrets in clear text, by kind and location; for the run that is given them only.

    One query. Raises `CannotReveal` when one of them does not open.
    """
    return _opened(collection, _sealer())


def reseal_secrets(*, now: datetime | None = None) -> tuple[int, list[str]]:
    """Seal everything with the present key that a former one sealed; for the rotation of keys.

    How many were sealed anew, and which do not open, as `application/collection: env NAME`. Each
    in a guarded update: a value that is replaced meanwhile stays replaced.
    """
    sealer = _sealer(writes=True)
    count, lost = 0, []
    for row in Secret.objects.select_related("collection__application").iterator():
        if sealer.is_current(row.encrypted):
            continue
        try:
            anew = sealer.seal(sealer.open(row.encrypted))
        except CannotUnseal:
            of = f"{row.collection.application.application_id}/{row.collection.collection_id}"
            lost.append(f"{of}: {row}")
            continue
        same = Secret.objects.filter(pk=row.pk, encrypted=row.encrypted)
        count += same.update(encrypted=anew)
    return count, lost


def _opened(collection: SecretsCollection, sealer: Sealer) -> list[SecretValue]:
    found = []
    for row in collection.secrets.order_by("kind", "location"):
        try:
            found.append(SecretValue(row.kind, row.location, sealer.open(row.encrypted)))
        except CannotUnseal:
            raise CannotReveal(
                f"{named(row.kind, row.location).capitalize()} of secrets collection"
                f" `{collection.collection_id}` cannot be decrypted with the keys of this process."
                " Give it the RUNSITE_SECRETS_KEY or RUNSITE_SECRET_KEY of the console, or the"
                " former one as RUNSITE_FORMER_SECRET_KEYS; or set the value anew."
            ) from None
    return found


def _apply(
    collection: SecretsCollection,
    operations: Sequence[SecretOperation],
    sealer: Sealer,
    now: datetime,
) -> list[str]:
    """Carry out the operations on the rows of a collection that is locked; what was done."""
    rows = {(row.kind, row.location): row for row in collection.secrets.all()}
    before: dict[tuple[str, str], SecretValue] = {}
    for key, row in rows.items():
        try:
            before[key] = SecretValue(*key, sealer.open(row.encrypted))
        except CannotUnseal:
            # It can be replaced or removed; for the sizes its place counts as any value.
            before[key] = SecretValue(*key, "?")
    after = changed(before.values(), operations)
    added = [key for key in after if key not in before]
    removed = [key for key in before if key not in after]
    # The very object stays where no value was given for it.
    replaced = [key for key in after if key in before and after[key] is not before[key]]
    Secret.objects.filter(pk__in=[rows[key].pk for key in removed]).delete()
    for key in after.keys() & before.keys():
        row = rows[key]
        if key in replaced:
            row.encrypted, row.updated_at = sealer.seal(after[key].value), now
        elif sealer.is_current(row.encrypted) or not _opens(sealer, row):
            continue
        else:
            row.encrypted = sealer.seal(before[key].value)
        row.save(update_fields=["encrypted", "updated_at"])
    Secret.objects.bulk_create(_row(collection, after[key], sealer, now) for key in added)
    told = (("added", added), ("replaced", replaced), ("removed", removed))
    return [_list(word, keys) for word, keys in told if keys]


def _opens(sealer: Sealer, row: Secret) -> bool:
    try:
        sealer.open(row.encrypted)
    except CannotUnseal:
        return False
    return True


def _sealer(*, writes: bool = False) -> Sealer:
    """The keys of this process: the present one first, then the former ones."""
    present = settings.RUNSITE_SECRETS_KEY or settings.SECRET_KEY
    is_temporary = settings.RUNSITE_SECRET_KEY_IS_TEMPORARY and not settings.RUNSITE_SECRETS_KEY
    if writes and is_temporary:
        raise Conflict(
            "This process has no secret key that is kept, so nobody could read the secret again."
            " Set RUNSITE_SECRET_KEY, or start the console once with ./script/server."
        )
    # With a key of its own what the signing key sealed before still opens.
    return Sealer([present, settings.SECRET_KEY, *settings.RUNSITE_FORMER_SECRET_KEYS])


def _row(
    collection: SecretsCollection, secret: SecretValue, sealer: Sealer, now: datetime
) -> Secret:
    return Secret(
        collection=collection,
        kind=secret.kind,
        location=secret.location,
        encrypted=sealer.seal(secret.value),
        updated_at=now,
    )


def _text_errors(name: str, description: str) -> dict[str, list[str]]:
    errors: dict[str, list[str]] = {}
    if len(name) > 200:
        errors["name"] = ["A name has at most 200 characters."]
    if len(description) > LONGEST_DESCRIPTION:
        errors["description"] = [f"A description has at most {LONGEST_DESCRIPTION:,} characters."]
    return errors


def _raise_unknown(application: Application, collection_id: str) -> NoReturn:
    ids = application.secrets_collections.order_by("collection_id")
    known = "`, `".join(ids.values_list("collection_id", flat=True)[:MOST_NAMED])
    raise FieldsInvalid(
        {
            "secrets": [
                f"{application} has no secrets collection `{collection_id[:128]}`."
                f" Known: {f'`{known}`' if known else 'none'}."
            ]
        }
    )


def _taken(collection_id: str) -> str:
    return f"The application has secrets `{collection_id}` already. Choose another id."


def _list(word: str, keys: Iterable[tuple[str, str]]) -> str:
    names = ", ".join(f"{kind} {location}" for kind, location in keys)
    return f"{word} {names}" if names else ""


def _record(
    collection: SecretsCollection, actor: Actor, verb: str, detail: str, now: datetime
) -> None:
    application = collection.application
    record_change(
        account=application.account,
        actor=actor,
        verb=verb,
        noun="secrets",
        target=f"{application.application_id}/{collection.collection_id}",
        detail=detail,
        now=now,
    )
