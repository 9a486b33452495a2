"""The auditor of the chaos test: reads database, store and /proc, and believes nobody.

It asks the tables in SQL and reads the objects byte by byte; of the product's code it uses the
table of moves, which is what it holds the history against, and the store's reader.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.chaos_apps import DISK_FULL, MOST_KEYED, Wish

MOST_SHOWN = 12


@dataclass
class Ledger:
    """What the audit found: figures, and everything that is wrong, in words."""

    figures: dict[str, Any] = field(default_factory=dict)
    wrong: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    right: int = 0

    def blame(self, what: str, words: str) -> None:
        """Something is wrong."""
        self.wrong[what].append(words)

    def lines(self) -> list[str]:
        """The ledger for people."""
        found = [f"{name}: {value}" for name, value in self.figures.items()]
        for what, cases in sorted(self.wrong.items()):
            found.append(f"WRONG: {what}: {len(cases)}")
            found += [f"    {words}" for words in cases[:MOST_SHOWN]]
        if not self.wrong:
            found.append("Nothing is wrong.")
        return found


@dataclass
class Asked:
    """Ids of the runs of which somebody wanted something while they went on."""

    canceled: set[str] = field(default_factory=set)
    stopped: set[str] = field(default_factory=set)


@dataclass
class Case:
    """One run, as its tables show it."""

    run: dict[str, Any]
    wish: Wish | None = None
    events: list[dict[str, Any]] = field(default_factory=list)
    attempts: list[dict[str, Any]] = field(default_factory=list)
    files: list[dict[str, Any]] = field(default_factory=list)

    @property
    def words(self) -> str:
        """The run, to be found again."""
        run = self.run
        kind = self.wish.kind.name if self.wish else "?"
        return (
            f"{run['run_id']} ({kind}): {run['status']} {run['end_reason']},"
            f" attempts {[a['outcome'] or 'open' for a in self.attempts]}"
        )


def read_cases(wishes: dict[str, Wish]) -> list[Case]:
    """Every run there is, with all that belongs to it."""
    cases = {row["id"]: Case(row, wishes.get(row["name"])) for row in rows("runs_run")}
    for table, name in (
        ("runs_runevent", "events"),
        ("runs_attempt", "attempts"),
        ("runs_runfile", "files"),
    ):
        for row in rows(table):
            getattr(cases[row["run_id"]], name).append(row)
    return list(cases.values())


def audit(
    *,
    wishes: dict[str, Wish],
    asked: Asked,
    marks: Path,
    most_attempts: int,
    small_disk: str,
) -> Ledger:
    """Look at everything that database and store say of the runs.

    `small_disk` is the worker whose disk was filled.
    """
    ledger = Ledger()
    cases = read_cases(wishes)
    executions = _executions(marks)
    names = Counter(case.run["name"] for case in cases)
    for name in wishes:
        if names[name] != 1:
            ledger.blame("submitted runs that are not there once", f"{name}: {names[name]} times")
    for case in cases:
        for attempt in case.attempts:
            if attempt["error"].startswith("disk of worker"):
                _count_one(ledger, "attempts given back for a full disk")
        before = sum(len(found) for found in ledger.wrong.values())
        _check_status(case, ledger, asked, most_attempts, small_disk)
        _check_history(case, ledger)
        _check_attempts(case, ledger)
        _check_executions(case, ledger, executions.get(case.run["run_id"], []), small_disk)
        _check_files(case, ledger, executions.get(case.run["run_id"], []))
        _check_log(case, ledger, small_disk)
        ledger.right += sum(len(found) for found in ledger.wrong.values()) == before
    _count(cases, executions, ledger, wishes)
    _check_waits(cases, ledger)
    _check_key(cases, ledger)
    _check_rest(ledger)
    return ledger


# --- one run ------------------------------------------------------------------------------------


def _check_status(
    case: Case, ledger: Ledger, asked: Asked, most_attempts: int, small_disk: str
) -> None:
    """It is final, and ended in a way that its kind and what was done to it allow."""
    from runs.domain.status import FINAL, Status

    run = case.run
    if Status(run["status"]) not in FINAL:
        ledger.blame("runs that are not final", case.words)
        return
    if run["ended_at"] is None or run["token"] or run["phase"]:
        ledger.blame("final runs with leftovers of a running one", case.words)
    if case.wish is None:
        ledger.blame("runs that nobody submitted", case.words)
        return
    ended = (run["status"], run["end_reason"])
    allowed = {(case.wish.kind.status, case.wish.kind.reason)}
    if run["run_id"] in asked.canceled:
        allowed.add(("canceled", "canceled"))
    if run["run_id"] in asked.stopped:
        allowed |= {("succeeded", "stopped_early"), ("failed", "no_result")}
    if case.wish.wait_policy == "fail":
        allowed |= {("failed", "wait_failed")} if case.wish.waits_for else set()
    if case.wish.wait_policy == "skip":
        allowed |= {("canceled", "skipped")} if case.wish.waits_for else set()
    if len(case.attempts) >= most_attempts:
        allowed |= {("failed", "worker_lost"), ("failed", "worker_stopped")}
    if ended in allowed:
        return
    if small_disk and case.attempts and case.attempts[-1]["worker_name"] == small_disk:
        # What an app finds full is its own to tell; what the worker finds full it gives back, and
        # the run ends so (worker stopped) only with its last attempt, which is allowed above.
        full = ended == ("failed", "exit_code") and run["exit_code"] == DISK_FULL
        if full or (run["status"] == "failed" and "No space left" in run["error"]):
            _count_one(ledger, "ended by the full disk")
            return
    ledger.blame(
        "runs that ended otherwise than they should",
        f"{case.words}, exit code {run['exit_code']}, {run['error']!r} {run['detail']!r}",
    )


def _check_history(case: Case, ledger: Ledger) -> None:
    """Each event begins where the one before ended, is a legal move, and the last is the status."""
    from runs.domain.status import MOVES, Status

    moved = [event for event in case.events if event["before"] or event["after"]]
    at = ""
    for event in moved:
        if event["before"] != at:
            ledger.blame("histories with a gap", f"{case.words}: {_history(moved)}")
            return
        if at and Status(event["after"]) not in MOVES[Status(at)]:
            ledger.blame("moves that are not allowed", f"{case.words}: {_history(moved)}")
        at = event["after"]
    if at != case.run["status"]:
        ledger.blame("histories that end elsewhere", f"{case.words}: {_history(moved)}")
    if moved and moved[-1]["end_reason"] != case.run["end_reason"]:
        ledger.blame("end reasons that the history does not know", case.words)
    if not moved or moved[0]["after"] != "queued":
        ledger.blame("histories without a beginning", f"{case.words}: {_history(moved)}")
    ends = [event for event in moved if event["after"] in {"succeeded", "failed", "canceled"}]
    if len(ends) > 1:
        ledger.blame("runs that were finished twice", f"{case.words}: {_history(moved)}")


def _check_attempts(case: Case, ledger: Ledger) -> None:
    """One attempt for each claim; all closed; at most the last one is that of the result."""
    attempts, run = case.attempts, case.run
    if [attempt["number"] for attempt in attempts] != list(range(1, len(attempts) + 1)):
        ledger.blame("attempts that are not numbered", case.words)
    if run["attempt_number"] != len(attempts):
        ledger.blame("attempts and runs that disagree", case.words)
    claims = [e for e in case.events if (e["before"], e["after"]) == ("queued", "running")]
    if len(claims) != len(attempts):
        ledger.blame("claims without an attempt", f"{case.words}: {len(claims)} claims")
    if any(attempt["ended_at"] is None for attempt in attempts):
        ledger.blame("attempts that are still open", case.words)
    lost = {"worker_lost", "worker_stopped"}
    if case.wish and case.wish.kind.name == "retried":
        lost |= {"exit_code"}  # its rule says so
    if any(attempt["outcome"] not in lost for attempt in attempts[:-1]):
        ledger.blame("runs with two results", case.words)
    if attempts and run["status"] == "succeeded" and attempts[-1]["outcome"] != run["end_reason"]:
        ledger.blame("attempts and runs that disagree", case.words)


def _check_executions(
    case: Case, ledger: Ledger, executed: list[tuple[int, str]], small_disk: str
) -> None:
    """No attempt was executed twice; one whose program ended by itself was executed."""
    numbers = Counter(number for number, _ in executed)
    known = {attempt["number"] for attempt in case.attempts}
    for number, count in numbers.items():
        if count > 1:
            ledger.blame("attempts that were executed twice", f"{case.words}: {number}")
        if number not in known:
            ledger.blame("executions without an attempt", f"{case.words}: {number}")
    if case.run["status"] == "succeeded" and not numbers[len(case.attempts)]:
        ledger.blame("results without an execution", case.words)


def _check_files(case: Case, ledger: Ledger, executed: list[tuple[int, str]]) -> None:
    """What is stored is whole, of the last attempt, and what that execution made."""
    run, count = case.run, len(case.attempts)
    mark = dict(executed).get(count)
    roles = Counter(row["role"] for row in case.files)
    if run["status"] == "succeeded" and case.wish is not None:
        wanted = {"solution": 5} if case.wish.kind.name == "files" else {"stdout": 1}
        if any(roles[role] != number for role, number in wanted.items()):
            ledger.blame("results that are not whole", f"{case.words}: {dict(roles)}")
    for row in case.files:
        if f"runs/{run['run_id']}/{count}/" not in row["key"]:
            ledger.blame("files of another attempt", f"{case.words}: {row['key']}")
        data = _object(row["key"])
        if data is None:
            ledger.blame("files that are not in the store", f"{case.words}: {row['key']}")
            continue
        if len(data) != row["size_bytes"]:
            ledger.blame(
                "files with another size", f"{case.words}: {len(data)} of {row['size_bytes']}"
            )
        if run["status"] == "succeeded":
            problem = _content_problem(row, data, mark)
            if problem:
                ledger.blame("files with another content", f"{case.words}: {row['key']} {problem}")


def _content_problem(row: dict[str, Any], data: bytes, mark: str | None) -> str:
    if row["role"] == "stdout":
        try:
            said = json.loads(data)
        except ValueError as error:
            return str(error)
        if hashlib.sha256(said["body"].encode()).hexdigest() != said["sha256"]:
            return "its checksum is wrong"
        return "" if said["mark"] == mark else "it is of another execution"
    if row["role"] == "solution" and row["path"].endswith("mark.txt"):
        return "" if data.decode() == mark else "it is of another execution"
    if row["role"] == "solution":
        digest, _, body = data.partition(b"\n")
        if hashlib.sha256(body).hexdigest().encode() != digest:
            return "its checksum is wrong"
    return ""


_LINE = re.compile(rb"(\d{7}) (\S+) (\d+) [0-9a-f]{32}")


def _check_log(case: Case, ledger: Ledger, small_disk: str) -> None:
    """The log of each attempt is one object of the size that is noted, and no line is missing.

    The log of a lost attempt may end early: it holds the lines up to there.
    """
    for attempt in case.attempts:
        words = f"{case.words}: attempt {attempt['number']}"
        key = attempt["log_key"]
        if not key:
            if attempt["log_bytes"]:
                ledger.blame("logs that are gone", words)
            continue
        data = _object(key)
        if data is None:
            ledger.blame("logs that are not in the store", words)
            continue
        if len(data) != attempt["log_bytes"] - attempt["log_cut_bytes"]:
            ledger.blame(
                "logs with another size",
                f"{words}: {len(data)} of {attempt['log_bytes']} - {attempt['log_cut_bytes']}",
            )
        lines = [line for line in data.split(b"\n") if _LINE.fullmatch(line)]
        numbers = [int(line[:7]) for line in lines]
        on_small_disk = bool(small_disk) and attempt["worker_name"] == small_disk
        whole = attempt["outcome"] == "exited" and case.wish is not None
        if attempt["log_cut_bytes"] and whole and not on_small_disk:
            ledger.blame("logs with a hole", words)
        elif numbers != list(range(len(numbers))) and not attempt["log_cut_bytes"]:
            ledger.blame("logs with lines missing or doubled", f"{words}: {_gap(numbers)}")
        elif whole and case.wish and len(numbers) != case.wish.lines and not on_small_disk:
            ledger.blame(
                "logs that are not whole", f"{words}: {len(numbers)} of {case.wish.lines} lines"
            )


# --- everything together --------------------------------------------------------------------------


def _count(
    cases: list[Case],
    executions: dict[str, list[tuple[int, str]]],
    ledger: Ledger,
    wishes: dict[str, Wish],
) -> None:
    ended = Counter(f"{case.run['status']} ({case.run['end_reason']})" for case in cases)
    outcomes = Counter(a["outcome"] for case in cases for a in case.attempts)
    made = Counter(len(case.attempts) for case in cases)
    doubled = {run: len(found) for run, found in executions.items() if len(found) > 1}
    ledger.figures = {
        "submitted": len(wishes),
        "found": len(cases),
        "ended": ", ".join(f"{count} {words}" for words, count in ended.most_common()),
        "attempts": sum(outcomes.values()),
        "outcomes of attempts": ", ".join(f"{c} {w}" for w, c in outcomes.most_common()),
        "attempts of a run": ", ".join(f"{n}: {c} runs" for n, c in sorted(made.items())),
        "executions": sum(len(found) for found in executions.values()),
        "executed more than once": f"{len(doubled)} runs, {sum(doubled.values())} executions",
        **ledger.figures,
    }


def _check_waits(cases: list[Case], ledger: Ledger) -> None:
    """Nothing waits any more; who waited by a policy ended as it says."""
    by_key = {case.run["id"]: case for case in cases}
    awaited: dict[int, list[str]] = defaultdict(list)
    for row in rows("runs_runwait"):
        awaited[row["run_id"]].append(by_key[row["awaited_id"]].run["status"])
        if row["open"] or row["outcome"] != by_key[row["awaited_id"]].run["status"]:
            ledger.blame("waits that are open", by_key[row["run_id"]].words)
    for case in cases:
        run, before = case.run, awaited[case.run["id"]]
        if case.wish and len(case.wish.waits_for) != len(before):
            ledger.blame("waits that got lost", case.words)
        if run["hold"]:
            ledger.blame("final runs that are held", f"{case.words}: {run['hold']}")
        good = all(status == "succeeded" for status in before)
        if run["end_reason"] in {"wait_failed", "skipped"} and (good or case.attempts):
            ledger.blame("runs that did not wait as they should", f"{case.words}: {before}")
        if before and not good and case.attempts and run["wait_policy"] != "continue":
            ledger.blame("runs that did not wait as they should", f"{case.words}: {before}")


def _check_key(cases: list[Case], ledger: Ledger) -> None:
    """Never did more runs of one key run at once than allowed."""
    keyed = [case for case in cases if case.run["concurrency_key"]]
    events = sorted(
        (event["id"], (event["after"] == "running") - (event["before"] == "running"))
        for case in keyed
        for event in case.events
    )
    at_once = most = 0
    for _, step in events:
        at_once += step
        most = max(most, at_once)
    ledger.figures["at once with one key"] = f"{most} of {MOST_KEYED}"
    if most > MOST_KEYED:
        ledger.blame("too many runs at once with one key", f"{most} of {MOST_KEYED}")


def _check_rest(ledger: Ledger) -> None:
    """What lies about when nothing runs: slots, open rows, objects that nothing knows."""
    workers = rows("runs_worker")
    ledger.figures["workers"] = ", ".join(f"{w['name']} {w['state']}" for w in workers)
    for worker in workers:
        if worker["state"] in {"active", "draining"} and worker["slots_used"]:
            ledger.blame("slots that leaked", f"{worker['name']}: {worker['slots_used']} used")
    chunks = _number("SELECT count(*) FROM runs_logchunk")
    if chunks:
        ledger.blame("rows of logs that nobody joined", f"{chunks} rows")
    tokens = [row["token"] for row in rows("runs_attempt")]
    if len(set(tokens)) != len(tokens):
        ledger.blame("tokens given twice", f"{len(tokens) - len(set(tokens))}")
    known = {row["key"] for table in ("runs_runfile", "runs_asset") for row in rows(table)}
    for attempt in rows("runs_attempt"):
        known |= {attempt["usage_key"], attempt["log_key"], f"{attempt['log_key']}-index"}
    from runs.storage import object_store

    stray = [key for key in object_store().list("runs/") if key not in known]
    kinds = Counter(re.sub(r"^runs/[^/]+/\d+/", "", key).split("/")[0] for key in stray)
    ledger.figures["objects of attempts that did not count"] = (
        ", ".join(f"{count} {kind}" for kind, count in kinds.most_common()) or 0
    )


def _executions(marks: Path) -> dict[str, list[tuple[int, str]]]:
    """Run id → (attempt, uuid) of every execution, as the programs themselves noted them."""
    found: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for line in marks.read_text().splitlines():
        run, attempt, mark = line.split()
        found[run].append((int(attempt), mark))
    return found


def rows(table: str) -> list[dict[str, Any]]:
    """Every row of a table."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(f"SELECT * FROM {table} ORDER BY id")
        names = [column[0] for column in cursor.description or ()]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def _number(question: str) -> int:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(question)
        return int(cursor.fetchone()[0])


def _object(key: str) -> bytes | None:
    from runs.storage import ObjectMissing, object_store

    try:
        with object_store().open(key) as stream:
            return stream.read()
    except ObjectMissing:
        return None


def _count_one(ledger: Ledger, name: str) -> None:
    ledger.figures[name] = ledger.figures.get(name, 0) + 1


def _history(events: Iterable[dict[str, Any]]) -> str:
    return " → ".join(event["after"] for event in events)


def _gap(numbers: list[int]) -> str:
    for place, number in enumerate(numbers):
        if number != place:
            return f"line {number} where {place} should be, of {len(numbers)}"
    return ""
