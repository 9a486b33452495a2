"""Hosts that share nothing but database, broker and store: all that a run needs travels."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.journeys.consoles import (
    BUILD_LIMIT_S,
    EXAMPLES,
    FINAL,
    ROOT,
    RUN_LIMIT_S,
    Driver,
    Person,
    carriers,
    free_port,
    small_environment,
)
from tests.journeys.test_services import empty_redis
from tests.processes import until
from tests.s3_servers import S3Server, s3_server
from tests.services import new_postgres_database

pytestmark = pytest.mark.process

# Hides the folders named before `--` and becomes the rest of its words.
HIDE = (
    'while [ "$1" != -- ]; do mount -t tmpfs hidden "$1" || exit 1; shift; done; shift; exec "$@"'
)
LARGE = 20 * 1024 * 1024


class Host:
    """A host: a data directory and a home of its own, and its processes."""

    def __init__(self, folder: Path, name: str, shared: dict[str, str], **own: str) -> None:
        self.name = name
        self.folder = folder / name
        self.data_dir = self.folder / "data"
        self.environment = small_environment(
            self.folder / "home",
            RUNSITE_DATA_DIR=str(self.data_dir),
            # Workers sign nothing: no host needs the key of another.
            RUNSITE_SECRET_KEY=secrets.token_urlsafe(48),
            RUNSITE_WORKER_NAME=name,
            RUNSITE_HEARTBEAT_S="1",
            RUNSITE_LEASE_S="6",
            RUNSITE_REAP_S="1",
            RUNSITE_SLOTS="1",
            **shared,
            **own,
        )
        self.within: list[str] = []
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, command: str) -> subprocess.Popen[bytes]:
        """Start `manage.py COMMAND` here."""
        with (self.folder / f"{command}.txt").open("ab") as output:
            process = subprocess.Popen(
                [*self.within, sys.executable, str(ROOT / "manage.py"), command],
                env=self.environment,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    def end(self) -> None:
        """End its processes and those of its runs, in any state."""
        for process in self.processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # with the children of the web server
            process.wait(60)
        for pid in carriers(f"RUN_DIR={self.data_dir}/"):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    @property
    def said(self) -> str:
        """The end of what its processes printed."""
        paths = sorted(self.folder.glob("*.txt"))
        return "\n".join(f"{self.name} {path.name}: {path.read_text()[-3000:]}" for path in paths)


class Installation:
    """A web host with web process and scheduler, and two hosts for workers."""

    def __init__(self, folder: Path, shared: dict[str, str]) -> None:
        port = free_port()
        self.base = f"http://127.0.0.1:{port}"
        self.web = Host(folder, "web", shared, RUNSITE_PORT=str(port))
        self.one, self.two = Host(folder, "one", shared), Host(folder, "two", shared)
        self.hosts = (self.web, self.one, self.two)
        self.driver = Driver(self.web.environment)

    def open(self) -> Person:
        """Start the web host; the administrator, signed in."""
        self.driver.prepare()
        self.web.start("web")
        self.web.start("schedule")
        link = subprocess.run(
            [sys.executable, str(ROOT / "manage.py"), "signinlink", "admin@localhost"],
            env=self.web.environment,
            cwd=self.web.folder,
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        ).stdout.strip()
        person = Person(self.base)

        def answers() -> bool:
            with contextlib.suppress(OSError):
                return person.get("/readyz").status in {200, 503}
            return False

        until(answers, RUN_LIMIT_S)
        page = person.get(link)
        if "<form" in page.text and "sign-in" in page.url:
            page = person.post(page.url)
        assert page.status == 200, page.words
        return person

    def start_worker(self, host: Host) -> subprocess.Popen[bytes]:
        """Start a worker and wait until it is active."""
        process = host.start("worker")
        self.wait(
            lambda: (
                {"name": host.name, "state": "active"}
                in [{"name": one["name"], "state": one["state"]} for one in self.driver.workers()]
            )
        )
        return process

    def wait(self, condition: Callable[[], Any], limit_s: float = RUN_LIMIT_S) -> Any:
        """Wait for a condition; what the hosts said when it does not come."""
        try:
            return until(condition, limit_s)
        except AssertionError as error:
            raise AssertionError("\n".join([str(error), *(h.said for h in self.hosts)])) from None

    def wait_for(self, run_id: str, limit_s: float = BUILD_LIMIT_S) -> dict[str, Any]:
        """Everything about a run that succeeded."""
        self.wait(lambda: self.driver.statuses(run_ids=[run_id])[run_id] in FINAL, limit_s)
        found: dict[str, Any] = self.driver.look(run_id=run_id)
        assert (found["status"], found["warnings"]) == ("succeeded", []), (
            found,
            *(host.said for host in self.hosts),
        )
        return found

    def end(self) -> None:
        """End everything."""
        for host in self.hosts:
            host.end()
        self.driver.close()


@pytest.fixture
def apart(tmp_path: Path) -> Iterator[Installation]:
    """An installation on PostgreSQL, Redis and S3 whose hosts have no folder in common."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(s3_server())
        installation = Installation(
            tmp_path,
            {
                "RUNSITE_DATABASE_URL": stack.enter_context(new_postgres_database()),
                "RUNSITE_BROKER_URL": stack.enter_context(empty_redis()),
                **server.variables(server.new_bucket()),
            },
        )
        stack.callback(installation.end)
        yield installation


