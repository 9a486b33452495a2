"""Every fault on demand: each run ends as it should, says why, and leaves nothing behind."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

import psutil
import pytest

from tests.journeys.consoles import assert_nothing_left, carriers
from tests.processes import until

pytestmark = pytest.mark.process

QUICK = {"sleep": 0.2, "rate": 10}


@dataclass(frozen=True)
class Ending:
    """How a run must have ended; `warning` is a part of one of its warnings."""

    status: str = "succeeded"
    reason: str = "exited"
    error: str = ""
    exit_code: int | None = 0
    signal: int | None = None
    kind: str = "json"
    warning: str = ""
    log: tuple[str, ...] = field(default=("leaving with code 0",))

    def check(self, found: dict[str, Any]) -> None:
        """Compare with what the tables say."""
        said = {name: found[name] for name in ("status", "end_reason", "error")}
        assert said == {"status": self.status, "end_reason": self.reason, "error": self.error}, (
            found["detail"],
            found["log"],
        )
        assert (found["exit_code"], found["signal"]) == (self.exit_code, self.signal)
        assert found["result_kind"] == self.kind
        assert bool(found["detail"]) == (self.status != "succeeded")
        if self.warning:
            assert self.warning in " ".join(found["warnings"])
        else:
            assert found["warnings"] == []
        for part in self.log:
            assert part in found["log"]
        last = found["attempts"][-1]
        assert (last["outcome"], last["exit_code"], last["signal"]) == (
            self.reason,
            self.exit_code,
            self.signal,
        )
        last_event = found["events"][-1]
        assert (last_event["after"], last_event["end_reason"]) == (self.status, self.reason)


def failed(reason: str, error: str, **more: Any) -> Ending:
    """A failed run that left no result."""
    return Ending(**{"status": "failed", "reason": reason, "error": error, "kind": "none", **more})


SIGNALS = {
    "abort": failed("signal", "killed by signal 6", exit_code=None, signal=6, log=()),
    "kill": failed("signal", "killed by signal 9", exit_code=None, signal=9, log=()),
}
RECIPES: dict[str, tuple[dict[str, Any], Ending]] = {
    "exit code": (
        {"exit_code": 7},
        failed("exit_code", "exit code 7", exit_code=7, kind="json", log=("leaving with code 7",)),
    ),
    "exception": (
        {"end": "exception"},
        failed(
            "exit_code", "exit code 1", exit_code=1, log=("Traceback", "RuntimeError: asked to")
        ),
    ),
    "abort": ({"end": "abort"}, SIGNALS["abort"]),
    "kill": ({"end": "kill"}, SIGNALS["kill"]),
    "silent": ({"end": "silent"}, Ending(kind="none")),
    "garbage": ({"end": "garbage"}, Ending(kind="unreadable", warning="line 1, column 1")),
    "truncated": (
        {"end": "truncated"},
        Ending(kind="unreadable", warning="not one JSON document ("),
    ),
    "list": ({"end": "list"}, Ending()),
    "nan": ({"end": "nan"}, Ending(warning="1 number in the result (NaN or infinity)")),
    "log_mixed": ({"end": "log_mixed"}, Ending(kind="unreadable", warning="line 1, column 1")),
    "bad_asset": ({"end": "bad_asset"}, Ending(warning="“hologram”")),
    "does not read its input": ({"read_stdin": False}, Ending()),
    "large file in the working directory": ({"files_mb": 300}, Ending()),
}


@pytest.mark.parametrize("recipe", RECIPES)
def test_each_recipe_ends_as_it_should(console, recipe):
    options, ending = RECIPES[recipe]
    found = console.make(options={**QUICK, **options}, data='{"items": [1, 2]}')
    ending.check(found)
    assert found["input_bytes"] == len('{"items": [1, 2]}')
    assert len(found["attempts"]) == 1
    assert found["ended"] == []
    stored = {file["role"]: file for file in found["files"]}
    assert found["output_bytes"] == (stored["stdout"]["size_bytes"] if "stdout" in stored else 0)
    assert_nothing_left(console, found)


def test_the_default_run_says_five_lines(console, person):
    run_id = person.launch("stress", {"sleep": 2})
    found = console.wait_for(run_id)
    Ending().check(found)
    lines = found["log"].splitlines()
    assert lines[0].startswith("pid=")
    assert lines[-1] == "leaving with code 0"
    assert [line[:11] for line in lines[1:-1]][:5] == [f"line {n:06d}" for n in range(1, 6)]
    assert found["attempts"][0]["log_lines"] == len(lines)
    assert found["log_bytes"] == len(found["log"])
    assert found["metrics"]["lines"] == len(lines) - 2


def test_what_cannot_be_read_is_kept_as_it_was_written(console):
    for end, expected in (("garbage", "this is not JSON\n"), ("list", "[1, 2, 3]\n")):
        found = console.make(options={**QUICK, "end": end})
        [stdout] = [file for file in found["files"] if file["role"] == "stdout"]
        assert console.driver.text_of(key=stdout["key"]) == expected
        assert found["output_bytes"] == len(expected)


def test_nan_becomes_null_beside_the_original(console):
    found = console.make(options={**QUICK, "end": "nan"})
    stored = {file["role"]: console.driver.text_of(key=file["key"]) for file in found["files"]}
    assert "NaN" in stored["stdout"]

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} in the cleaned result")

    assert json.loads(stored["cleaned"], parse_constant=refuse)["metrics"]["broken"] is None
    assert found["metrics"]["lines"] > 0


def test_pages_of_bad_assets_answer(console, person):
    found = console.make(options={**QUICK, "end": "bad_asset"})
    assert [asset["schema"] for asset in found["assets"]] == ["", "plotly", "geojson"]
    assert [asset["label"] for asset in found["assets"]][1:] == ["B/../C", "D"]
    page = person.get(f"/runs/{found['run_id']}/visuals/")
    assert page.status == 200
    for asset in found["assets"]:
        address = f"/runs/{found['run_id']}/assets/{asset['number']}/"
        assert person.get(address).status == 200
        if asset["schema"]:
            figure = person.get(f"{address}figure/")
            assert figure.status == 200
            assert "sandbox" in figure.headers["Content-Security-Policy"]
    assert_nothing_left(console, found)


# --- Logs -------------------------------------------------------------------------------------


@pytest.mark.parametrize("style", ["html", "ansi", "unicode", "binary", "unterminated"])
def test_a_log_of_any_style_is_kept_and_shown_without_harm(console, person, style):
    found = console.make(options={"sleep": 1, "rate": 20, "log_style": style})
    assert found["status"] == "succeeded"
    log = found["log"]
    page = person.get(f"/runs/{found['run_id']}/log/")
    assert page.status == 200
    assert "leaving with code 0" in page.words
    # As on a terminal, a carriage return lets what follows overwrite the line.
    assert ("line 000001" in page.words) == (style != "ansi")
    download = person.get(f"/runs/{found['run_id']}/log/download/")
    assert download.status == 200
    assert download.headers["Content-Type"].startswith("text/plain")
    assert download.data.decode("utf-8", "replace") == log
    if style == "html":
        assert "<script>alert('x')</script> <b>&amp;</b>" in log
        assert "<script>alert" not in page.text
        assert "<b>&amp;</b>" not in page.text
        assert "&lt;script&gt;alert" in page.text
    elif style == "ansi":
        assert "\x1b[31mline 000001" in log
        assert "\x1b" not in page.text
        assert "[31m" not in page.text
    elif style == "unicode":
        assert "päöü ελλ 日本語 🚚 \u202e " in log
        assert "日本語 🚚" in page.words
        assert "\u202e" not in page.text
    elif style == "binary":
        assert re.search("line 000001 t=[0-9.]+ \ufffd\ufffd\0\ufffd\n", log)
        assert "\0" not in page.text
        assert found["log_bytes"] < len(log.encode())  # a replaced byte takes three
    else:
        assert re.search(r"line 000001 [^\n]*line 000002 ", log)
        assert found["attempts"][0]["log_lines"] == log.count("\n")
    assert_nothing_left(console, found)


def test_a_flood_of_lines_is_kept_whole(console, person):
    found = console.make(options={"sleep": 2, "rate": -1})
    lines = int(found["metrics"]["lines"])
    assert found["status"] == "succeeded"
    assert lines > 1000
    assert found["attempts"][0]["log_lines"] == lines + 2
    ends = console.driver.log_ends(run_id=found["run_id"])
    assert ends["head"].startswith("pid=")
    assert f"line {lines:06d}" in ends["tail"]
    assert ends["tail"].endswith("leaving with code 0\n")
    assert found["log_bytes"] > lines * 60
    assert person.get(f"/runs/{found['run_id']}/log/").status == 200
    assert_nothing_left(console, found)


def test_a_very_long_line_is_kept_and_its_page_stays_small(console, person):
    found = console.make(options={"sleep": 1.2, "rate": 1, "line_length": 5_000_000})
    assert found["status"] == "succeeded"
    assert found["log_bytes"] > 5_000_000
    assert found["attempts"][0]["log_lines"] == int(found["metrics"]["lines"]) + 2
    page = person.get(f"/runs/{found['run_id']}/log/")
    assert page.status == 200
    assert len(page.data) < 2_000_000
    assert_nothing_left(console, found)


# --- Resources --------------------------------------------------------------------------------


def test_memory_of_the_tree_is_measured(console):
    # The recipe takes 1500 MiB; a small machine gets by with less.
    amount = min(1500, psutil.virtual_memory().available // 2**20 // 3)
    found = console.make(options={"sleep": 0.5, "memory_mb": amount}, enforce=False)
    assert found["status"] == "succeeded"
    assert found["peak_memory_bytes"] >= amount * 2**20
    assert f"allocated {amount} MiB" in found["log"]
    assert found["metrics"]["result.custom.memory_mb"] == amount
    assert_nothing_left(console, found)


def test_processor_time_of_the_tree_is_measured(console):
    found = console.make(options={"sleep": 3, "cpu": True, "rate": 1})
    assert found["status"] == "succeeded"
    # A busy machine gives it a small part of a core only.
    assert 0.1 < found["cpu_s"] < found["execution_s"] + 1
    samples = json.loads(console.driver.text_of(key=found["attempts"][0]["usage_key"]))
    assert samples[-1][0] > 0  # at_s
    assert max(sample[2] for sample in samples) > 2**20
    assert_nothing_left(console, found)


def test_a_large_result_is_streamed(console, person):
    found = console.make(options={"sleep": 0, "output_mb": 200})
    assert found["status"] == "succeeded"
    assert found["output_bytes"] > 200 * 2**20
    assert found["result_kind"] == "json"
    assert found["metrics"]["lines"] == 0
    page = person.get(f"/runs/{found['run_id']}/output/")
    assert page.status == 200
    assert len(page.data) < 3_000_000
    assert_nothing_left(console, found)


# --- Grandchildren ----------------------------------------------------------------------------


def grandchild_of(found: dict[str, Any]) -> int:
    """The process number that the app said."""
    match = re.search(r"grandchild pid=(\d+)", found["log"])
    assert match is not None, found["log"]
    return int(match[1])


@pytest.mark.parametrize("setsid", [False, True])
def test_a_grandchild_that_holds_the_pipes_is_ended(console, setsid):
    found = console.make(
        options={"sleep": 0, "grandchild": 600, "grandchild_setsid": setsid, "rate": 0}
    )
    Ending().check(found)
    assert [one["pid"] for one in found["ended"]] == [grandchild_of(found)]
    assert "held the output open" in found["ended"][0]["how"]
    assert found["execution_s"] < 300
    assert_nothing_left(console, found)


def test_a_grandchild_out_of_reach_of_a_group_signal_is_ended(console):
    found = console.make(
        options={
            "sleep": 0.2,
            "grandchild": 600,
            "grandchild_setsid": True,
            "grandchild_pipes": False,
        }
    )
    Ending().check(found)
    assert [one["pid"] for one in found["ended"]] == [grandchild_of(found)]
    assert_nothing_left(console, found)


# --- Cancel and time limit --------------------------------------------------------------------


CANCELED = Ending(
    status="canceled", reason="canceled", error="canceled by admin@localhost", kind="none", log=()
)


def check_canceled(found: dict[str, Any], *, exit_code: int | None, signal: int | None) -> None:
    """It was canceled by the administrator, and every step is in the history."""
    expected = Ending(**{**vars(CANCELED), "exit_code": exit_code, "signal": signal})
    expected.check(found)
    assert [event["kind"] for event in found["events"]] == [
        "submitted",
        "moved",
        "cancel requested",
        "moved",
    ]
    assert found["events"][2]["actor"] == "admin@localhost"


def test_a_run_that_never_ends_is_canceled(console, person):
    run_id = person.launch("stress", {"sleep": 86400})
    console.wait_until_executing(run_id)
    person.cancel(run_id)
    found = console.wait_for(run_id)
    check_canceled(found, exit_code=143, signal=None)
    assert "got signal 15" in found["log"]
    assert [one["signal"] for one in found["ended"]] == ["SIGTERM"]
    assert_nothing_left(console, found)


def test_two_that_resist_are_killed_after_the_grace_period(console, person):
    """The fourth point of the acceptance, and a run that only ignores SIGTERM beside it."""
    hidden = person.launch(
        "stress",
        {
            "sleep": 600,
            "ignore_sigterm": True,
            "grandchild": 600,
            "grandchild_setsid": True,
            "grandchild_pipes": False,
        },
    )
    plain = person.launch("stress", {"sleep": 600, "ignore_sigterm": True})
    for run_id in (hidden, plain):
        console.wait_until_executing(run_id)
    until(lambda: len(carriers(f"RUN_ID={hidden}")) == 2)
    for run_id in (hidden, plain):
        person.cancel(run_id)
    for run_id in (hidden, plain):
        found = console.wait_for(run_id)
        assert not carriers(f"RUN_ID={run_id}")
        check_canceled(found, exit_code=None, signal=9)
        assert "got signal 15" in found["log"]
        pid = int(found["log"].partition("pid=")[2].split()[0])
        expected = {pid: "SIGKILL"}
        if run_id == hidden:
            # The grandchild does not ignore SIGTERM.
            expected[grandchild_of(found)] = "SIGTERM"
        assert {one["pid"]: one["signal"] for one in found["ended"]} == expected
        page = person.get(f"/runs/{run_id}/history/")
        for number in expected:
            assert str(number) in page.words
        # The promise is the grace period (10 s) and 1 s; a busy machine may be late.
        assert 10 <= found["execution_s"] < 60
        assert_nothing_left(console, found)


def test_a_program_may_use_the_grace_period(console, person):
    run_id = person.launch("stress", {"sleep": 600, "term_delay": 1.5})
    console.wait_until_executing(run_id)
    person.cancel(run_id)
    found = console.wait_for(run_id)
    check_canceled(found, exit_code=143, signal=None)
    assert found["log"].endswith("got signal 15\nleaving after the delay\n")
    assert_nothing_left(console, found)


def test_a_time_limit_ends_a_run(console, person):
    run_id = person.launch("stress", {"sleep": 86400}, time_limit_s=3)
    found = console.wait_for(run_id)
    failed("timed_out", "time limit of 3 s", exit_code=143, log=("got signal 15",)).check(found)
    assert "raise the limit" in found["detail"]
    assert_nothing_left(console, found)
