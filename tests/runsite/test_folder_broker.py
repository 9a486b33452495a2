"""The broker in a folder: complete messages only, each taken once."""

from __future__ import annotations

import os
import threading
import time

import pytest
from kombu import Connection, Exchange, Queue
from kombu.transport import TRANSPORT_ALIASES

from runsite import folder_broker


@pytest.fixture
def connect(tmp_path):
    """Open connections to one broker; they are closed at the end."""
    TRANSPORT_ALIASES["folder"] = "runsite.folder_broker:Transport"
    options = {
        "data_folder_in": str(tmp_path / "messages"),
        "data_folder_out": str(tmp_path / "messages"),
        "control_folder": str(tmp_path / "control"),
        "polling_interval": 0.01,
    }
    opened = []

    def _connect():
        opened.append(Connection("folder://localhost//", transport_options=options))
        return opened[-1]

    yield _connect
    for connection in opened:
        connection.release()


def test_messages_arrive_in_order_and_leave_nothing_behind(connect, tmp_path):
    queue = connect().SimpleQueue("a.b")
    for number in range(5):
        queue.put(number)
    assert [queue.get(timeout=30).payload for _ in range(5)] == list(range(5))
    with pytest.raises(queue.Empty):
        queue.get(block=False)
    assert list((tmp_path / "messages").iterdir()) == []


def test_queues_do_not_mix(connect):
    one, other = (connect().SimpleQueue(name) for name in ("one", "other.one"))
    other.put("for the other")
    with pytest.raises(one.Empty):
        one.get(block=False)
    assert other.get(timeout=30).payload == "for the other"


def test_each_message_is_taken_once_by_many_readers(connect):
    count = 200
    sender = connect().SimpleQueue("busy")
    connect().SimpleQueue("busy").close()
    taken, errors = [], []

    def receive():
        queue = connect().SimpleQueue("busy")
        try:
            while len(taken) < count:
                try:
                    taken.append(queue.get(timeout=0.2).payload)
                except queue.Empty:
                    continue
        except Exception as error:
            errors.append(error)
            raise

    readers = [threading.Thread(target=receive, daemon=True) for _ in range(4)]
    for reader in readers:
        reader.start()
    for number in range(count):
        sender.put(number)
    for reader in readers:
        reader.join(60)
    assert errors == []
    assert sorted(taken) == list(range(count))


def test_bindings_made_at_once_are_all_kept(connect, tmp_path):
    exchange = Exchange("many", type="direct")
    names = [f"queue-{number}" for number in range(12)]

    def bind(name):
        with connect().channel() as channel:
            Queue(name, exchange, routing_key=name)(channel).declare()

    binders = [threading.Thread(target=bind, args=(name,)) for name in names]
    for binder in binders:
        binder.start()
    for binder in binders:
        binder.join(60)
    with connect().channel() as channel:
        assert sorted(row.queue for row in channel.get_table("many")) == sorted(names)


def test_a_damaged_message_is_dropped_and_the_next_one_read(connect, tmp_path):
    queue = connect().SimpleQueue("damaged")
    queue.put("first")
    queue.get(timeout=30)
    (tmp_path / "messages" / f"{0:020d}_x.damaged.msg").write_bytes(b"")
    queue.put("good")
    assert queue.get(timeout=30).payload == "good"
    with pytest.raises(queue.Empty):
        queue.get(block=False)
    assert list((tmp_path / "messages").iterdir()) == []


def test_what_killed_processes_left_is_swept_after_an_hour(tmp_path):
    old, young, message = (tmp_path / name for name in ("a.partial", "b.taken", "1_x.q.msg"))
    for path in (old, young, message):
        path.write_text("x")
    before = time.time() - 7200
    for path in (old, message):
        os.utime(path, (before, before))
    folder_broker.sweep(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [message.name, young.name]
    folder_broker.sweep(tmp_path / "missing")


def test_folders_and_messages_are_private(connect, tmp_path):
    # kombu remembers bindings for the whole process: each test has queues of its own
    connect().SimpleQueue("private").put("x")
    messages = tmp_path / "messages"
    assert messages.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in messages.iterdir()} == {0o600}
