"""Sealing: texts that only who has the key can read, and that nobody can change unnoticed.

AES-128 in CBC mode with HMAC-SHA256 (Fernet of the library `cryptography`), with a key that HKDF
makes of a passphrase. So the key that signs sessions is not itself the key of anything stored.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence

_PURPOSE = b"runsite secrets 1"


class CannotUnseal(Exception):
    """None of the keys opens a text, or it was changed."""


class Sealer:
    """Seals with the first of `keys`, opens with any of them."""

    def __init__(self, keys: Sequence[str]) -> None:
        # Not before: it takes 3 MB, and a console without secrets has no use for it.
        from cryptography.fernet import Fernet, InvalidToken, MultiFernet

        self._fernets = [Fernet(_derived(key)) for key in keys]
        self._all = MultiFernet(self._fernets)
        self._invalid: type[Exception] = InvalidToken

    def seal(self, text: str) -> str:
        """`text` in ASCII letters, of about four thirds of its size; another one at each call."""
        return self._all.encrypt(text.encode()).decode("ascii")

    def open(self, sealed: str) -> str:
        """The text again. Raises `CannotUnseal`."""
        try:
            return self._all.decrypt(sealed.encode()).decode()
        except (self._invalid, UnicodeDecodeError) as error:
            raise CannotUnseal from error

    def is_current(self, sealed: str) -> bool:
        """Whether the first key opens it."""
        try:
            self._fernets[0].decrypt(sealed.encode())
        except self._invalid:
            return False
        return True


def _derived(key: str) -> bytes:
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    made = HKDF(algorithm=SHA256(), length=32, salt=None, info=_PURPOSE).derive(key.encode())
    return base64.urlsafe_b64encode(made)