def test_everything_that_a_run_needs_travels_through_the_store(apart: Installation) -> None:
    person = apart.open()
    for name in ("knapsack", "routing", "forecast", "stress"):
        upload_application(person, name)
    first = apart.start_worker(apart.one)

    text = (EXAMPLES / "knapsack" / "input.json").read_bytes()
    run_id = launch(person, "knapsack", [("input.json", text)])
    found = apart.wait_for(run_id)
    assert found["value"] == 808
    assert download(person, f"/runs/{run_id}/input/files/0/") == digest(text)
    check_downloads(person, apart, found)

    files = {path.name: path.read_bytes() for path in (EXAMPLES / "forecast" / "inputs").iterdir()}
    files["more/large.bin"] = os.urandom(1024) * (LARGE // 1024)
    run_id = launch(person, "forecast", list(files.items()))
    found = apart.wait_for(run_id)
    check_downloads(person, apart, found)
    zipped = person.get(f"/runs/{run_id}/input/download/").data
    with zipfile.ZipFile(io.BytesIO(zipped)) as archive:
        assert {name: digest(archive.read(name)) for name in archive.namelist()} == {
            name: digest(data) for name, data in files.items()
        }
    zipped = person.get(f"/runs/{run_id}/output/download/").data
    with zipfile.ZipFile(io.BytesIO(zipped)) as archive:
        assert archive.testzip() is None
        solutions = [file for file in found["files"] if file["role"] == "solution"]
        assert sorted(archive.namelist()) == sorted(file["path"] for file in solutions)

    found = apart.wait_for(person.launch("routing", source="sample"))
    assert found["assets"]
    check_downloads(person, apart, found)

    run_id = person.launch(
        "stress", {"sleep": 15, "rate": 500, "line_length": 10000, "output_mb": 12}, source="sample"
    )
    watch_log(person, apart, run_id)
    apart.start_worker(apart.two)
    first.kill()
    first.wait(60)
    found = apart.wait_for(run_id)
    assert [one["worker_name"] for one in found["attempts"]] == ["one", "two"]
    assert found["output_bytes"] > 12 * 1024 * 1024
    check_downloads(person, apart, found)
    log = person.get(f"/runs/{run_id}/log/download/").data
    assert len(log) == found["log_bytes"]
    assert not carriers(f"RUN_DIR={apart.one.data_dir}/")

    again = apart.wait_for(launch(person, "knapsack", [("input.json", text)]))
    assert (again["value"], again["attempts"][0]["worker_name"]) == (808, "two")
    builds = apart.driver.builds()
    places = [(one["environment__key"], one["host"]) for one in builds]
    assert len(places) == len(set(places)), "an environment is built once on each host"
    assert len({host for _, host in places}) == 2
    assert {one["state"] for one in builds} <= {"ready", "waiting", "building"}, builds
    for host in apart.hosts:
        assert not (host.data_dir / "store").exists()
    for host in (apart.one, apart.two):
        assert not (host.data_dir / "static").exists()


# --- Networks of their own ----------------------------------------------------------------------


@pytest.fixture
def networks(tmp_path: Path) -> Iterator[tuple[Installation, str]]:
    """The same, each worker in a network and with a view of the disk of its own.

    The servers answer at one address beyond each worker's only cable.
    """
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("Network namespaces need root and the program `ip`.")
    number = secrets.randbelow(200) + 20
    mark = f"rs{secrets.token_hex(3)}"
    names = {"one": f"{mark}-1", "two": f"{mark}-2"}
    address = f"10.213.{number}.1"
    with contextlib.ExitStack() as stack:
        try:
            for position, namespace in enumerate(names.values()):
                stack.enter_context(cable(namespace, f"10.213.{number + position}"))
        except subprocess.CalledProcessError as error:
            pytest.skip(f"Network namespaces do not work here: {error.stderr.decode().strip()}")
        database, broker = (
            stack.enter_context(made()) for made in (new_postgres_database, empty_redis)
        )
        server = S3Server(host=address)
        stack.callback(server.stop)
        server.start()
        installation = Installation(
            tmp_path,
            {
                "RUNSITE_DATABASE_URL": stack.enter_context(relayed(database, address, 5432)),
                "RUNSITE_BROKER_URL": stack.enter_context(relayed(broker, address, 6379)),
                **server.variables(server.new_bucket()),
            },
        )
        stack.callback(installation.end)
        for host in (installation.one, installation.two):
            others = [str(each.folder) for each in installation.hosts if each is not host]
            namespace = ["ip", "netns", "exec", names[host.name]]
            host.within = [*namespace, "sh", "-c", HIDE, "sh", *others, "--"]
        yield installation, names["one"]


def test_workers_in_networks_of_their_own_reach_nothing_but_the_servers(
    networks: tuple[Installation, str],
) -> None:
    apart, namespace = networks
    port = int(urlsplit(apart.base).port or 0)
    reach = f"import socket; socket.create_connection(('127.0.0.1', {port}), 3)"
    person = apart.open()
    tried = subprocess.run(
        ["ip", "netns", "exec", namespace, sys.executable, "-c", reach],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "ConnectionRefusedError" in tried.stderr, "else it is no network of its own"

    upload_application(person, "stress")
    first = apart.start_worker(apart.one)
    run_id = person.launch(
        "stress", {"sleep": 10, "rate": 500, "line_length": 10000}, source="sample"
    )
    watch_log(person, apart, run_id)
    apart.start_worker(apart.two)
    first.kill()
    first.wait(60)
    found = apart.wait_for(run_id)
    assert [one["worker_name"] for one in found["attempts"]] == ["one", "two"]
    check_downloads(person, apart, found)


@contextlib.contextmanager
def cable(namespace: str, network: str) -> Iterator[None]:
    """A network namespace at `network`.2 whose only way out is this machine, `network`.1."""
    outside, inside = f"{namespace}o", f"{namespace}i"
    run("ip", "netns", "add", namespace)
    try:
        run("ip", "link", "add", outside, "type", "veth", "peer", "name", inside)
        run("ip", "link", "set", inside, "netns", namespace)
        run("ip", "address", "add", f"{network}.1/24", "dev", outside)
        run("ip", "link", "set", outside, "up")
        for words in (
            ("address", "add", f"{network}.2/24", "dev", inside),
            ("link", "set", inside, "up"),
            ("link", "set", "lo", "up"),
            ("route", "add", "default", "via", f"{network}.1"),
        ):
            run("ip", "-n", namespace, *words)
        yield
    finally:
        # The cable goes with the namespace, which the kernel may end a moment later.
        for words in (("link", "del", outside), ("netns", "del", namespace)):
            subprocess.run(["ip", *words], capture_output=True, timeout=30, check=False)


@contextlib.contextmanager
def relayed(url: str, address: str, usual_port: int) -> Iterator[str]:
    """`url` as it is reached at `address`, where we pass on what comes."""
    parts = urlsplit(url)
    target = (parts.hostname or "127.0.0.1", parts.port or usual_port)
    listener = socket.create_server((address, 0))

    def pump(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        for one in (source, sink):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = listener.accept()
                far = socket.create_connection(target)
                for pair in ((near, far), (far, near)):
                    threading.Thread(target=pump, args=pair, daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    login = f"{parts.netloc.rpartition('@')[0]}@" if "@" in parts.netloc else ""
    try:
        yield parts._replace(netloc=f"{login}{address}:{listener.getsockname()[1]}").geturl()
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def run(*command: str) -> None:
    subprocess.run(command, capture_output=True, timeout=30, check=True)


# --- What people do -----------------------------------------------------------------------------


def upload_application(person: Person, name: str) -> None:
    """Upload a sample app as an archive, as people do."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted((EXAMPLES / name).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                archive.write(path, path.relative_to(EXAMPLES / name))
    fields = dict(person.get("/applications/new/").form("application_id"))
    fields.pop("csrfmiddlewaretoken", None)
    page = person.post(
        "/applications/new/",
        {**fields, "name": name, "application_id": name},
        [("upload", f"{name}.zip", packed.getvalue())],
    )
    assert page.status == 200, page.words
    assert f"/applications/{name}/" in page.url, page.words


def launch(person: Person, application: str, files: list[tuple[str, bytes]]) -> str:
    """Launch with files of one's own; the id of the run."""
    path = f"/applications/{application}/launch/"
    fields: dict[str, Any] = dict(person.get(path).form("priority"))
    fields.pop("csrfmiddlewaretoken", None)
    fields |= {"source": "upload", "files_paths": json.dumps([name for name, _ in files])}
    page = person.post(path, fields, [("files", name, data) for name, data in files])
    assert page.status == 200, page.words
    assert "/runs/" in page.url, page.words
    return page.url.rstrip("/").rpartition("/")[2]


def watch_log(person: Person, apart: Installation, run_id: str) -> None:
    """Read from the web host what a run that goes on elsewhere has said, also its older parts."""

    def has_parts() -> bool:
        return any("/log-parts/" in key for key in apart.driver.objects(run_id=run_id))

    apart.wait(has_parts, BUILD_LIMIT_S)
    begin = person.get(f"/runs/{run_id}/log/download/?start=0&end=100000").data
    assert len(begin) == 100_000
    assert person.get(f"/runs/{run_id}/log/").status == 200
    assert apart.driver.statuses(run_ids=[run_id])[run_id] == "running"


def check_downloads(person: Person, apart: Installation, found: dict[str, Any]) -> None:
    """Every result file and asset comes from the web host as its worker has stored it."""
    base = f"/runs/{found['run_id']}"
    assert found["files"]
    for file in found["files"]:
        got = person.get(f"{base}/files/{file['role']}/{file['number']}/").data
        assert len(got) == file["size_bytes"]
        assert digest(got) == apart.driver.digest_of(key=file["key"])
        part = person.get_range(f"{base}/files/{file['role']}/{file['number']}/", 1, 5)
        assert part == got[1:6]
    for asset in found["assets"]:
        json.loads(person.get(f"{base}/assets/{asset['number']}/").data)


def download(person: Person, path: str) -> str:
    """The SHA-256 of what is at `path`."""
    page = person.get(path)
    assert page.status == 200, page.words
    return digest(page.data)


def digest(data: bytes) -> str:
    """The SHA-256 in hexadecimal."""
    return hashlib.sha256(data).hexdigest()
