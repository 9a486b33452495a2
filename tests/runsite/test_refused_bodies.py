"""A refused request is read to its end, within limits; others are left alone."""

from __future__ import annotations

import io
import threading

import pytest

from runsite import refused_bodies
from runsite.refused_bodies import ReadRefusedBodies

SIZE = 3_000_000


class Sent(io.BytesIO):
    """What a client sends; breaks where the test says."""

    def read(self, size=-1):
        data = super().read(size)
        if b"broken" in data:
            raise ConnectionResetError
        return data


def ask(status, body=b"x" * SIZE, taken=0, **environ):
    """Ask an application that reads `taken` bytes: what nobody has read, and the answer."""
    stream = Sent(body)

    def application(environ, start_response):
        environ["wsgi.input"].read(taken)
        start_response(status, [])
        return [b"words"]

    told = []
    found = {"CONTENT_LENGTH": str(len(body)), **environ, "wsgi.input": stream}
    answer = ReadRefusedBodies(application)(found, lambda *words: told.append(words))
    assert told == [(status, [])]
    return len(body) - stream.tell(), answer


@pytest.mark.parametrize("taken", [0, 1000, SIZE])
@pytest.mark.parametrize("status", ["400 Bad Request", "413 Too Large", "503 Busy"])
def test_a_refused_body_is_read_to_its_end(status, taken):
    assert ask(status, taken=taken) == (0, [b"words"])


def test_a_refused_body_without_a_length_is_read_to_its_end():
    left, _ = ask("411 Length", CONTENT_LENGTH="", HTTP_TRANSFER_ENCODING="chunked")
    assert left == 0


def test_what_was_accepted_is_left_alone():
    assert ask("200 OK", taken=10)[0] == SIZE - 10


def test_nothing_is_asked_of_a_sender_that_waits_for_a_word():
    assert ask("403 No", HTTP_EXPECT="100-continue")[0] == SIZE
    assert ask("403 No", HTTP_EXPECT="100-continue", taken=10)[0] == 0


def test_only_so_much_is_read_and_only_so_long(monkeypatch):
    monkeypatch.setattr(refused_bodies, "LIMIT_BYTES", 500_000)
    left, _ = ask("403 No")
    assert SIZE - 1_000_000 < left < SIZE - 400_000
    monkeypatch.setattr(refused_bodies, "LIMIT_S", 0.0)
    assert ask("403 No")[0] == SIZE


def test_senders_that_send_nothing_more_do_not_hold_everybody():
    stalled, over = threading.Semaphore(0), threading.Event()

    class Stalled(io.BytesIO):
        def read(self, size=-1):
            stalled.release()
            assert over.wait(20)
            return b""

    def refuse(environ, start_response):
        start_response("401 Unauthorized", [])
        return [b"words"]

    def ask_stalled():
        environ = {"CONTENT_LENGTH": "9", "wsgi.input": Stalled()}
        answers.append(application(environ, lambda *words: None))

    answers: list[object] = []
    application = ReadRefusedBodies(refuse, most_at_once=2)
    senders = [threading.Thread(target=ask_stalled) for _ in range(2)]
    for sender in senders:
        sender.start()
    for _ in senders:
        assert stalled.acquire(timeout=20)
    ask_stalled()  # has no room, so it is not listened to
    assert answers == [[b"words"]]
    over.set()
    for sender in senders:
        sender.join(20)
    assert answers == [[b"words"]] * 3
    ask_stalled()
    assert stalled.acquire(timeout=20)  # there is room again


def test_a_sender_that_goes_is_no_error():
    assert ask("403 No", body=b"x" * 1_000_000 + b"broken" + b"x" * 1_000_000)[1] == [b"words"]


def test_every_way_to_read_is_counted():
    stream = io.BytesIO(b"one\ntwo\nthree\nfour\nfive\n")
    body = refused_bodies._Body(stream)
    assert (body.read(2), body.readline()) == (b"on", b"e\n")
    assert next(iter(body)) == b"two\n"
    assert body.readlines() == [b"three\n", b"four\n", b"five\n"]
    assert body.taken_bytes == stream.tell() == len(stream.getvalue())
