"""Whole consoles for journey tests: real web and worker processes, and people who use them."""

from __future__ import annotations

import contextlib
import html
import http.client
import http.cookiejar
import json
import os
import random
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from runsite import leftovers
from tests.processes import is_running, until

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
FINAL = {"succeeded", "failed", "canceled"}

# Variables of the server, named like options of the sample apps: none may reach a run.
HOSTILE = {
    "OUTPUT": "/nonexistent/x",
    "DURATION": "zz",
    "N": "99",
    "VEHICLES": "zz",
    "HORIZON": "zz",
    "MAX_PER_GROUP": "zz",
    "SLEEP": "zz",
    "END": "kill",
}

START_LIMIT_S = 300.0
"""For a first start, which may install everything."""
RUN_LIMIT_S = 120.0
"""For things that take a second on an idle machine."""
BUILD_LIMIT_S = 400.0
"""For a run that waits until packages are downloaded and installed."""


def free_port() -> int:
    """A port on which nobody listens, out of the range from which the system takes its own."""
    while True:
        port = random.randrange(12000, 32000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def small_environment(home: Path, **variables: str) -> dict[str, str]:
    """The environment of a newcomer: a search path, an empty home, the package index."""
    home.mkdir(parents=True, exist_ok=True)
    handed = {
        name: value
        for name, value in os.environ.items()
        if name.startswith(("PIP_", "UV_"))
        or name.upper() in {"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"}
        or name in {"SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"}
    }
    for name in (".config/pip/pip.conf", ".pip/pip.conf"):
        if (Path.home() / name).is_file():
            # Where the packages come from is a matter of the machine, not of the newcomer.
            handed.setdefault("PIP_CONFIG_FILE", str(Path.home() / name))
    return {"PATH": os.environ["PATH"], "HOME": str(home), **handed, **variables}


def carriers(text: str) -> list[int]:
    """The processes of this machine whose environment holds `text`; zombies have ended."""
    wanted = os.fsencode(text)
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdecimal() or int(folder.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            if wanted in (folder / "environ").read_bytes() and is_running(int(folder.name)):
                found.append(int(folder.name))
    return found


class Driver:
    """Acts inside an installation: `driver.submit(application="stress")` and so on."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.journeys.driver"],
            env={
                **environment,
                "DJANGO_SETTINGS_MODULE": "runsite.settings",
                "PYTHONPATH": str(ROOT),
            },
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def act(**words: Any) -> Any:
            assert self.process.stdin is not None
            assert self.process.stdout is not None
            self.process.stdin.write(json.dumps({"do": name, **words}) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
            assert line, f"the driver ended while it did {name}"
            answer = json.loads(line)
            assert "error" not in answer, f"{name}: {answer['error']}"
            return answer["answer"]

        return act

    def close(self) -> None:
        """End it."""
        self.process.communicate(timeout=60)


class _Forms(HTMLParser):
    """Reads the forms of a page: each its action and its fields with their present values."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.forms: list[tuple[str, dict[str, list[str]]]] = []
        self._select: tuple[str, list[str], list[str]] | None = None
        self._area: tuple[str, list[str]] | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        words = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.forms.append((words.get("action", ""), {}))
        if not self.forms:
            return
        name, value = words.get("name", ""), words.get("value", "")
        if tag == "input" and name and "disabled" not in words:
            kind = words.get("type", "text")
            if kind in {"checkbox", "radio"}:
                if "checked" in words:
                    self._add(name, words.get("value", "on"))
            elif kind not in {"file", "submit", "button", "image", "reset"}:
                self._add(name, value)
        elif tag == "select":
            self._select = (name, [], [])
        elif tag == "option" and self._select is not None:
            self._select[1].append(value)
            if "selected" in words:
                self._select[2].append(value)
        elif tag == "textarea":
            self._area = (name, [])

    def handle_data(self, data: str) -> None:
        if self._area is not None:
            self._area[1].append(data)

    def handle_endtag(self, tag: str) -> None:
        if tag == "select" and self._select is not None:
            name, values, selected = self._select
            for value in selected or values[:1]:
                self._add(name, value)
            self._select = None
        elif tag == "textarea" and self._area is not None:
            self._add(self._area[0], "".join(self._area[1]).removeprefix("\n"))
            self._area = None

    def _add(self, name: str, value: str) -> None:
        if name:
            self.forms[-1][1].setdefault(name, []).append(value)


class Page:
    """An answer of the console: `status`, `text`, `data`, `headers`, `url`."""

    def __init__(self, answer: Any) -> None:
        self.status: int = answer.status
        self.headers = answer.headers
        self.url: str = answer.url
        self.data: bytes = answer.read()

    @property
    def text(self) -> str:
        """As text."""
        return self.data.decode("utf-8", "replace")

    def form(self, field: str) -> dict[str, list[str]]:
        """The fields of the form that has `field`, as a browser would send them."""
        reader = _Forms()
        reader.feed(self.text)
        for _action, fields in reader.forms:
            if field in fields:
                return fields
        raise AssertionError(f"no form with {field} on {self.url}: {self.words[:1000]}")

    @property
    def words(self) -> str:
        """What people read: no tags, one blank between words."""
        text = re.sub(r"(?s)<(script|style)\b.*?</\1>|<!--.*?-->|<[^>]+>", " ", self.text)
        return " ".join(html.unescape(text).split())


class Person:
    """A browser without JavaScript: keeps cookies, sends the token of forms, follows redirects."""

    def __init__(self, base: str, *, trusting: ssl.SSLContext | None = None) -> None:
        """At `base`; over TLS with what it trusts."""
        self.base = base
        self._cookies = http.cookiejar.CookieJar()
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}),
            urllib.request.HTTPCookieProcessor(self._cookies),
            urllib.request.HTTPSHandler(context=trusting),
        )

    def get(self, path: str) -> Page:
        """The page at `path`, whatever its status."""
        return self._open(urllib.request.Request(urllib.parse.urljoin(self.base, path)))

    def get_range(self, path: str, first: int, last: int) -> bytes:
        """The bytes `first` to `last`, both included, of a download."""
        words = {"Range": f"bytes={first}-{last}"}
        url = urllib.parse.urljoin(self.base, path)
        page = self._open(urllib.request.Request(url, headers=words))
        assert page.status == 206, page.words
        return page.data

    def post(
        self,
        path: str,
        fields: Mapping[str, object] | None = None,
        files: list[tuple[str, str, bytes]] | None = None,
    ) -> Page:
        """Send a form with its token; `files` are (field, file name, content)."""
        boundary = f"----form{random.getrandbits(64):016x}"
        parts = [("csrfmiddlewaretoken", None, self._token().encode())]
        for name, value in (fields or {}).items():
            values = value if isinstance(value, list | tuple) else [value]
            parts += [(name, None, str(each).encode()) for each in values]
        parts += [(field, name, data) for field, name, data in files or []]
        body = b""
        for field, name, data in parts:
            shown = f'; filename="{name}"' if name is not None else ""
            body += f'--{boundary}\r\nContent-Disposition: form-data; name="{field}"'.encode()
            body += f"{shown}\r\n\r\n".encode() + data + b"\r\n"
        body += f"--{boundary}--\r\n".encode()
        url = urllib.parse.urljoin(self.base, path)
        headers = {
            "Content-Type": f"multipart/form-data; boundary={boundary}",
            "Origin": self.base,
            "Referer": url,
        }
        return self._open(urllib.request.Request(url, body, headers))

    def fill_launch(
        self, application: str, options: Mapping[str, object] | None = None, **fields: object
    ) -> Page:
        """Fill in the launch form of an application and send it; the page that follows."""
        path = f"/applications/{application}/launch/"
        sent: dict[str, Any] = dict(self.get(path).form("priority"))
        sent.pop("csrfmiddlewaretoken", None)
        for name, value in (options or {}).items():
            assert f"b:{name}" in sent, f"the form has no option {name}: {sorted(sent)}"
            if value is False:
                sent.pop(f"o:{name}", None)
            else:
                sent[f"o:{name}"] = "true" if value is True else str(value)
        return self.post(path, {**sent, **fields})

    def launch(
        self, application: str, options: Mapping[str, object] | None = None, **fields: object
    ) -> str:
        """Launch a run from the form; its id."""
        page = self.fill_launch(application, options, **fields)
        found = re.search(r"/runs/([^/]+)/$", page.url)
        assert page.status == 200, page.words
        assert found is not None, f"{page.url}: {page.words}"
        return found[1]

    def cancel(self, run_id: str) -> None:
        """Press *Cancel* on the page of a run."""
        assert self.get(f"/runs/{run_id}/").status == 200
        page = self.post(f"/runs/{run_id}/cancel/")
        assert page.status == 200, page.words

    def _token(self) -> str:
        for cookie in self._cookies:
            if cookie.name.endswith("csrf"):
                return cookie.value or ""
        raise AssertionError("no page with a form was seen yet")

    def _open(self, request: urllib.request.Request) -> Page:
        try:
            with self._opener.open(request, timeout=60) as answer:
                return Page(answer)
        except urllib.error.HTTPError as answer:
            with answer:
                return Page(answer)


