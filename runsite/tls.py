"""TLS of the console itself: which certificate the web process serves, and what people are told.

`RUNSITE_TLS` is *auto* (the certificate of `runsite.local_authority`), *files* (a certificate and a
key that were given) or *off*.
"""

from __future__ import annotations

import shlex
import socket
import ssl
from datetime import datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from runsite import env, local_authority
from runsite.env import SettingError

WARN_BEFORE = timedelta(days=21)


def check_given(settings: Any, *, now: datetime) -> list[str]:
    """Look whether files that were given can be served; what people should know about them.

    Raises `SettingError` with one line when they cannot. Nothing to do without given files.
    """
    if settings.RUNSITE_TLS != "files":
        return []
    host = urlsplit(settings.RUNSITE_PUBLIC_URL).hostname or ""
    return check_files(
        settings.RUNSITE_TLS_CERTIFICATE, settings.RUNSITE_TLS_KEY, host=host, now=now
    )


def prepare(settings: ModuleType, *, now: datetime) -> list[str]:
    """Make the console's own authority and certificate, where wanted; lines to tell people."""
    if settings.RUNSITE_TLS != "auto":
        return []
    host = urlsplit(settings.RUNSITE_PUBLIC_URL).hostname or ""
    state = local_authority.ensure(
        settings.RUNSITE_TLS_DIR,
        names={"localhost", "127.0.0.1", "::1", settings.RUNSITE_HOST, host}
        | {*settings.RUNSITE_ALLOWED_HOSTS},
        own={socket.gethostname(), *settings.ALLOWED_HOSTS},
        usual=env.file("REQUESTS_CA_BUNDLE"),
        now=now,
    )
    if state != "replaced":
        return []
    return [
        "A new certificate authority was made, because the names have changed or the former one "
        "does not serve any more: clients and browsers must trust it anew."
    ]


def server_words(settings: ModuleType) -> list[str]:
    """What the command line of the web process says about TLS."""
    if settings.RUNSITE_TLS == "off":
        return []
    certificate, key = settings.RUNSITE_TLS_CERTIFICATE, settings.RUNSITE_TLS_KEY
    if settings.RUNSITE_TLS == "auto":
        certificate = settings.RUNSITE_TLS_DIR / local_authority.SERVER
        key = settings.RUNSITE_TLS_DIR / local_authority.SERVER_KEY
    return [
        *("--ssl-certificate", str(certificate), "--ssl-keyfile", str(key)),
        *("--ssl-protocol-min", "tls1.2"),
    ]


def client_lines(settings: ModuleType, *, account: str) -> list[str]:
    """What to type so that the published client speaks with this console. No secret is in it.

    `account` is the short name of an account that keys can be made for.
    """
    endpoint = urlsplit(settings.RUNSITE_PUBLIC_URL).netloc
    trust = shlex.quote(str(settings.RUNSITE_TLS_DIR / local_authority.TRUST))
    own = settings.RUNSITE_TLS == "auto"
    return [
        "For the command line `nextmv`:",
        # The client reads its list of authorities from here, in place of the usual one.
        *([f"  export REQUESTS_CA_BUNDLE={trust}"] if own else []),
        f"  .venv/bin/python manage.py createapikey --account {account} --role developer client",
        f"  nextmv configuration create --api-key KEY --endpoint {endpoint}",
    ]


def check_files(certificate: Path, key: Path, *, host: str, now: datetime) -> list[str]:
    """Look whether a certificate and a key in PEM files can be served; remarks for people.

    Raises `SettingError` when one cannot be read, is of a kind that is not served, does not belong
    to the other, or when the certificate does not hold now. `host` is what people open.
    """
    first = _load_certificate(certificate)
    _check_key(key, certificate, first)
    _check_pair(certificate, key)
    begin, end = first.not_valid_before_utc, first.not_valid_after_utc
    if end <= now:
        raise SettingError(
            f"The certificate in {certificate} (RUNSITE_TLS_CERTIFICATE) ended on {end:%Y-%m-%d}. "
            "Renew it and start again."
        )
    if begin > now:
        raise SettingError(
            f"The certificate in {certificate} (RUNSITE_TLS_CERTIFICATE) begins on "
            f"{begin:%Y-%m-%d %H:%M} UTC. Set the clock, or wait."
        )
    found = []
    if end - now < WARN_BEFORE:
        found.append(
            f"The certificate ends on {end:%Y-%m-%d}: renew {certificate} and start again."
        )
    if not local_authority.holds(first, host):
        found.append(
            f"The certificate does not hold the name {host}: clients will refuse it. "
            "Set RUNSITE_PUBLIC_URL to an address with a name of the certificate."
        )
    if key.stat().st_mode & 0o007:
        found.append(f"Every user of this machine can reach the key: chmod o= {key}")
    return found


def _load_certificate(path: Path) -> x509.Certificate:
    content = _read(path, "RUNSITE_TLS_CERTIFICATE")
    try:
        return x509.load_pem_x509_certificates(content)[0]
    except (ValueError, UnsupportedAlgorithm):
        raise SettingError(
            f"RUNSITE_TLS_CERTIFICATE names {path}, which holds no certificate in PEM form "
            "(-----BEGIN CERTIFICATE-----). Give the chain, the console's own certificate first."
        ) from None


def _check_key(path: Path, certificate: Path, first: x509.Certificate) -> None:
    content = _read(path, "RUNSITE_TLS_KEY")
    try:
        key = serialization.load_pem_private_key(content, password=None)
    except TypeError:
        raise SettingError(
            f"RUNSITE_TLS_KEY names {path}, which is locked with a password. "
            f"Give a key without one: openssl pkcs8 -topk8 -nocrypt -in {path} -out NEW"
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise SettingError(
            f"RUNSITE_TLS_KEY names {path}, which holds no private key in PEM form "
            "(-----BEGIN PRIVATE KEY-----)."
        ) from None
    # What the web server can sign with; with others it would end at once.
    served = (
        isinstance(key, ed25519.Ed25519PrivateKey)
        or (isinstance(key, rsa.RSAPrivateKey) and 2048 <= key.key_size <= 8192)
        or (
            isinstance(key, ec.EllipticCurvePrivateKey)
            and key.curve.name in {"secp256r1", "secp384r1"}
        )
    )
    if not served:
        raise SettingError(
            f"RUNSITE_TLS_KEY names {path}, a key of a kind that is not served. "
            "Take RSA (2048 bits or more), EC (P-256 or P-384) or Ed25519."
        )
    if key.public_key() != first.public_key():
        raise SettingError(
            f"The key in {path} (RUNSITE_TLS_KEY) does not belong to the first certificate in "
            f"{certificate} (RUNSITE_TLS_CERTIFICATE). Give the two that were made together; the "
            "console's own certificate comes first in its file."
        )


def _check_pair(certificate: Path, key: Path) -> None:
    """What the web server asks of both when it starts."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
    except (ssl.SSLError, OSError) as error:
        raise SettingError(
            f"The certificate in {certificate} (RUNSITE_TLS_CERTIFICATE) cannot be served with "
            f"the key in {key} (RUNSITE_TLS_KEY): {getattr(error, 'reason', None) or error}. "
            "Have both made anew."
        ) from error


def _read(path: Path, name: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SettingError(
            f"{name} names {path}, which cannot be read: {error.strerror}. "
            "Give a file that this user can read."
        ) from error
