"""The console's own authority, certificates that are given, and what people are told of them."""

from __future__ import annotations

import ipaddress
import shutil
import ssl
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import certifi
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from runsite import local_authority, tls
from runsite.env import SettingError
from tests.journeys.consoles import free_port
from tests.runsite.test_settings import run_python

NOW = datetime.now(UTC)
NAMES = ("localhost", "127.0.0.1", "::1", "runs.example.org")


@pytest.fixture
def folder(tmp_path):
    """The folder of an authority that was just made."""
    ensure(tmp_path / "tls")
    return tmp_path / "tls"


def ensure(folder, *, names=NAMES, own=("host-1",), now=NOW, **words):
    return local_authority.ensure(folder, names=names, own=own, now=now, **words)


def certificate(path):
    return x509.load_pem_x509_certificate(path.read_bytes())


def connect(*, served, key, trusted, host):
    """Shake hands in memory, as a client that is as strict as Python can be."""
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.load_cert_chain(served, key)
    client_context = ssl.create_default_context(cafile=trusted)
    client_context.verify_flags |= ssl.VERIFY_X509_STRICT
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context.wrap_bio(to_client, to_server, server_hostname=host)
    server = server_context.wrap_bio(to_server, to_client, server_side=True)
    waiting = [client, server]
    for _ in range(10):
        for side in list(waiting):
            try:
                side.do_handshake()
                waiting.remove(side)
            except ssl.SSLWantReadError:
                continue
        if not waiting:
            return
    raise AssertionError("the two never agreed")


def connect_to(folder, host, trusted="authority.pem"):
    connect(
        served=folder / "server.pem",
        key=folder / "server.key",
        trusted=folder / trusted,
        host=host,
    )


# --- An authority of its own ------------------------------------------------------------------


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "::1", "runs.example.org", "host-1"])
@pytest.mark.parametrize("trusted", ["authority.pem", "trust.pem"])
def test_a_strict_client_that_trusts_the_authority_connects(folder, host, trusted):
    connect_to(folder, host, trusted)


@pytest.mark.parametrize("host", ["127.0.0.2", "other.example.org", "example.org"])
def test_other_names_are_refused(folder, host):
    with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
        connect_to(folder, host)


def test_a_client_that_does_not_trust_the_authority_refuses(folder, tmp_path):
    ensure(tmp_path / "other")
    for trusted in (certifi.where(), tmp_path / "other" / "authority.pem"):
        with pytest.raises(ssl.SSLCertVerificationError, match="certificate verify failed"):
            connect_to(folder, "localhost", trusted)


def test_the_authority_can_sign_for_no_other_site(folder, tmp_path):
    authority = local_authority._read(folder / "authority.pem", folder / "authority.key")
    assert authority is not None
    stolen = local_authority._make_server(authority, frozenset({"pay.example.com"}), NOW)
    local_authority._write_pair(stolen, tmp_path / "s.pem", tmp_path / "s.key")
    with pytest.raises(ssl.SSLCertVerificationError, match="permitted subtree"):
        connect(
            served=tmp_path / "s.pem",
            key=tmp_path / "s.key",
            trusted=folder / "authority.pem",
            host="pay.example.com",
        )


def test_keys_are_for_their_owner_only_and_nothing_half_lies_about(folder):
    assert folder.stat().st_mode & 0o777 == 0o700
    modes = {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}
    assert modes == {
        "authority.key": 0o600,
        "server.key": 0o600,
        "authority.pem": 0o644,
        "server.pem": 0o644,
        "trust.pem": 0o644,
    }


def test_what_the_certificates_may_and_how_long(folder):
    authority, server = certificate(folder / "authority.pem"), certificate(folder / "server.pem")
    limits = authority.extensions.get_extension_for_class(x509.BasicConstraints)
    assert (limits.critical, limits.value.ca, limits.value.path_length) == (True, True, 0)
    usage = authority.extensions.get_extension_for_class(x509.KeyUsage).value
    assert (usage.key_cert_sign, usage.digital_signature) == (True, False)
    usage = server.extensions.get_extension_for_class(x509.KeyUsage).value
    assert (usage.key_cert_sign, usage.digital_signature) == (False, True)
    # What browsers take at most, counted as they do.
    assert server.not_valid_after_utc - server.not_valid_before_utc <= timedelta(days=398)
    assert timedelta(days=3649) < authority.not_valid_after_utc - NOW <= timedelta(days=3650)
    assert server.not_valid_before_utc < NOW


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def changed(folder, before):
    return {name for name, content in contents(folder).items() if content != before[name]}


