"""What a program writes is moved, whatever becomes of the places it goes to."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from runs.execution.pump import Pump
from tests.execution.programs import Log
from tests.processes import until


class Pipes:
    """A pump with the ends that a program would write to."""

    def __init__(self, path: Path, **changes: Any) -> None:
        read_out, self.out = os.pipe()
        read_err, self.err = os.pipe()
        self.log = Log()
        values: dict[str, Any] = {"limit_bytes": 1_000_000, "stdout_is_log": False}
        self.pump = Pump(
            stdout=read_out, stderr=read_err, path=path, log=self.log, **values | changes
        )
        self.pump.start()

    def close(self) -> None:
        os.close(self.out)
        os.close(self.err)
        assert self.pump.finished.wait(60)
        self.pump.close()


def test_both_streams_reach_their_places(tmp_path: Path) -> None:
    pipes = Pipes(tmp_path / "stdout")
    os.write(pipes.out, b"result")
    os.write(pipes.err, b"log \xff\n")
    pipes.close()
    assert (tmp_path / "stdout").read_bytes() == b"result"
    assert pipes.pump.stdout_bytes == 6
    assert pipes.log.data == b"log \xff\n"


def test_an_unfinished_line_is_logged_a_little_later(tmp_path: Path) -> None:
    pipes = Pipes(tmp_path / "stdout", stdout_is_log=True)
    os.write(pipes.err, b"working")
    until(lambda: pipes.log.data == b"working")
    pipes.close()


def test_an_unfinished_line_of_stderr_alone_is_logged_at_once(tmp_path: Path) -> None:
    pipes = Pipes(tmp_path / "stdout")
    os.write(pipes.err, b"50 %\r")
    until(lambda: pipes.log.data == b"50 %\r")
    pipes.close()


def test_a_line_longer_than_any_buffer_is_not_held_back(tmp_path: Path) -> None:
    pipes = Pipes(tmp_path / "stdout", stdout_is_log=True)
    line = b"x" * 300_000
    left = line
    while left:
        left = left[os.write(pipes.out, left) :]
    pipes.close()
    assert pipes.log.data == line
    assert max(map(len, pipes.log.chunks)) < 200_000


def test_a_full_disk_is_told_and_reading_goes_on() -> None:
    pipes = Pipes(Path("/dev/full"))
    left = b"x" * 500_000
    while left:
        left = left[os.write(pipes.out, left) :]
    os.write(pipes.err, b"still here\n")
    pipes.close()
    assert "No space left" in pipes.pump.store_failure
    assert pipes.pump.dropped_bytes == 500_000
    assert pipes.log.data == b"still here\n"


def test_a_place_that_cannot_be_opened_is_told_and_reading_goes_on(tmp_path: Path) -> None:
    pipes = Pipes(tmp_path / "missing" / "stdout")
    os.write(pipes.out, b"x")
    os.write(pipes.err, b"still here\n")
    pipes.close()
    assert "No such file" in pipes.pump.store_failure
    assert pipes.log.data == b"still here\n"


def test_stopping_takes_what_is_in_the_pipes(tmp_path: Path) -> None:
    pipes = Pipes(tmp_path / "stdout")
    os.write(pipes.out, b"x" * 60_000)
    pipes.pump.stop()
    pipes.pump.close()
    assert (tmp_path / "stdout").stat().st_size == 60_000
    os.close(pipes.out)
    os.close(pipes.err)
