"""Starts the console: one command for everything, or each process alone.

`serve` looks whether it can start before it makes anything, prepares what is missing, and then
becomes the process manager (`runsite.process_manager`), which keeps web and worker alive.
Django is loaded only where something has to be prepared: a second start must answer soon.
"""

from __future__ import annotations

import errno
import fcntl
import importlib
import os
import secrets
import shlex
import signal
import socket
import sys
import tempfile
import threading
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import NoReturn

from runsite import leftovers
from runsite.env import SettingError

BASE_DIR = Path(__file__).resolve().parent.parent
# Set in every process of a console; the next start finds by it what a killed one left behind.
MARK = "RUNSITE_CONSOLE_OF"
# Threads of the worker beside its slots: nudges and builds must not wait for a long run.
SPARE_THREADS = 2
STOP_WAIT_S = 13


class CannotStart(Exception):
    """The console cannot start; the message is the one line that people see."""


def serve() -> int:
    """Start everything in the foreground; returns the exit code, or becomes the manager."""
    os.umask(0o077)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        settings = _settings()
        _check_data_dir(settings.RUNSITE_DATA_DIR)
        lock = _lock_if_there(settings)
        if lock is not None:
            leftovers.end(f"{MARK}={settings.RUNSITE_DATA_DIR}", limit_s=5)
        _check_port(settings.RUNSITE_HOST, settings.RUNSITE_PORT)
        remarks = _check_tls(settings)
        _make_data_dir(settings)
        if lock is None:
            lock = _lock(settings)
        _make_secret_key(settings)
        _set_environment(settings)

        from runsite import preparation

        notes = preparation.prepare() + remarks + _prepare_tls(settings)
        _become_manager(settings, lock, notes)
    except KeyboardInterrupt:
        return 0
    except (CannotStart, SettingError) as error:
        print(f"runsite: {error}", file=sys.stderr)
        return 2


def web() -> NoReturn:
    """Become the web process, for installations on several hosts; `serve` is not needed then."""
    settings = _prepare_alone()
    from runsite import preparation

    _check_port(settings.RUNSITE_HOST, settings.RUNSITE_PORT)
    for remark in _check_tls(settings) + _prepare_tls(settings):
        print(f"runsite: {remark}", file=sys.stderr)
    preparation.collect_static_files()
    _become(web_words())


def worker() -> NoReturn:
    """Become a worker, for installations on several hosts."""
    _prepare_alone()
    _become(worker_words())


def schedule() -> None:
    """Run the scheduler in this process until SIGTERM or Ctrl-C."""
    settings = _prepare_alone()
    from runs.supervision.scheduler import Scheduler

    loop = Scheduler(name=f"scheduler {settings.RUNSITE_WORKER_NAME}", boot_id=secrets.token_hex(8))
    over = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: over.set())
    loop.start()
    over.wait()
    loop.stop()


def web_words() -> list[str]:
    """The command line of the web process."""
    settings = _settings()
    return [
        *(sys.executable, "-m", "granian", "--interface", "wsgi"),
        *("--host", settings.RUNSITE_HOST, "--port", str(settings.RUNSITE_PORT)),
        *("--workers", "1", "--blocking-threads", str(settings.RUNSITE_WEB_THREADS)),
        # Idle event streams would hold the process for ever.
        *("--workers-kill-timeout", "2s"),
        *("--http", "1", "--no-ws", "--log-level", "warning"),
        *_tls_words(settings),
        "runsite.wsgi:application",
    ]


def worker_words() -> list[str]:
    """The command line of a worker."""
    settings = _settings()
    queues = [f"runsite.{name}" for name in settings.RUNSITE_QUEUES] or ["runsite-all"]
    return [
        *(sys.executable, "-m", "celery", "--quiet", "--app", "runsite", "worker"),
        *("--pool", "threads", "--concurrency", str(settings.RUNSITE_SLOTS + SPARE_THREADS)),
        *("--hostname", f"{settings.RUNSITE_WORKER_NAME}@%h", "--queues", ",".join(queues)),
        *("--without-gossip", "--without-mingle", "--without-heartbeat"),
        *("--loglevel", "WARNING"),
    ]