class Console:
    """One console with a data directory and a port of its own, as `./script/server` starts it."""

    def __init__(
        self,
        folder: Path,
        *,
        demo: bool = False,
        applications: Mapping[str, Path] | None = None,
        clone: Path | None = None,
        tls: bool = False,
        **variables: str,
    ) -> None:
        """Prepare it. Without `demo` it has no application but `applications`.

        With `clone` it is that checkout's `script/server` with its own data directory. With `tls`
        it is started with `--tls`; clients trust the list in the file `trust`.
        """
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.clone = clone
        self.data_dir = (clone or folder) / "data"
        self.port = free_port()
        self.tls = tls
        self.base = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self.environment = small_environment(
            folder / "home",
            RUNSITE_DATA_DIR=str(self.data_dir),
            RUNSITE_PORT=str(self.port),
            **{"RUNSITE_SLOTS": "2", **variables},
        )
        self.starts = 0
        self.driver = Driver(self.environment)
        if not demo:
            self.data_dir.mkdir(mode=0o700)
            self.driver.prepare()
            for application_id, source in (applications or {}).items():
                self.driver.add_application(folder=str(source), application_id=application_id)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start web and worker, and wait until it has said where to open it."""
        self.starts += 1
        output = self._output.open("wb")
        with output:
            self.process = subprocess.Popen(
                [
                    *(
                        [sys.executable, str(ROOT / "manage.py"), "serve"]
                        if self.clone is None
                        else [str(self.clone / "script" / "server")]
                    ),
                    *(["--tls"] if self.tls else []),
                ],
                env=self.environment
                if self.clone is None
                else {n: v for n, v in self.environment.items() if n != "RUNSITE_DATA_DIR"},
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            until(self._is_open, START_LIMIT_S)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.said}\n{self.logs}") from None

    @property
    def _output(self) -> Path:
        return self.folder / f"output-{self.starts}.txt"

    @property
    def said(self) -> str:
        """What it printed since its last start."""
        return self._output.read_text(errors="replace")

    @property
    def logs(self) -> str:
        """The end of what its processes logged, for messages of failed tests."""
        paths = sorted((self.data_dir / "log").glob("*.log"))
        return "\n".join(f"{path.name}: {path.read_text()[-3000:]}" for path in paths)

    def _is_open(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"it ended: {self.said}\n{self.logs}"
        wrong = [line for line in self.said.splitlines() if line.startswith("runsite: ")]
        # It says after a while that it is not ready; a slow machine may need more than that.
        assert not [line for line in wrong if "not ready after" not in line], self.said
        return "answers at" in self.said

    @property
    def trust(self) -> Path:
        """The list of authorities that a client of a console with TLS is told to trust."""
        return self.data_dir / "tls" / "trust.pem"

    def connection(self, timeout_s: float = 30) -> http.client.HTTPConnection:
        """A connection of its own, over TLS if the console serves it."""
        if not self.tls:
            return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout_s)
        return http.client.HTTPSConnection(
            "127.0.0.1", self.port, timeout=timeout_s, context=self.trusting
        )

    @property
    def trusting(self) -> ssl.SSLContext | None:
        """Trusts this console alone, as strictly as can be; None without TLS."""
        if not self.tls:
            return None
        context = ssl.create_default_context(cafile=self.data_dir / "tls" / "authority.pem")
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        return context

    @property
    def pids(self) -> list[int]:
        """The processes that belong to it; those of its runs are in `run_pids`."""
        return leftovers.marked(f"RUNSITE_CONSOLE_OF={self.data_dir}")

    @property
    def run_pids(self) -> list[int]:
        """The processes of runs of its workers."""
        return carriers(f"RUN_DIR={self.data_dir}/")

    @property
    def workspaces(self) -> list[Path]:
        """What workers keep for runs that go on."""
        return list(self.data_dir.glob("worker/*/runs/*"))

    def sign_in(self) -> Person:
        """A person who opened the printed link; it works once."""
        link = re.search(r"Sign in [^:]*: (http\S+)", self.said)
        assert link is not None, self.said
        person = Person(self.base, trusting=self.trusting)
        page = person.get(link[1])
        if "<form" in page.text and "sign-in" in page.url:
            page = person.post(page.url)
        assert page.status == 200, page.words
        assert "sign-in" not in page.url, page.words
        return person

    def submit(self, application: str = "stress", **words: Any) -> str:
        """Submit one run; its id."""
        [run_id] = self.driver.submit(application=application, **words)
        return str(run_id)

    def look(self, run_id: str) -> dict[str, Any]:
        """Everything that the tables say about a run."""
        found: dict[str, Any] = self.driver.look(run_id=run_id)
        return found

    def wait_for(self, run_id: str, *statuses: str, limit_s: float = RUN_LIMIT_S) -> dict[str, Any]:
        """Wait until a run has one of `statuses`, or has ended; everything about it then."""
        wanted = set(statuses) or FINAL
        try:
            until(lambda: self.driver.statuses(run_ids=[run_id])[run_id] in wanted | FINAL, limit_s)
        except AssertionError:
            raise AssertionError(f"{self.look(run_id)}\n{self.logs}") from None
        found = self.look(run_id)
        assert found["status"] in wanted, found
        return found

    def wait_until_executing(self, run_id: str) -> dict[str, Any]:
        """Wait until the program of a run has started and said its first line."""
        found: dict[str, Any] = {}

        def executes() -> bool:
            found.update(self.look(run_id))
            assert found["status"] in {"queued", "running"}, found
            return found["phase"] == "executing" and found["chunks"] > 0

        until(executes, RUN_LIMIT_S)
        return found

    def make(self, application: str = "stress", **words: Any) -> dict[str, Any]:
        """Submit one run and wait for its end."""
        return self.wait_for(self.submit(application, **words))

    def stop(self, number: signal.Signals = signal.SIGTERM) -> float:
        """Stop it as a person does; nothing of it may be alive. The seconds that took."""
        assert self.process is not None
        begin = time.monotonic()
        self.process.send_signal(number)
        code = self.process.wait(60)
        took_s = time.monotonic() - begin
        assert code == 0, f"{self.said}\n{self.logs}"
        assert "Stopped." in self.said
        assert not self.pids
        assert not self.run_pids
        self.process = None
        return took_s

    def end(self) -> None:
        """End whatever is left, in any state; for the end of a test."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(40)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(60)
        leftovers.end(f"RUNSITE_CONSOLE_OF={self.data_dir}", limit_s=5)
        for pid in self.run_pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.driver.close()


def is_ready(console: Console) -> bool:
    """Whether /readyz says yes."""
    connection = console.connection()
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


@contextlib.contextmanager
def serving(folder: Path, **words: Any) -> Iterator[Console]:
    """A console that was started, and is ended whatever happens."""
    console = Console(folder, **words)
    try:
        console.start()
        yield console
    finally:
        console.end()


def assert_nothing_left(console: Console, found: dict[str, Any]) -> None:
    """Nothing of an ended run lives, and nothing half lies about: rows, objects, workspace."""
    run_id = found["run_id"]
    assert not carriers(f"RUN_ID={run_id}")
    assert found["ended_at"]
    assert found["token"] == ""
    assert all(attempt["ended_at"] for attempt in found["attempts"])
    # The page may show the end a moment before the workspace is removed.
    until(lambda: not [path for path in console.workspaces if path.name.startswith(run_id)])
    known = {row["key"] for row in found["files"] + found["assets"]}
    for attempt in found["attempts"]:
        known |= {attempt["log_key"], attempt["log_key"] and f"{attempt['log_key']}-index"}
        known.add(attempt["usage_key"])
    until(lambda: set(console.driver.objects(run_id=run_id)) == known - {""})
    until(lambda: console.look(run_id)["chunks"] == 0)
