"""The settings as a fresh process reads them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run_python(code, tmp_path, **variables):
    """Run `code` in a new process that has only `variables` and a data directory."""
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "RUNSITE_DATA_DIR": str(tmp_path / "data"),
        **variables,
    }
    return subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def read(expression, tmp_path, **variables):
    """The value of `expression` over the settings `s`, as JSON knows it."""
    code = f"import json; from runsite import settings as s; print(json.dumps({expression}))"
    done = run_python(code, tmp_path, **variables)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_fresh_clone_needs_no_variable_and_nothing_is_made(tmp_path):
    found = read(
        "[s.RUNSITE_HOST, s.RUNSITE_PORT, s.RUNSITE_PUBLIC_URL, s.RUNSITE_TIME_LIMIT_S, "
        "s.RUNSITE_DRAIN_LIMIT_S, s.RUNSITE_STREAMS, s.RUNSITE_LOG_LIMIT, s.CELERY_BROKER_URL]",
        tmp_path,
    )
    assert found == [
        *("127.0.0.1", 8000, "http://127.0.0.1:8000", 86400, None, 200, 1 << 30),
        "folder://localhost//",
    ]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RUNSITE_PORT", "http"),
        ("RUNSITE_PORT", "0"),
        ("RUNSITE_SLOTS", "0"),
        ("RUNSITE_DATABASE_URL", "mysql://db/x"),
        ("RUNSITE_DATABASE_URL", "postgresql://db"),
        ("RUNSITE_DATABASE_URL", "sqlite://runsite.db"),
        ("RUNSITE_BROKER_URL", "kafka://b"),
        ("RUNSITE_STORE_URL", "ftp://bucket"),
        ("RUNSITE_S3_ACCESS_KEY", "without-its-secret"),
        ("RUNSITE_PUBLIC_URL", "console.example.org"),
        ("RUNSITE_SECRET_KEY", "short"),
        ("RUNSITE_SECRET_KEY_FILE", "/nonexistent/key"),
        ("RUNSITE_STREAMS", "256"),
        ("RUNSITE_LEASE_S", "6"),
        ("RUNSITE_LOG_LIMIT", "big"),
        ("RUNSITE_TRUSTED_PROXIES", "10.0.0.0/99"),
        ("RUNSITE_APP_FOLDERS", "apps"),
        ("RUNSITE_TLS", "yes"),
        ("RUNSITE_TLS_CERTIFICATE", "/without/its.key"),
        ("RUNSITE_TLS_KEY", "/without/its.certificate"),
    ],
)
def test_a_wrong_value_ends_each_command_with_one_line(tmp_path, name, value):
    for command in (["check"], ["serve"]):
        code = f"import sys; sys.argv = ['manage.py', *{command}]; import manage; "
        done = run_python(code + "sys.exit(manage.main())", tmp_path, **{name: value})
        assert done.returncode == 2, done.stderr
        assert done.stderr.startswith("runsite: ")
        assert done.stderr.count("\n") == 1
        assert name in done.stderr
        assert list(tmp_path.iterdir()) == []


def test_sqlite_waits_instead_of_failing(tmp_path):
    database = read("s.DATABASES['default']", tmp_path)
    assert database["NAME"] == str(tmp_path / "data" / "runsite.sqlite3")
    assert database["OPTIONS"]["transaction_mode"] == "IMMEDIATE"
    assert database["OPTIONS"]["timeout"] >= 20


def test_postgresql_is_set_by_one_address(tmp_path):
    database = read(
        "s.DATABASES['default']",
        tmp_path,
        RUNSITE_DATABASE_URL="postgresql://me:p%40ss%2Fword@db.example:5433/runs?sslmode=require",
    )
    wanted = {
        "NAME": "runs",
        "USER": "me",
        "PASSWORD": "p@ss/word",
        "HOST": "db.example",
        "PORT": "5433",
        "CONN_HEALTH_CHECKS": True,
    }
    assert {key: database[key] for key in wanted} == wanted
    assert database["OPTIONS"]["sslmode"] == "require"


def test_a_connection_to_postgresql_over_a_dead_network_is_noticed_within_a_lease(tmp_path):
    address = "postgresql://db/runs?tcp_user_timeout=9000"
    options = read("s.DATABASES['default']['OPTIONS']", tmp_path, RUNSITE_DATABASE_URL=address)
    idle_s = options["keepalives_idle"]
    assert idle_s + options["keepalives_interval"] * options["keepalives_count"] < 20
    # What the address says goes first.
    assert options["tcp_user_timeout"] == "9000"


def test_the_database_address_may_come_from_a_file(tmp_path):
    (tmp_path / "address").write_text("postgresql://db/runs\n")
    found = read(
        "s.DATABASES['default']['NAME']",
        tmp_path,
        RUNSITE_DATABASE_URL_FILE=str(tmp_path / "address"),
    )
    assert found == "runs"


def test_a_console_behind_https_keeps_its_cookies_off_plain_http(tmp_path):
    found = read(
        "[s.SESSION_COOKIE_SECURE, s.CSRF_COOKIE_SECURE, s.CSRF_TRUSTED_ORIGINS, "
        "'console.example.org' in s.ALLOWED_HOSTS, s.SESSION_COOKIE_NAME]",
        tmp_path,
        RUNSITE_PUBLIC_URL="https://console.example.org/",
    )
    assert found == [True, True, ["https://console.example.org"], True, "runsite_session"]


FILES = {"RUNSITE_TLS_CERTIFICATE": "/tls/c.pem", "RUNSITE_TLS_KEY": "/tls/c.key"}


@pytest.mark.parametrize(
    ("variables", "mode", "scheme"),
    [
        ({}, "off", "http"),
        ({"RUNSITE_TLS": "auto"}, "auto", "https"),
        (FILES, "files", "https"),
        ({**FILES, "RUNSITE_TLS": "auto"}, "files", "https"),
        ({**FILES, "RUNSITE_TLS": "off"}, "off", "http"),
    ],
)
def test_tls_decides_on_address_and_cookies(tmp_path, variables, mode, scheme):
    found = read(
        "[s.RUNSITE_TLS, s.RUNSITE_PUBLIC_URL, s.SESSION_COOKIE_SECURE, s.CSRF_COOKIE_SECURE]",
        tmp_path,
        **variables,
    )
    assert found == [mode, f"{scheme}://127.0.0.1:8000", *[scheme == "https"] * 2]


def test_only_behind_a_proxy_a_header_says_that_it_was_https(tmp_path):
    expression = "hasattr(s, 'SECURE_PROXY_SSL_HEADER')"
    address = "https://console.example.org"
    assert read(expression, tmp_path, RUNSITE_PUBLIC_URL=address)
    assert not read(expression, tmp_path, RUNSITE_PUBLIC_URL=address, RUNSITE_TLS="auto")
    assert not read(expression, tmp_path)


def test_two_consoles_of_one_host_have_cookies_of_their_own(tmp_path):
    names = {
        read("s.SESSION_COOKIE_NAME", tmp_path, RUNSITE_PORT=port) for port in ("8000", "8001")
    }
    assert len(names) == 2


def test_the_kept_key_is_used_and_without_one_the_key_is_known_to_be_temporary(tmp_path):
    assert read("s.RUNSITE_SECRET_KEY_IS_TEMPORARY", tmp_path) is True
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "secret_key").write_text("k" * 40 + "\n")
    expression = "[s.SECRET_KEY, s.RUNSITE_SECRET_KEY_IS_TEMPORARY]"
    assert read(expression, tmp_path) == ["k" * 40, False]
    found = read(expression, tmp_path, RUNSITE_SECRET_KEY="e" * 40)
    assert found == ["e" * 40, False]


def test_all_hosts_are_not_allowed_by_listening_on_all_addresses(tmp_path):
    allowed = read("s.ALLOWED_HOSTS", tmp_path, RUNSITE_HOST="0.0.0.0")
    assert "*" not in allowed
    assert "localhost" in allowed