def _settings() -> ModuleType:
    """The settings as a plain module: no need to load Django for a port number."""
    from runsite import settings

    return settings


# --- Checks before anything is made -----------------------------------------------------------


def _check_data_dir(folder: Path) -> None:
    """The data directory is one of ours to write in, or can be made; nothing is made here."""
    existing = folder
    while not existing.exists() and not existing.is_symlink() and existing != existing.parent:
        existing = existing.parent
    if not existing.is_dir():
        raise CannotStart(
            f"The data directory {folder} cannot be used: {existing} is not a folder. "
            "Set RUNSITE_DATA_DIR to a folder that you may write in."
        )
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise CannotStart(
            f"The data directory {folder} cannot be written: {error.strerror} in {existing}. "
            "Set RUNSITE_DATA_DIR to a folder that you may write in."
        ) from error


def _check_port(host: str, port: int) -> None:
    """Nobody listens there yet. granian sets SO_REUSEPORT and would share the port in silence."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise CannotStart(
            f"RUNSITE_HOST is {host!r}, which is no address: {error.strerror}. "
            "Set it to an address of this machine, as 127.0.0.1."
        ) from error
    family, kind, protocol, _, address = found[0]
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
            # Linux lets two sockets bind with SO_REUSEADDR until one listens.
            probe.listen(1)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise CannotStart(
                    f"Port {port} on {host} is taken by another program. "
                    f"Choose another: RUNSITE_PORT={_next_port(port)} ./script/server"
                ) from error
            raise CannotStart(
                f"Cannot listen on {host}, port {port}: {error.strerror}. "
                "Set RUNSITE_HOST and RUNSITE_PORT to what this user may listen on."
            ) from error


def _next_port(port: int) -> int:
    return port + 1 if port < 65535 else 8000


def _lock_if_there(settings: ModuleType) -> int | None:
    """The lock of a data directory that exists already; None for one still to be made."""
    return _lock(settings) if settings.RUNSITE_DATA_DIR.is_dir() else None


def _lock(settings: ModuleType) -> int:
    """Take the data directory for this console; the lock lives as long as the open file."""
    path = settings.RUNSITE_DATA_DIR / "console.lock"
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.read(handle, 300).decode(errors="replace").strip() or "another process"
        os.close(handle)
        raise CannotStart(
            f"A console already uses {settings.RUNSITE_DATA_DIR} ({owner}). Stop it first, "
            "or choose another directory and port: RUNSITE_DATA_DIR=… RUNSITE_PORT=… "
            "./script/server"
        ) from None
    os.ftruncate(handle, 0)
    os.pwrite(handle, f"process {os.getpid()}, {settings.RUNSITE_PUBLIC_URL}\n".encode(), 0)
    return handle


# --- What has to be there ---------------------------------------------------------------------


def _make_data_dir(settings: ModuleType) -> None:
    folder: Path = settings.RUNSITE_DATA_DIR
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
        for name in ("run", "tmp", "log"):
            (folder / name).mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise CannotStart(
            f"The data directory {folder} cannot be made: {error.strerror}. "
            "Set RUNSITE_DATA_DIR to a folder that you may write in."
        ) from error


def _make_secret_key(settings: ModuleType) -> None:
    """Keep a key in the data directory, unless there is one. The file appears whole or not."""
    if not settings.RUNSITE_SECRET_KEY_IS_TEMPORARY:
        return
    path: Path = settings.RUNSITE_SECRET_KEY_FILE
    partial = path.with_name(f"{path.name}.{os.getpid()}")
    handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(secrets.token_urlsafe(48) + "\n")
    partial.replace(path)
    # What was read before the file was there is of this process only.
    importlib.reload(settings)


def require_kept_key(settings: ModuleType) -> None:
    """Refuse to serve with a key that the other processes do not share."""
    if settings.RUNSITE_SECRET_KEY_IS_TEMPORARY:
        raise SettingError(
            "RUNSITE_SECRET_KEY is not set and the data directory holds no key. Give all "
            "processes of the installation the same key of at least 32 random characters, "
            "or start once with ./script/server, which makes one."
        )


# --- TLS: its library is loaded only where it is used -----------------------------------------


def _check_tls(settings: ModuleType) -> list[str]:
    """Refuse files that cannot be served; what people should know about them."""
    if settings.RUNSITE_TLS == "off":
        return []
    from runsite import tls

    return tls.check_given(settings, now=datetime.now(UTC))


def _prepare_tls(settings: ModuleType) -> list[str]:
    """Make the console's own certificate, where wanted; what people should know about it."""
    if settings.RUNSITE_TLS == "off":
        return []
    from runsite import tls

    return tls.prepare(settings, now=datetime.now(UTC))


