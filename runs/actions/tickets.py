"""Addresses by which a client sends or fetches one object without a key, and what they permit."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import BinaryIO
from urllib.parse import quote

from django.conf import settings
from django.db import connection
from django.utils import timezone
from django.utils.http import content_disposition_header

from runs.actions.actors import Actor
from runs.actions.inputs import check_room
from runs.actions.run_archives import INPUT, OUTPUT
from runs.domain.content import size_words
from runs.domain.downloads import harmless_type, safe_name
from runs.domain.errors import NotAllowed, NotFound, TooLarge
from runs.domain.ids import new_id
from runs.models import Account, Application, Run, Upload
from runs.storage import ObjectMissing, ObjectTooLarge, keys, object_store, tickets
from runs.storage.tickets import ARCHIVE, LIVES_S, OBJECT, UPLOAD, Ticket

PATHS = {UPLOAD: "/tickets/uploads/", OBJECT: "/tickets/objects/", ARCHIVE: "/tickets/archives/"}
LONG_BYTES = 8 * 1024 * 1024


def new_upload(
    *,
    account: Account,
    actor: Actor,
    application: Application | None = None,
    purpose: str = Upload.DATA,
    now: datetime | None = None,
) -> Upload:
    """A place for bytes to come, open for 15 minutes; `upload_url` is the address to send to."""
    now = now or timezone.now()
    upload_id = new_id()
    return Upload.objects.create(
        account=account,
        application=application,
        purpose=purpose,
        upload_id=upload_id,
        key=keys.upload(upload_id),
        created_by=actor.user,
        api_key=actor.key,
        created_at=now,
        expires_at=now + timedelta(seconds=LIVES_S),
    )


def upload_url(upload: Upload, *, base: str, now: datetime | None = None) -> str:
    """The absolute address to which the bytes of `upload` are PUT, until its ticket runs out.

    It is the store's own where the store takes them itself, else one of ours below `base`, as
    `https://host:port`. Anybody who has it may send, no key is asked for.
    """
    now = now or timezone.now()
    expires_at = upload.expires_at or now + timedelta(seconds=LIVES_S)
    left_s = max(1, int((expires_at - now).total_seconds()))
    # Not for an upload that came by us: what is under its key never changes.
    if upload.key == keys.upload(upload.upload_id):
        address = object_store().presigned_put(upload.key, lives_s=left_s)
        if address is not None:
            return address
    return _signed(Ticket(UPLOAD, upload.upload_id, int(expires_at.timestamp())), base)


def download_url(
    *, key: str, file_name: str, content_type: str, base: str, now: datetime | None = None
) -> str:
    """An absolute address of the object `key`, which is sent as a download for 15 minutes.

    A `content_type` that a browser would draw becomes plain bytes. Nobody looks whether the object
    is there.
    """
    now = now or timezone.now()
    name, content_type = safe_name(file_name), harmless_type(content_type)
    disposition = content_disposition_header(True, name) or "attachment"
    address = object_store().presigned_get(
        key, lives_s=LIVES_S, disposition=disposition, content_type=content_type
    )
    if address is not None:
        return address
    return _signed(Ticket(OBJECT, key, _from_now(now), name, content_type), base)


def archive_url(*, run: Run, part: str, base: str, now: datetime | None = None) -> str:
    """An absolute address of the `input` or `output` files of a run as tar.gz, for 15 minutes.

    The archive is made while it is fetched: by us, whatever the store is. It is empty where the
    run has no files.
    """
    if part not in {INPUT, OUTPUT}:
        raise ValueError(f"{part!r} is no part of a run; give {INPUT!r} or {OUTPUT!r}")
    now = now or timezone.now()
    return _signed(Ticket(ARCHIVE, f"{run.run_id}/{part}", _from_now(now)), base)


def check_ticket(
    *, purpose: str, subject: str, words: Mapping[str, str], now: datetime | None = None
) -> Ticket:
    """The ticket that an address carries in its query `words`; no query is made.

    Raises `NotAllowed` when it is not for this, or its time is over.
    """
    now = now or timezone.now()
    try:
        return tickets.read_ticket(
            purpose=purpose,
            subject=subject,
            words=words,
            secret=settings.SECRET_KEY,
            now_s=now.timestamp(),
        )
    except tickets.TicketExpired:
        raise NotAllowed(
            f"This address ran out: it is good for {LIVES_S // 60} minutes. Ask the API for a new"
            " one."
        ) from None
    except tickets.TicketInvalid:
        raise NotAllowed(
            "This address is not valid: it is incomplete, was changed, or is for another method or"
            " thing. Use it exactly as the API gave it, or ask for a new one."
        ) from None


def limit_of(upload: Upload) -> int:
    """How many bytes `upload` may have."""
    if upload.purpose == Upload.EXECUTABLE:
        return int(settings.RUNSITE_EXECUTABLE_LIMIT)
    return int(settings.RUNSITE_UPLOAD_LIMIT)


def receive_upload(
    *, upload_id: str, stream: BinaryIO, length: int, now: datetime | None = None
) -> Upload:
    """Store the `length` bytes of `stream` as those of an upload; sent again, they replace it.

    Each time they get a key of their own, so whoever reads the former ones reads them to the end,
    and size and digest always belong to the bytes. Raises `NotFound` for an upload that is gone,
    `TooLarge` above the limit, `NoRoom` when the store is a disk that is nearly full, and what the
    stream raises; nothing new is kept then.
    """
    upload = find_upload(upload_id)
    if length > (limit := limit_of(upload)):
        raise TooLarge(_too_large(upload, limit))
    if settings.RUNSITE_STORE is None:
        check_room(length)
    if length > LONG_BYTES and not connection.in_atomic_block:
        connection.close()  # others may use it meanwhile, and no proxy may close it on us
    key = keys.received_upload(upload_id, new_id())
    try:
        stored = object_store().put(key, stream, limit_bytes=limit)
    except ObjectTooLarge as error:
        raise TooLarge(_too_large(upload, limit)) from error
    former = upload.key
    while not Upload.objects.filter(upload_id=upload_id, key=former).update(
        key=key, size_bytes=stored.size, sha256=stored.sha256, completed_at=now or timezone.now()
    ):
        try:
            former = find_upload(upload_id).key  # somebody sent the same at the same time
        except NotFound:
            object_store().delete(key)
            raise
    if not upload.executables.exists():  # one that is checked later reads it under its key
        object_store().delete(former)
    upload.refresh_from_db()
    return upload


def find_upload(upload_id: str) -> Upload:
    """The upload with this id, of any account: for who has its ticket. Raises `NotFound`."""
    try:
        return Upload.objects.get(upload_id=upload_id)
    except Upload.DoesNotExist:
        raise NotFound(
            f"There is no upload {upload_id} any more: it is kept for a day. Ask the API for a new"
            " address and send it again."
        ) from None


def is_filled(upload: Upload, *, now: datetime | None = None) -> bool:
    """Whether the bytes of `upload` have come; asks the store until they have.

    Sets `completed_at` and `size_bytes`. Raises `TooLarge`, and removes the object, when a client
    put more into the store than is allowed.
    """
    if upload.completed_at is not None:
        return True
    try:
        size = object_store().size(upload.key)
    except ObjectMissing:
        # It may have come by us since `upload` was read.
        upload.refresh_from_db()
        return upload.completed_at is not None
    if size > (limit := limit_of(upload)):
        object_store().delete(upload.key)
        raise TooLarge(_too_large(upload, limit))
    found = Upload.objects.filter(pk=upload.pk, completed_at=None)
    found.update(completed_at=now or timezone.now(), size_bytes=size)
    upload.refresh_from_db()
    return True


def _signed(ticket: Ticket, base: str) -> str:
    query = tickets.ticket_query(ticket, secret=settings.SECRET_KEY)
    return f"{base.rstrip('/')}{PATHS[ticket.purpose]}{quote(ticket.subject)}?{query}"


def _from_now(now: datetime) -> int:
    return int(now.timestamp()) + LIVES_S


def _too_large(upload: Upload, limit: int) -> str:
    name = (
        "RUNSITE_EXECUTABLE_LIMIT"
        if upload.purpose == Upload.EXECUTABLE
        else "RUNSITE_UPLOAD_LIMIT"
    )
    return (
        f"Upload {upload.upload_id} is too large: at most {size_words(limit)} are taken here. Send"
        f" less, or ask your administrator to raise {name}."
    )