def test_a_second_start_changes_nothing(folder):
    before = contents(folder)
    assert ensure(folder, now=NOW + timedelta(days=200)) == "kept"
    assert changed(folder, before) == set()


def test_a_certificate_that_nears_its_end_is_renewed_by_the_same_authority(folder):
    before = contents(folder)
    later = NOW + timedelta(days=300)
    assert ensure(folder, now=later) == "kept"
    assert changed(folder, before) == {"server.pem", "server.key"}
    assert certificate(folder / "server.pem").not_valid_after_utc > later + timedelta(days=390)
    certificate(folder / "server.pem").verify_directly_issued_by(
        certificate(folder / "authority.pem")
    )


def test_an_authority_that_nears_its_end_is_replaced(folder):
    later = NOW + timedelta(days=3300)
    assert ensure(folder, now=later) == "replaced"
    assert certificate(folder / "authority.pem").not_valid_after_utc > later + timedelta(days=3600)


def test_a_name_below_a_known_one_and_an_address_need_no_new_authority(folder):
    before = contents(folder)
    names = {*NAMES, "test.runs.example.org", "192.0.2.7"}
    assert ensure(folder, names=names) == "kept"
    assert changed(folder, before) == {"server.pem", "server.key"}
    connect_to(folder, "test.runs.example.org")
    connect_to(folder, "192.0.2.7")


def test_a_new_name_of_the_machine_is_left_out_and_the_authority_stays(folder):
    before = contents(folder)
    assert ensure(folder, own=("host-2",)) == "kept"
    assert changed(folder, before) == {"server.pem", "server.key"}
    with pytest.raises(ssl.SSLCertVerificationError):
        connect_to(folder, "host-2")
    connect_to(folder, "localhost")


def test_a_new_name_that_was_asked_for_needs_a_new_authority(folder):
    before = contents(folder)
    assert ensure(folder, names={*NAMES, "plans.example.net"}) == "replaced"
    assert changed(folder, before) == set(before)
    connect_to(folder, "plans.example.net", "trust.pem")


@pytest.mark.parametrize(
    ("name", "state"),
    [
        ("server.pem", "kept"),
        ("server.key", "kept"),
        ("authority.pem", "replaced"),
        ("authority.key", "replaced"),
        ("trust.pem", "kept"),
    ],
)
def test_a_damaged_file_is_made_anew(folder, name, state):
    (folder / name).write_bytes((folder / name).read_bytes()[:50])
    assert ensure(folder) == state
    connect_to(folder, "localhost", "trust.pem")
    assert ensure(folder) == "kept"


def test_a_certificate_of_another_authority_is_not_served(folder, tmp_path):
    ensure(tmp_path / "other")
    for name in ("server.pem", "server.key"):
        shutil.copy(tmp_path / "other" / name, folder / name)
    assert ensure(folder) == "kept"
    connect_to(folder, "localhost")


def test_a_folder_that_cannot_be_used_is_said_in_one_line(tmp_path):
    (tmp_path / "tls").write_text("")
    with pytest.raises(SettingError, match="cannot be read or written") as found:
        ensure(tmp_path / "tls")
    assert "\n" not in str(found.value)


def authorities(path):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(path)
    return set(context.get_ca_certs(binary_form=True))


def test_the_list_to_trust_holds_the_usual_authorities_and_ours(folder):
    ours = authorities(folder / "authority.pem")
    assert len(ours) == 1
    assert authorities(folder / "trust.pem") == authorities(certifi.where()) | ours


def test_a_list_that_this_machine_trusts_already_takes_the_usual_place(folder, tmp_path):
    ensure(tmp_path / "company")
    company = tmp_path / "company" / "authority.pem"
    both = authorities(company) | authorities(folder / "authority.pem")
    ensure(folder, usual=company)
    assert authorities(folder / "trust.pem") == both
    # Started again in a shell that trusts this very console: nothing is lost, nothing doubled.
    before = contents(folder)
    ensure(folder, usual=folder / "trust.pem")
    assert changed(folder, before) == set()
    ensure(folder, usual=tmp_path / "missing.pem")
    assert authorities(folder / "trust.pem") > authorities(certifi.where())


