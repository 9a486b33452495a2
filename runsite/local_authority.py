"""A certificate authority of this console alone, and the certificate that it gives the console.

All of it lies in one folder: the authority (made once), the certificate of the web process (made
anew at a start, when its names have changed or its end is near), and the list that a client is
told to trust. The authority may sign for the names of the console and for addresses only, and no
other authority: its key, stolen, opens nothing else.
"""

from __future__ import annotations

import fcntl
import ipaddress
import os
import re
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

import certifi
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from runsite.env import SettingError

AUTHORITY = "authority.pem"
AUTHORITY_KEY = "authority.key"
SERVER = "server.pem"
SERVER_KEY = "server.key"
TRUST = "trust.pem"

AUTHORITY_LIFE = timedelta(days=3650)
# Browsers refuse certificates that hold for more than 398 days.
SERVER_LIFE = timedelta(days=397)
RENEW_BEFORE = timedelta(days=120)
# Clocks of clients may be behind.
_BACKDATED = timedelta(hours=1)
_OURS = "# The authority of this console"
_ALL_NETWORKS = (ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0"))
_DNS_NAME = re.compile(r"(\*\.)?[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*")

State = Literal["kept", "made", "replaced"]


@dataclass(frozen=True)
class _Pair:
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def ensure(
    folder: Path,
    *,
    names: Iterable[str],
    own: Iterable[str],
    usual: Path | None = None,
    now: datetime,
) -> State:
    """Make what is missing, has ended or does not fit any more; what became of the authority.

    `names` are those that the certificate must hold, as in ALLOWED_HOSTS; one that the authority
    may not sign for makes a new authority. `own` are further names of the machine, which may
    change by themselves: those that it may not sign for are left out. `usual` is the list of
    authorities that clients here trust already, if not certifi's. Raises `SettingError` when the
    folder cannot be used.
    """
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        folder.chmod(0o700)
        with _locked(folder):
            state = _ensure(folder, certificate_names(names), certificate_names(own), now)
            _write_trust(folder, usual)
            return state
    except OSError as error:
        raise SettingError(
            f"The certificates in {folder} cannot be read or written: {error.strerror}. "
            "Run as the user that owns the data directory."
        ) from error


def certificate_names(words: Iterable[str]) -> frozenset[str]:
    """Host names and addresses as certificates know them; what cannot stand in one is dropped.

    `.example.org` (each host below it, as in ALLOWED_HOSTS) becomes two names.
    """
    found: set[str] = set()
    for word in words:
        name = word.strip().lower().strip("[]").rstrip(".")
        address = _address(name)
        if address is not None:
            if not address.is_unspecified:
                found.add(str(address))
            continue
        try:
            name = name.encode("ascii" if name.isascii() else "idna").decode()
        except UnicodeError:
            continue
        for one in (name[1:], f"*{name}") if name.startswith(".") else (name,):
            if len(one) <= 253 and _DNS_NAME.fullmatch(one):
                found.add(one)
    return frozenset(found)


def holds(certificate: x509.Certificate, host: str) -> bool:
    """Whether a certificate is good for a host name or an address."""
    known = _names_of(certificate)
    wanted = certificate_names([host])
    _, _, domain = host.lower().partition(".")
    return bool(wanted & known) or (bool(domain) and f"*.{domain}" in known)


def _ensure(folder: Path, names: frozenset[str], own: frozenset[str], now: datetime) -> State:
    state: State = "kept"
    authority = _read(folder / AUTHORITY, folder / AUTHORITY_KEY)
    if authority is None or not _good_authority(authority.certificate, names, now):
        state = "replaced" if (folder / AUTHORITY).exists() else "made"
        authority = _make_authority(names | own, now)
        _write_pair(authority, folder / AUTHORITY, folder / AUTHORITY_KEY)
    wanted = names | {name for name in own if _permits(authority.certificate, name)}
    server = _read(folder / SERVER, folder / SERVER_KEY)
    if server is None or not _good_server(server.certificate, authority, wanted, now):
        _write_pair(_make_server(authority, wanted, now), folder / SERVER, folder / SERVER_KEY)
    return state


def _write_trust(folder: Path, usual: Path | None) -> None:
    """The usual list and our authority: what a client is told to trust replaces its own list."""
    path = folder / TRUST
    before = _text(path)
    known = _text(usual) if usual is not None and usual.is_file() else ""
    # A console started where our own list is set already: what stands before our part.
    known = known.partition(_OURS)[0].strip() or certifi.contents().strip()
    trust = f"{known}\n\n{_OURS}\n{_text(folder / AUTHORITY)}"
    if before != trust:
        _write(path, trust.encode(), mode=0o644)


# --- What is there ----------------------------------------------------------------------------


def _read(certificate: Path, key: Path) -> _Pair | None:
    """A certificate with its key; None unless both are there, whole, and belong together."""
    try:
        one = x509.load_pem_x509_certificate(certificate.read_bytes())
        other = serialization.load_pem_private_key(key.read_bytes(), password=None)
    except (FileNotFoundError, ValueError, TypeError, UnsupportedAlgorithm):
        return None
    if not isinstance(other, ec.EllipticCurvePrivateKey) or other.public_key() != one.public_key():
        return None
    key.chmod(0o600)
    return _Pair(one, other)


def _good_authority(certificate: x509.Certificate, names: frozenset[str], now: datetime) -> bool:
    lasts = certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc - SERVER_LIFE
    return lasts and all(_permits(certificate, name) for name in names)


def _permits(authority: x509.Certificate, name: str) -> bool:
    """Whether the authority may sign for a name."""
    try:
        found = authority.extensions.get_extension_for_class(x509.NameConstraints)
    except x509.ExtensionNotFound:
        return False  # none of ours
    permitted = found.value.permitted_subtrees or []
    address = _address(name)
    if address is not None:
        return any(
            isinstance(one.value, ipaddress.IPv4Network | ipaddress.IPv6Network)
            and address in one.value
            for one in permitted
        )
    domain = name.removeprefix("*.")
    return any(
        isinstance(one, x509.DNSName) and (domain == one.value or domain.endswith(f".{one.value}"))
        for one in permitted
    )


def _good_server(
    certificate: x509.Certificate, authority: _Pair, names: frozenset[str], now: datetime
) -> bool:
    try:
        certificate.verify_directly_issued_by(authority.certificate)
    except (InvalidSignature, ValueError, TypeError):
        return False
    lasts = certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc - RENEW_BEFORE
    return lasts and _names_of(certificate) == names


def _names_of(certificate: x509.Certificate) -> frozenset[str]:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return frozenset()
    addresses = {str(address) for address in found.get_values_for_type(x509.IPAddress)}
    return frozenset({*addresses, *map(str.lower, found.get_values_for_type(x509.DNSName))})


# --- What is made -----------------------------------------------------------------------------


def _make_authority(names: frozenset[str], now: datetime) -> _Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    # A name of its own: a list may hold the authorities of several consoles.
    subject = _subject(f"Runsite authority {secrets.token_hex(4)}")
    domains = sorted({name.removeprefix("*.") for name in names if _address(name) is None})
    permitted = [*map(x509.DNSName, domains), *map(x509.IPAddress, _ALL_NETWORKS)]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + AUTHORITY_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(sign_certificates=True), critical=True)
        .add_extension(x509.NameConstraints(permitted, None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return _Pair(certificate, key)


def _make_server(authority: _Pair, names: frozenset[str], now: datetime) -> _Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    issuer = x509.SubjectKeyIdentifier.from_public_key(authority.key.public_key())
    alternatives = [
        x509.DNSName(name) if (address := _address(name)) is None else x509.IPAddress(address)
        for name in sorted(names)
    ]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(_subject("Runsite console"))
        .issuer_name(authority.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + SERVER_LIFE)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(sign_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer), critical=False
        )
        .sign(authority.key, hashes.SHA256())
    )
    return _Pair(certificate, key)


def _subject(common_name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Runsite"),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def _usage(*, sign_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not sign_certificates,
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


# --- Files ------------------------------------------------------------------------------------


def _write_pair(pair: _Pair, certificate: Path, key: Path) -> None:
    """The key first: a crash between the two leaves a pair that `_read` does not take."""
    pem = serialization.Encoding.PEM
    kind = serialization.PrivateFormat.PKCS8
    _write(key, pair.key.private_bytes(pem, kind, serialization.NoEncryption()), mode=0o600)
    _write(certificate, pair.certificate.public_bytes(pem), mode=0o644)


def _write(path: Path, content: bytes, *, mode: int) -> None:
    """The file appears whole or not, and is never open to more people than `mode` says."""
    partial = path.with_name(f"{path.name}.{os.getpid()}")
    partial.unlink(missing_ok=True)
    handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    with os.fdopen(handle, "wb") as file:
        os.fchmod(handle, mode)
        file.write(content)
        file.flush()
        os.fsync(handle)
    partial.replace(path)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (FileNotFoundError, UnicodeDecodeError):
        return ""


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None