def _tls_words(settings: ModuleType) -> list[str]:
    if settings.RUNSITE_TLS == "off":
        return []
    from runsite import tls

    return tls.server_words(settings)


def _set_environment(settings: ModuleType) -> None:
    """What every process that we become or start shall find."""
    os.environ["DJANGO_SETTINGS_MODULE"] = "runsite.settings"
    os.environ["RUNSITE_DATA_DIR"] = str(settings.RUNSITE_DATA_DIR)
    # What is moved out of the temporary folder into the store must not cross file systems.
    os.environ["TMPDIR"] = str(settings.RUNSITE_DATA_DIR / "tmp")
    tempfile.tempdir = None
    os.environ["PYTHONPATH"] = str(BASE_DIR)


def _prepare_alone() -> ModuleType:
    """Prepare what a process that was started alone needs."""
    os.umask(0o077)
    settings = _settings()
    try:
        _check_data_dir(settings.RUNSITE_DATA_DIR)
        _make_data_dir(settings)
        require_kept_key(settings)
    except CannotStart as error:
        raise SettingError(str(error)) from error
    _set_environment(settings)
    return settings


# --- Becoming another program -----------------------------------------------------------------


def _become(words: list[str]) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(words[0], words)


def _become_manager(settings: ModuleType, lock: int, notes: list[str]) -> NoReturn:
    """Write the manager's configuration, leave an announcer behind, and become the manager."""
    from runsite import announcer

    run: Path = settings.RUNSITE_DATA_DIR / "run"
    configuration = run / "manager.conf"
    configuration.write_text(_MANAGER)
    configuration.chmod(0o600)
    os.environ[MARK] = str(settings.RUNSITE_DATA_DIR)
    # Through the environment: no path can break the configuration's syntax.
    os.environ["RUNSITE_MANAGER_WEB"] = shlex.join(web_words())
    os.environ["RUNSITE_MANAGER_WORKER"] = shlex.join(worker_words())
    os.set_inheritable(lock, True)
    os.chdir(run)
    announcer.leave_behind(settings, notes, lock=lock)
    _become([sys.executable, "-m", "runsite.process_manager", "-c", configuration.name])


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


# One group: web and worker are stopped at the same time, not one after the other.
_MANAGER = f"""\
[supervisord]
nodaemon=true
silent=true
umask=077
minfds=256
minprocs=10
loglevel=info
identifier=runsite
logfile=../log/console.log
logfile_maxbytes=5MB
logfile_backups=2
childlogdir=.
pidfile=manager.pid
nocleanup=true

[group:runsite]
programs=web,worker

[program:web]
command=%(ENV_RUNSITE_MANAGER_WEB)s
autorestart=true
startsecs=1
startretries=1000
stopasgroup=true
killasgroup=true
stopwaitsecs=5
redirect_stderr=true
stdout_logfile=../log/web.log
stdout_logfile_maxbytes=5MB
stdout_logfile_backups=2

[program:worker]
command=%(ENV_RUNSITE_MANAGER_WORKER)s
environment=RUNSITE_WORKER_SCHEDULES="1",RUNSITE_DRAIN_LIMIT_S="0"
autorestart=true
startsecs=1
startretries=1000
stopasgroup=true
killasgroup=true
stopwaitsecs={STOP_WAIT_S}
redirect_stderr=true
stdout_logfile=../log/worker.log
stdout_logfile_maxbytes=5MB
stdout_logfile_backups=2
"""
