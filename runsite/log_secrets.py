"""Keeps secrets of links, keys and signed requests out of the log: addresses stand in errors."""

from __future__ import annotations

import logging
import re

_SECRETS = (
    re.compile(r"(/sign-in/link/)[^/\s?\"']+"),
    # Addresses that let their reader at objects of the store, and what requests are signed with.
    re.compile(r"(X-Amz-(?:Signature|Credential|Security-Token)=)[^&\s\"']+", re.IGNORECASE),
    re.compile(r"(/tickets/[^\s\"']*[?&]signature=)[^&\s\"']+"),
    re.compile(r"(\brs_)[A-Za-z0-9_-]{20,}"),
    re.compile(r"(\bAWS4-HMAC-SHA256 Credential=)[^\"'\r\n]+"),
)


class HideSecrets(logging.Filter):
    """Puts `…` where a line names the secret of a link, a key or a request; drops no line."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Change the record when its words hold a secret; always True."""
        try:
            words = record.getMessage()
        except (TypeError, ValueError):
            return True  # the handler reports a line that cannot be made
        hidden = words
        for secret in _SECRETS:
            hidden = secret.sub(r"\1…", hidden)
        if hidden != words:
            record.msg, record.args = hidden, None
        return True
