"""Signed permissions to put or get one object without a key, for a short time.

A ticket stands in an address: whoever has the address may use it until it runs out. Nothing is
kept of it here, so any process that knows the same secret can check it.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

LIVES_S = 900
"""So many seconds a ticket can be used for."""
PUT, GET = "PUT", "GET"
UPLOAD, OBJECT, ARCHIVE = "upload", "object", "archive"
METHODS = {UPLOAD: PUT, OBJECT: GET, ARCHIVE: GET}
"""The method of each purpose: an address to send to cannot be read from."""

_PURPOSE = b"runsite tickets, form 1"
_DIGITS = 12


class TicketInvalid(Exception):
    """The ticket was not made by this installation, or for something else."""


class TicketExpired(TicketInvalid):
    """The ticket was made here and its time is over."""


@dataclass(frozen=True)
class Ticket:
    """What is permitted: `purpose` on `subject` (an upload, a key, a run) until `expires_at`.

    `expires_at` is in whole seconds since 1970. `name` is the file name of a download and
    `content_type` its type; both are signed as well.
    """

    purpose: str
    subject: str
    expires_at: int
    name: str = ""
    content_type: str = ""


def ticket_query(ticket: Ticket, *, secret: str) -> str:
    """The query part of the address of `ticket`. Its purpose and subject stand in the path.

    In the query, since paths are written to logs.
    """
    words = {"expires": str(ticket.expires_at)}
    if ticket.name:
        words["name"] = ticket.name
    if ticket.content_type:
        words["type"] = ticket.content_type
    return urlencode(words | {"signature": _signature(ticket, secret)})


def read_ticket(
    *, purpose: str, subject: str, words: Mapping[str, str], secret: str, now_s: float
) -> Ticket:
    """The ticket for `subject` whose query had `words`, at `now_s` seconds since 1970.

    Raises `TicketInvalid` when it is not ours, and `TicketExpired` when its time is over.
    """
    expires = words.get("expires", "")
    if not (expires.isascii() and expires.isdecimal() and len(expires) <= _DIGITS):
        raise TicketInvalid
    ticket = Ticket(purpose, subject, int(expires), words.get("name", ""), words.get("type", ""))
    # Bytes: texts that are not ASCII cannot be compared in constant time.
    shown = words.get("signature", "").encode(errors="replace")
    if not hmac.compare_digest(_signature(ticket, secret).encode(), shown):
        raise TicketInvalid
    if now_s >= ticket.expires_at:
        raise TicketExpired
    return ticket


def _signature(ticket: Ticket, secret: str) -> str:
    key = hmac.new(secret.encode(), _PURPOSE, hashlib.sha256).digest()
    # A list as JSON: no two tickets have the same text, whatever their parts hold.
    signed = json.dumps(
        [
            METHODS[ticket.purpose],
            ticket.purpose,
            ticket.subject,
            ticket.expires_at,
            ticket.name,
            ticket.content_type,
        ]
    )
    return hmac.new(key, signed.encode(), hashlib.sha256).hexdigest()
