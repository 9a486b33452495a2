"""Live consoles and the published client, unmodified: SDK, command line and MCP server."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nextmv
import pytest
from nextmv import cloud

from tests.journeys.consoles import EXAMPLES, ROOT, Console, Person, small_environment
from tests.journeys.test_services import empty_redis
from tests.s3_servers import s3_server
from tests.services import new_postgres_database

KINDS = ("embedded", "servers", "tls")
HERE = Path(__file__).parent
PROBE, PROBE_FILES = HERE / "probe_app", HERE / "probe_files"
APPLICATIONS = {name: EXAMPLES / name for name in ("stress", "routing")}


@dataclass
class Live:
    """A console that answers, and a key of its account.

    `kind` says what it stands on: the embedded default over http; PostgreSQL, Redis and a
    bucket over http; the embedded default over https.
    """

    kind: str
    console: Console
    secret: str
    folder: Path

    @property
    def base(self) -> str:
        """Scheme, host and port."""
        return self.console.base

    @property
    def bucket(self) -> bool:
        """Whether files are in a bucket, whose own addresses are handed out."""
        return self.kind == "servers"

    def signs(self, url: str) -> bool:
        """Whether `url` is absolute, signed, and of this console or of its bucket.

        What is packed while it is read comes from the console, also where there is a bucket.
        """
        if url.startswith(f"{self.base}/tickets/"):
            return "signature=" in url
        return self.bucket and url.startswith("http") and "X-Amz-Signature=" in url

    @property
    def client(self) -> cloud.Client:
        """The SDK's client for this console."""
        return cloud.Client(api_key=self.secret, url=self.base)

    def application(self, application_id: str) -> cloud.Application:
        """An application of the console, as the SDK gets it."""
        return cloud.Application.get(client=self.client, id=application_id)

    def key(self, role: str) -> str:
        """Another key, with this role."""
        return make_key(self.console, role)

    def environment(self, **variables: str) -> dict[str, str]:
        """The environment of a program that uses the client: an empty home, endpoint and key."""
        trusted = {"REQUESTS_CA_BUNDLE": str(self.console.trust)} if self.kind == "tls" else {}
        return small_environment(self.folder / "home", **(trusted | variables))

    def sdk(self, script: Path, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a script that uses the SDK, told by the environment where to go."""
        return subprocess.run(
            [sys.executable, str(script), *words],
            env=self.environment(NEXTMV_API_KEY=self.secret, NEXTMV_ENDPOINT=self.base),
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=900,
        )

    def cli(
        self,
        *words: str,
        given: str | None = None,
        terminal: bool = False,
        limit_s: float = 300,
    ) -> subprocess.CompletedProcess[str]:
        """Run `nextmv` with a profile that was written for this console; only with TLS.

        `given` is what it reads from stdin; without it there is none, or a `terminal` at which
        nobody types.
        """
        if not (self.folder / "home" / ".nextmv" / "config.yaml").exists():
            host = self.base.partition("://")[2]
            made = self._nextmv(
                "configuration", "create", "--api-key", self.secret, "--endpoint", host
            )
            assert made.returncode == 0, made.stdout + made.stderr
        return self._nextmv(*words, given=given, terminal=terminal, limit_s=limit_s)

    def _nextmv(
        self,
        *words: str,
        given: str | None = None,
        terminal: bool = False,
        limit_s: float = 300,
    ) -> subprocess.CompletedProcess[str]:
        with contextlib.ExitStack() as stack:
            feed: dict[str, Any] = {"stdin": subprocess.DEVNULL}
            if terminal:
                ends = os.openpty()
                for end in ends:
                    stack.callback(os.close, end)
                feed = {"stdin": ends[1]}
            elif given is not None:
                feed = {"input": given}
            return subprocess.run(
                [str(Path(sys.executable).with_name("nextmv")), *words],
                env=self.environment(COLUMNS="200", NO_COLOR="1"),
                cwd=self.folder,
                **feed,
                capture_output=True,
                text=True,
                timeout=limit_s,
            )


def pushed(live: Live, application_id: str, folder: Path) -> cloud.Application:
    """A new application with what is in `folder`, pushed by the SDK."""
    application = cloud.Application.new(client=live.client, id=application_id)
    application.push(app_dir=str(folder))
    return application


def soon(limit_s: float = 120) -> nextmv.PollingOptions:
    """Ask five times a second; made anew, since the client changes them (contract 5.16)."""
    return nextmv.PollingOptions(
        initial_delay=0, delay=0.2, backoff=0, jitter=0, max_duration=limit_s
    )


def make_key(console: Console, role: str = "developer") -> str:
    """A new key of the console's account."""
    done = subprocess.run(
        [
            *(sys.executable, str(ROOT / "manage.py"), "createapikey"),
            *("--account", "demo", "--role", role, f"{role} of the tests"),
        ],
        env=console.environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


@contextlib.contextmanager
def living(kind: str, folder: Path) -> Iterator[Live]:
    """A console of this kind, ended whatever happens."""
    with contextlib.ExitStack() as stack:
        variables: dict[str, str] = {}
        if kind == "servers":
            variables["RUNSITE_DATABASE_URL"] = stack.enter_context(new_postgres_database())
            variables["RUNSITE_BROKER_URL"] = stack.enter_context(empty_redis())
            server = stack.enter_context(s3_server())
            variables |= server.variables(server.new_bucket())
        console = Console(
            folder / "console", applications=APPLICATIONS, tls=kind == "tls", **variables
        )
        stack.callback(console.end)
        console.start()
        live = Live(kind, console, make_key(console), folder)
        if kind == "tls":
            # The SDK in this process must trust it, too.
            before = os.environ.get("REQUESTS_CA_BUNDLE")
            os.environ["REQUESTS_CA_BUNDLE"] = str(console.trust)
            stack.callback(_restore, "REQUESTS_CA_BUNDLE", before)
        yield live


def _restore(name: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value


@pytest.fixture(scope="session")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """The embedded default over http."""
    with living("embedded", tmp_path_factory.mktemp("embedded")) as live:
        yield live


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """PostgreSQL, Redis and a bucket that clients send to and fetch from; over http."""
    with living("servers", tmp_path_factory.mktemp("servers")) as live:
        yield live


@pytest.fixture(scope="session")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """The embedded default over https, which the command line needs."""
    with living("tls", tmp_path_factory.mktemp("tls")) as live:
        yield live


@pytest.fixture(params=KINDS)
def live(request: pytest.FixtureRequest) -> Live:
    """Each kind of console in turn."""
    found: Live = request.getfixturevalue(request.param)
    return found


@pytest.fixture(scope="session", params=("embedded", "servers"))
def site(request: pytest.FixtureRequest) -> Live:
    """A console over http: on SQLite, then on PostgreSQL and Redis. The SDK is shown on both."""
    found: Live = request.getfixturevalue(request.param)
    return found


@pytest.fixture(scope="session")
def probe(site: Live) -> cloud.Application:
    """The application `probe` of `site`: pushed, and nothing else; runs of all tests are in it."""
    return pushed(site, "probe", PROBE)


@pytest.fixture(scope="session")
def folders(site: Live) -> cloud.Application:
    """The application `folders` of `site`: reads and writes folders, its options are strict."""
    return pushed(site, "folders", PROBE_FILES)


@pytest.fixture(scope="session")
def person(embedded: Live) -> Person:
    """The administrator in a browser; the printed link works once, so all share one."""
    return embedded.console.sign_in()