@pytest.mark.parametrize(
    ("word", "names"),
    [
        ("Runs.Example.ORG.", {"runs.example.org"}),
        ("[::1]", {"::1"}),
        ("0:0:0:0:0:0:0:1", {"::1"}),
        ("10.0.0.7", {"10.0.0.7"}),
        ("0.0.0.0", set()),
        ("::", set()),
        ("*", set()),
        ("", set()),
        (".example.org", {"example.org", "*.example.org"}),
        ("büro.example", {"xn--bro-hoa.example"}),
        ("a..b", set()),
        ("a b", set()),
        ("x" * 64, set()),
    ],
)
def test_words_as_names_of_a_certificate(word, names):
    assert local_authority.certificate_names([word]) == names


# --- Files that are given ---------------------------------------------------------------------


def make_files(
    folder, *, key=None, begin=NOW - timedelta(days=1), end=NOW + timedelta(days=90), names=NAMES
):
    """A certificate that signs itself, and its key; their paths."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "given")])
    general = []
    for name in names:
        try:
            general.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            general.append(x509.DNSName(name))
    built = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
        .add_extension(x509.SubjectAlternativeName(general), critical=False)
        .sign(key, None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256())
    )
    folder.mkdir(exist_ok=True)
    paths = folder / "given.pem", folder / "given.key"
    paths[0].write_bytes(built.public_bytes(serialization.Encoding.PEM))
    write_key(paths[1], key)
    return paths


def write_key(path, key, *, form=serialization.PrivateFormat.PKCS8, password=None):
    lock = serialization.NoEncryption()
    if password is not None:
        lock = serialization.BestAvailableEncryption(password)
    path.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, lock))
    path.chmod(0o600)


def check(paths, host="runs.example.org"):
    return tls.check_files(*paths, host=host, now=NOW)


@pytest.mark.parametrize(
    "make",
    [
        lambda: ec.generate_private_key(ec.SECP256R1()),
        lambda: ec.generate_private_key(ec.SECP384R1()),
        lambda: rsa.generate_private_key(public_exponent=65537, key_size=2048),
        ed25519.Ed25519PrivateKey.generate,
    ],
)
def test_files_that_can_be_served_call_for_no_remark(tmp_path, make):
    assert check(make_files(tmp_path, key=make())) == []


def test_a_key_in_the_older_form_is_served(tmp_path):
    key = ec.generate_private_key(ec.SECP256R1())
    paths = make_files(tmp_path, key=key)
    write_key(paths[1], key, form=serialization.PrivateFormat.TraditionalOpenSSL)
    assert check(paths) == []


def _missing(paths):
    paths[0].unlink()


def _folder_for_key(paths):
    paths[1].unlink()
    paths[1].mkdir()


def _no_certificate(paths):
    paths[0].write_text("certificate")


def _no_key(paths):
    paths[1].write_text("key")


def _locked(paths):
    write_key(paths[1], ec.generate_private_key(ec.SECP256R1()), password=b"hush")


def _another_key(paths):
    write_key(paths[1], ec.generate_private_key(ec.SECP256R1()))


def _ended(paths):
    make_files(paths[0].parent, end=NOW - timedelta(minutes=1))


def _not_begun(paths):
    make_files(paths[0].parent, begin=NOW + timedelta(hours=1))


def _odd_curve(paths):
    make_files(paths[0].parent, key=ec.generate_private_key(ec.SECP521R1()))


def _short_key(paths):
    key = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    make_files(paths[0].parent, key=key)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_missing, ("RUNSITE_TLS_CERTIFICATE", "cannot be read", "No such file")),
        (_folder_for_key, ("RUNSITE_TLS_KEY", "cannot be read")),
        (_no_certificate, ("RUNSITE_TLS_CERTIFICATE", "no certificate in PEM")),
        (_no_key, ("RUNSITE_TLS_KEY", "no private key in PEM")),
        (_locked, ("RUNSITE_TLS_KEY", "password", "openssl pkcs8")),
        (_another_key, ("RUNSITE_TLS_KEY", "does not belong")),
        (_ended, ("RUNSITE_TLS_CERTIFICATE", "ended on")),
        (_not_begun, ("RUNSITE_TLS_CERTIFICATE", "begins on")),
        (_odd_curve, ("RUNSITE_TLS_KEY", "P-256 or P-384")),
        (_short_key, ("RUNSITE_TLS_KEY", "2048")),
    ],
)
def test_files_that_cannot_be_served_are_said_in_one_line(tmp_path, spoil, words):
    paths = make_files(tmp_path)
    spoil(paths)
    with pytest.raises(SettingError) as found:
        check(paths)
    for word in (*words, "given."):
        assert word in str(found.value)
    assert "\n" not in str(found.value)


def test_remarks_on_files_that_can_be_served(tmp_path):
    paths = make_files(tmp_path, end=NOW + timedelta(days=5))
    paths[1].chmod(0o644)
    ending, name, mode = check(paths, host="plans.example.net")
    assert "renew" in ending
    assert "plans.example.net" in name
    assert "chmod" in mode


def test_a_star_stands_for_one_label(tmp_path):
    paths = make_files(tmp_path, names=("*.example.org",))
    assert check(paths, host="runs.example.org") == []
    assert len(check(paths, host="a.runs.example.org")) == 1
    assert len(check(paths, host="example.org")) == 1


def test_the_console_refuses_such_files_before_it_makes_anything(tmp_path):
    code = "import sys; sys.argv = ['manage.py', 'serve']; import manage; sys.exit(manage.main())"
    done = run_python(
        code,
        tmp_path,
        RUNSITE_TLS_CERTIFICATE="missing.pem",
        RUNSITE_TLS_KEY="missing.key",
        RUNSITE_PORT=str(free_port()),
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("runsite: RUNSITE_TLS_CERTIFICATE names")
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


# --- What is said -----------------------------------------------------------------------------


def given(tmp_path, **words):
    return SimpleNamespace(
        **{
            "RUNSITE_TLS": "auto",
            "RUNSITE_TLS_DIR": tmp_path / "a folder" / "tls",
            "RUNSITE_TLS_CERTIFICATE": None,
            "RUNSITE_TLS_KEY": None,
            "RUNSITE_PUBLIC_URL": "https://runs.example.org:8443",
            "RUNSITE_HOST": "0.0.0.0",
            "RUNSITE_ALLOWED_HOSTS": ("plans.example.org",),
            "ALLOWED_HOSTS": ["127.0.0.1", "192.0.2.1", "host-9"],
            **words,
        }
    )


def test_the_certificate_holds_the_names_of_the_settings(tmp_path):
    (tmp_path / "a folder").mkdir()
    settings = given(tmp_path)
    assert tls.prepare(settings, now=NOW) == []
    served = certificate(settings.RUNSITE_TLS_DIR / "server.pem")
    for host in ("localhost", "127.0.0.1", "::1", "192.0.2.1", "host-9"):
        assert local_authority.holds(served, host), host
    for host in ("runs.example.org", "plans.example.org"):
        assert local_authority.holds(served, host), host
    settings.RUNSITE_PUBLIC_URL = "https://new.example.net"
    [line] = tls.prepare(settings, now=NOW)
    assert "trust it anew" in line


def test_the_client_is_told_what_to_trust_and_where_to_ask(tmp_path):
    lines = tls.client_lines(given(tmp_path), account="demo")
    trust = tmp_path / "a folder" / "tls" / "trust.pem"
    assert f"  export REQUESTS_CA_BUNDLE='{trust}'" in lines
    assert lines[-1].endswith("--endpoint runs.example.org:8443")
    assert "--account demo" in "\n".join(lines)


def test_with_given_files_the_client_keeps_its_list(tmp_path):
    settings = given(tmp_path, RUNSITE_TLS="files")
    assert "REQUESTS_CA_BUNDLE" not in "\n".join(tls.client_lines(settings, account="demo"))


def test_without_tls_nothing_is_asked_of_the_web_server(tmp_path):
    assert tls.server_words(given(tmp_path, RUNSITE_TLS="off")) == []
    words = tls.server_words(given(tmp_path))
    assert words[1].endswith("/tls/server.pem")
    assert words[3].endswith("/tls/server.key")
