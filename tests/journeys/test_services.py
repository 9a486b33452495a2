"""Two workers on database and broker servers: every run is executed exactly once."""

from __future__ import annotations

import contextlib
import secrets
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.journeys.consoles import FINAL, ROOT, Driver, carriers, small_environment
from tests.journeys.tally import make_tally
from tests.processes import until
from tests.services import amqp_url, new_postgres_database, redis_url

pytestmark = pytest.mark.process

RUNS = 200
NAMES = ("one", "two")


@contextlib.contextmanager
def empty_redis() -> Iterator[str]:
    """The address of a database of the Redis server that nobody uses, emptied afterwards."""
    import redis

    for number in range(15, 0, -1):
        url = urlsplit(redis_url())._replace(path=f"/{number}").geturl()
        client = redis.Redis.from_url(url)
        if not client.set("runsite-test", "1", nx=True, ex=600):
            continue
        if client.dbsize() > 1:
            client.delete("runsite-test")
            continue
        try:
            yield url
            assert client.exists("_kombu.binding.runsite-all"), "it was not used"
        finally:
            client.flushdb()
            client.close()
        return
    raise AssertionError("every database of the Redis server holds something")


@contextlib.contextmanager
def rabbit() -> Iterator[str]:
    """The address of the RabbitMQ server; our queue is removed when no one else consumes it."""
    from kombu import Connection

    yield amqp_url()
    with Connection(amqp_url()) as connection, connection.channel() as channel:
        # Fails when nobody has declared the queue: then the broker was not used.
        channel.queue_declare("runsite-all", passive=True)
        with contextlib.suppress(connection.channel_errors):
            channel.queue_delete("runsite-all", if_unused=True)


@contextlib.contextmanager
def worker(name: str, environment: dict[str, str], folder: Path) -> Iterator[subprocess.Popen]:
    """`manage.py worker` under a name of its own."""
    with (folder / f"worker-{name}.txt").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "manage.py"), "worker"],
            env={**environment, "RUNSITE_WORKER_NAME": name},
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.wait(60)


@pytest.mark.parametrize("broker", [empty_redis, rabbit])
def test_two_workers_execute_every_run_exactly_once(tmp_path, broker):
    marks = tmp_path / "marks"
    marks.mkdir()
    data_dir = tmp_path / "data"
    data_dir.mkdir(mode=0o700)
    (data_dir / "secret_key").write_text(secrets.token_urlsafe(48))
    with contextlib.ExitStack() as stack:
        environment = small_environment(
            tmp_path / "home",
            RUNSITE_DATA_DIR=str(data_dir),
            RUNSITE_SLOTS="2",
            # All that tells these servers from the embedded ones.
            RUNSITE_DATABASE_URL=stack.enter_context(new_postgres_database()),
            RUNSITE_BROKER_URL=stack.enter_context(broker()),
        )
        driver = Driver(environment)
        stack.callback(driver.close)
        driver.prepare()
        driver.add_application(folder=str(make_tally(tmp_path / "tally")), application_id="tally")
        workers = [stack.enter_context(worker(name, environment, tmp_path)) for name in NAMES]
        until(
            lambda: (
                sorted(one["name"] for one in driver.workers() if one["state"] == "active")
                == sorted(NAMES)
            ),
            120,
        )
        run_ids = driver.submit(application="tally", options={"marks": str(marks)}, count=RUNS)
        until(lambda: set(driver.statuses(run_ids=run_ids).values()) <= FINAL, 240)

        assert Counter(driver.statuses(run_ids=run_ids).values()) == {"succeeded": RUNS}
        executed = Counter(mark.name.partition(".")[0] for mark in marks.iterdir())
        assert executed == dict.fromkeys(run_ids, 1)
        attempts = driver.attempts()
        assert Counter(one["run__run_id"] for one in attempts) == dict.fromkeys(run_ids, 1)
        assert {one["worker_name"] for one in attempts} == set(NAMES)
        assert {one["outcome"] for one in attempts} == {"exited"}

        for process in workers:
            process.send_signal(signal.SIGTERM)
        for process in workers:
            assert process.wait(60) == 0
        assert {one["state"] for one in driver.workers()} == {"stopped"}
        assert not carriers(f"RUN_DIR={data_dir}/")
        assert list(data_dir.glob("worker/*/runs/*")) == []
