"""Servers of the chaos test's own: PostgreSQL, Redis and RabbitMQ on free ports, to be killed."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from bench.chaos_members import SERVER_MARK, Member, as_user, free_port

if TYPE_CHECKING:
    from bench.chaos_site import Site

START_LIMIT_S = 180.0


class NoServer(Exception):
    """A server that was asked for cannot be started here; the message says why."""


def make_servers(site: Site) -> None:
    """Start what the installation needs, and tell it the addresses."""
    if site.wanted.database == "postgres":
        port = free_port()
        server = postgres(site.folder, site.key, port=port, address=site.host_address)
        site.beside.append(cluster_of(server))
        site.members["database"] = server
        site.env["RUNSITE_DATABASE_URL"] = f"postgresql://postgres@127.0.0.1:{port}/postgres"
        start_and_wait(server, port)
        wait_for_postgres(port)
    if site.wanted.broker == "redis":
        port = free_port()
        server = redis(site.folder, site.key, port=port, address=site.host_address)
        site.members["broker"] = server
        site.env["RUNSITE_BROKER_URL"] = f"redis://127.0.0.1:{port}/0"
        start_and_wait(server, port)
    if site.wanted.broker == "rabbitmq":
        port = free_port()
        server = rabbitmq(site.folder, site.key, port=port)
        site.members["broker"] = server
        site.env["RUNSITE_BROKER_URL"] = f"amqp://guest:guest@127.0.0.1:{port}//"
        start_and_wait(server, port)


def postgres(folder: Path, key: str, *, port: int, address: str = "127.0.0.1") -> Member:
    """A PostgreSQL server with an empty cluster; not started. It trusts everybody who reaches it.

    Raises `NoServer`. It refuses to run as root, so then it runs as the user `postgres`.
    """
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    found = str(programs[-1]) if programs else shutil.which("initdb")
    if not found:
        raise NoServer("PostgreSQL is not installed here (no initdb). Install postgresql.")
    user = "postgres" if os.geteuid() == 0 else None
    if user is not None:
        try:
            pwd.getpwnam(user)
        except KeyError:
            raise NoServer("PostgreSQL refuses root, and there is no user postgres.") from None
    # Beside the folder of the test, which only we may enter.
    cluster = Path(tempfile.mkdtemp(prefix=f"{key}-postgres-"))
    if user is not None:
        shutil.chown(cluster, user, user)
    made = subprocess.run(
        [found, "-D", str(cluster), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"],
        cwd="/",
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        **as_user(user),  # type: ignore[call-overload]
    )
    if made.returncode:
        shutil.rmtree(cluster, ignore_errors=True)
        raise NoServer(f"initdb failed: {made.stderr.strip()}")
    with (cluster / "pg_hba.conf").open("a") as rules:
        rules.write("host all all 10.213.0.0/16 trust\n")
    addresses = ",".join(dict.fromkeys(("127.0.0.1", address)))
    settings = {
        "listen_addresses": addresses,
        "unix_socket_directories": str(cluster),
        "max_connections": "300",
        # Killed is the process, never the machine: what was written stays in its cache.
        "fsync": "off",
        "shared_buffers": "64MB",
    }
    words = [str(Path(found).with_name("postgres")), "-D", str(cluster), "-p", str(port)]
    for name, value in settings.items():
        words += ["-c", f"{name}={value}"]
    env = {"PATH": os.defpath, "LANG": "C.UTF-8", SERVER_MARK: key}
    return Member("database", words, env, folder / "database.log", cwd=Path("/"), user=user)


def cluster_of(server: Member) -> Path:
    """The folder of a PostgreSQL server's data; its user cannot enter ours."""
    return Path(server.words[server.words.index("-D") + 1])


def redis(folder: Path, key: str, *, port: int, address: str = "127.0.0.1") -> Member:
    """A Redis server that keeps nothing on disk; not started. Raises `NoServer`."""
    program = shutil.which("redis-server")
    if program is None:
        raise NoServer("Redis is not installed here (no redis-server). Install redis-server.")
    addresses = list(dict.fromkeys(("127.0.0.1", address)))
    words = [program, "--port", str(port), "--bind", *addresses, "--protected-mode", "no"]
    words += ["--save", "", "--appendonly", "no", "--dir", str(folder)]
    env = {"PATH": os.defpath, SERVER_MARK: key}
    return Member("broker", words, env, folder / "broker.log", cwd=folder)


def rabbitmq(folder: Path, key: str, *, port: int) -> Member:
    """A RabbitMQ server with a node and a port of its own; not started. Raises `NoServer`."""
    found = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
    program = str(found) if found.exists() else shutil.which("rabbitmq-server")
    if program is None:
        raise NoServer("RabbitMQ is not installed here (no rabbitmq-server).")
    base = folder / "rabbitmq"
    base.mkdir(mode=0o700)
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(base),
        "LANG": "C.UTF-8",
        SERVER_MARK: key,
        "RABBITMQ_NODENAME": f"chaos{port}@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_DIST_PORT": str(free_port()),
        "RABBITMQ_MNESIA_BASE": str(base / "mnesia"),
        "RABBITMQ_LOG_BASE": str(base / "log"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(base / "plugins"),
        "RABBITMQ_CONFIG_FILE": str(base / "rabbitmq"),
        "ERL_EPMD_PORT": str(free_port()),
    }
    return Member("broker", [program], env, folder / "broker.log", cwd=base)


def start_and_wait(server: Member, port: int) -> None:
    """Start it, again if it must, until its port answers. Raises `NoServer`."""
    server.start()
    end = time.monotonic() + START_LIMIT_S
    while not answers(port):
        if time.monotonic() > end:
            said = server.log.read_text(errors="replace")[-2000:]
            raise NoServer(f"the {server.name} does not answer on port {port}:\n{said}")
        if not server.is_up():
            time.sleep(0.3)  # a killed one may still leave something behind for a moment
            server.start()
        time.sleep(0.05)  # a port says nothing when it opens; `end` bounds this


def answers(port: int) -> bool:
    """Whether somebody listens there."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 2):
        return True
    return False


def wait_for_postgres(port: int) -> None:
    """Wait until it takes connections: it listens a moment before it is ready."""
    import psycopg

    def ready() -> bool:
        with contextlib.suppress(psycopg.Error):
            psycopg.connect(f"postgresql://postgres@127.0.0.1:{port}/postgres").close()
            return True
        return False

    _until(ready)


def _until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + START_LIMIT_S
    while not condition():
        if time.monotonic() > end:
            raise NoServer("the server does not become ready")
        time.sleep(0.1)  # a server says nothing when it is ready; `end` bounds this


@contextlib.contextmanager
def server_of_own(made: Member, port: int) -> Iterator[Member]:
    """A server that is started, and is killed at the end whatever happens."""
    try:
        start_and_wait(made, port)
        yield made
    finally:
        for process in made.tree():
            with contextlib.suppress(Exception):
                process.kill()
        if made.process is not None:
            made.process.wait(20)
