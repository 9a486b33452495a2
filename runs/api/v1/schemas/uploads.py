"""The shape of an upload."""

from __future__ import annotations

from ninja import Schema


class UploadTicket(Schema):
    """Where bytes are sent to by PUT, within 15 minutes and without a key."""

    upload_id: str
    upload_url: str
