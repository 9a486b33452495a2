"""Keeps the secrets of one-time links out of the log: addresses are logged when they fail."""

from __future__ import annotations

import logging
import re

_LINK = re.compile(r"(/sign-in/link/)[^/\s?\"']+")


class HideSecrets(logging.Filter):
    """Puts `…` where a line names the secret of a sign-in link; drops no line."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Change the record when its words hold a secret; always True."""
        try:
            words = record.getMessage()
        except (TypeError, ValueError):
            return True  # the handler reports a line that cannot be made
        hidden = _LINK.sub(r"\1…", words)
        if hidden != words:
            record.msg, record.args = hidden, None
        return True
