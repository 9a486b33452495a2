"""A console that serves TLS: browsers, programs and the published command line reach it."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import requests

from runsite import local_authority
from tests.journeys.consoles import Console, Person, serving, small_environment

pytestmark = pytest.mark.process

CLIENT = Path(sys.executable).with_name("nextmv")


@pytest.fixture(scope="module")
def tls_console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    """A console that was started with `--tls`, with the demo account."""
    with serving(tmp_path_factory.mktemp("tls"), demo=True, tls=True) as found:
        yield found
        found.stop()


@pytest.fixture(scope="module")
def tls_person(tls_console: Console) -> Person:
    """The administrator, signed in by the printed link."""
    return tls_console.sign_in()


@pytest.fixture
def session() -> Iterator[requests.Session]:
    """Asks without the proxies and lists of this machine."""
    with requests.Session() as found:
        found.trust_env = False
        yield found


def test_a_program_that_trusts_the_printed_list_is_answered(
    tls_console: Console, session: requests.Session
) -> None:
    printed = re.search(r"export REQUESTS_CA_BUNDLE=(\S+)", tls_console.said)
    assert printed is not None, tls_console.said
    assert f"--endpoint 127.0.0.1:{tls_console.port}\n" in tls_console.said
    for host in ("127.0.0.1", "localhost"):
        address = f"https://{host}:{tls_console.port}"
        answer = session.get(f"{address}/healthz", verify=printed[1], timeout=30)
        assert answer.status_code == 200
        assert session.get(f"{address}/readyz", verify=printed[1], timeout=30).status_code == 200


def test_a_program_that_does_not_trust_it_refuses(
    tls_console: Console, session: requests.Session
) -> None:
    with pytest.raises(requests.exceptions.SSLError, match="CERTIFICATE_VERIFY_FAILED"):
        session.get(f"{tls_console.base}/healthz", timeout=30)


def test_a_large_body_that_is_refused_gets_its_answer(
    tls_console: Console, session: requests.Session
) -> None:
    # Far more than a connection takes along: the answer must wait until all of it was sent.
    answer = session.post(
        f"{tls_console.base}/v1/applications/stress/runs",
        data=b" " * (20 << 20),
        headers={"Authorization": "Bearer of-nobody"},
        verify=str(tls_console.trust),
        timeout=60,
    )
    assert 400 <= answer.status_code < 500
    assert answer.json()["error"]


def test_pages_forms_and_event_streams_work_in_a_browser(
    tls_console: Console, tls_person: Person, session: requests.Session
) -> None:
    run_id = tls_person.launch("stress", {"sleep": 3})
    cookies = {cookie.name: cookie for cookie in tls_person._cookies}
    assert cookies
    assert all(cookie.secure for cookie in cookies.values())
    address = f"{tls_console.base}/runs/{run_id}/live/?after=1.0.&tab=log&log=1"
    with session.get(
        address,
        cookies={name: cookie.value or "" for name, cookie in cookies.items()},
        headers={"Accept": "text/event-stream"},
        verify=str(tls_console.trust),
        stream=True,
        timeout=60,
    ) as answer:
        assert answer.headers["Content-Type"] == "text/event-stream"
        pieces = answer.iter_content(None)
        # The first comes while the run goes on, and the stream ends with it.
        assert next(pieces)
        assert tls_console.look(run_id)["status"] in {"queued", "running"}
        assert b"succeeded" in b"".join(pieces)
    assert tls_person.get(f"/runs/{run_id}/").status == 200


def test_the_published_command_line_is_set_up_by_the_printed_lines(
    tls_console: Console, tmp_path: Path
) -> None:
    environment = small_environment(
        tmp_path / "home", REQUESTS_CA_BUNDLE=str(tls_console.trust), NO_PROXY="127.0.0.1"
    )
    key = _make_key(tls_console)
    _run(
        environment,
        *("configuration", "create", "--api-key", key),
        *("--endpoint", f"127.0.0.1:{tls_console.port}"),
    )
    said = _run(environment, "cloud", "app", "list")
    assert "knapsack" in said


def test_files_that_are_given_are_served(tmp_path: Path, session: requests.Session) -> None:
    folder = tmp_path / "given"
    local_authority.ensure(folder, names=["127.0.0.1"], own=(), now=datetime.now(UTC))
    with serving(
        tmp_path / "console",
        RUNSITE_TLS_CERTIFICATE=str(folder / "server.pem"),
        RUNSITE_TLS_KEY=str(folder / "server.key"),
    ) as console:
        address = f"https://127.0.0.1:{console.port}"
        assert f"answers at {address}\n" in console.said
        assert "REQUESTS_CA_BUNDLE" not in console.said
        trusted = str(folder / "authority.pem")
        assert session.get(f"{address}/readyz", verify=trusted, timeout=30).status_code == 200
        assert not (console.data_dir / "tls").exists()


def test_the_next_start_keeps_the_authority(tmp_path: Path, session: requests.Session) -> None:
    with serving(tmp_path, tls=True) as console:
        trusted = console.trust.read_bytes()
        console.stop()
        console.start()
        assert console.trust.read_bytes() == trusted
        answer = session.get(f"{console.base}/healthz", verify=str(console.trust), timeout=30)
        assert answer.status_code == 200


def _make_key(console: Console) -> str:
    root = Path(__file__).resolve().parents[2]
    return subprocess.run(
        [
            *(sys.executable, "manage.py", "createapikey", "--account", "demo"),
            *("--role", "developer", "client"),
        ],
        env=console.environment,
        cwd=root,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    ).stdout.strip()


def _run(environment: dict[str, str], *words: str) -> str:
    """Run the published command line; what it printed."""
    done = subprocess.run(
        [str(CLIENT), *words],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
