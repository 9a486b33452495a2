"""The applications of the chaos test, and what each kind of run may come to.

Each execution appends one line `run attempt uuid` to a file outside of its workspace, so that
doubled work is counted whatever the product says. Results and files carry their own checksums.
"""

from __future__ import annotations

import os
import random
import sys
from dataclasses import dataclass
from pathlib import Path

DISK_FULL = 28
"""The exit code of an application that could not write for want of space."""

MOST_KEYED = 2
"""So many runs of the application with a concurrency key may run at once."""

_OPTIONS = """\
configuration:
  content: {format: FORMAT}
  options:
    items:
      - {name: marks, option_type: string}
      - {name: kind, option_type: string}
      - {name: seconds, option_type: float}
      - {name: lines, option_type: int}
"""

_RETRIED = "runsite: {retries: 2, retry_on: ['exit_code:4'], retry_delay_s: 0.5}\n"
_KEYED = f"runsite: {{concurrency: {{key: '{{kind}}', limit: {MOST_KEYED}, policy: queue}}}}\n"

_PROGRAM = '''\
#!PYTHON -S
"""Does what `-kind` says for `-seconds`, prints `-lines` numbered lines, marks its execution."""

import errno
import hashlib
import json
import os
import signal
import sys
import time

given = dict(zip(sys.argv[1::2], sys.argv[2::2]))
marks, kind = given["-marks"], given["-kind"]
seconds, lines = float(given["-seconds"]), int(given["-lines"])
run, attempt = os.environ["RUN_ID"], os.environ["RUNSITE_MARK"].rsplit(":", 1)[1]
me = os.urandom(16).hex()
handle = os.open(marks, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
os.write(handle, f"{run} {attempt} {me}\\n".encode())
os.close(handle)


def checked(size):
    """Random bytes as text, behind their own checksum."""
    body = os.urandom(size).hex()
    return hashlib.sha256(body.encode()).hexdigest() + "\\n" + body


class Early(Exception):
    """Somebody wants the result now."""


def stop_early(number, frame):
    raise Early


def main():
    if kind == "retried" and executions() < 2:
        sys.exit(4)
    if kind == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if kind == "forks":
        leave_children()
    signal.signal(signal.SIGINT, stop_early)
    try:
        work()
    except Early:
        pass
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    print(f"end after {lines} lines", file=sys.stderr, flush=True)
    if kind == "fails":
        sys.exit(3)
    if kind == "crashes":
        signal.signal(signal.SIGUSR1, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGUSR1)
    if kind == "files":
        os.makedirs("outputs/solutions", exist_ok=True)
        for number in range(4):
            with open(f"outputs/solutions/part-{number}.txt", "w") as file:
                file.write(checked(20000 * (number + 1)))
        with open("outputs/solutions/mark.txt", "w") as file:
            file.write(me)
        return
    digest, body = checked(3000).split("\\n")
    print(json.dumps({"mark": me, "lines": lines, "sha256": digest, "body": body}))


def work():
    end = time.monotonic() + seconds
    for number in range(lines):
        print(f"{number:07d} {run} {attempt} {me}", file=sys.stderr, flush=kind != "chatty")
        if kind != "chatty":
            time.sleep(max(0.0, (end - time.monotonic()) / (lines - number + 1)))
    sys.stderr.flush()
    time.sleep(max(0.0, end - time.monotonic()))


def executions():
    with open(marks) as file:
        return sum(line.startswith(f"{run} ") for line in file)


def leave_children():
    """A child in the group, and one that leaves session and parent; both would stay for ever."""
    for leaves in (False, True):
        if os.fork():
            continue
        if leaves:
            os.setsid()
            if os.fork():
                os._exit(0)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        nowhere = os.open(os.devnull, os.O_RDWR)
        for number in range(3):
            os.dup2(nowhere, number)
        while True:
            time.sleep(600)


try:
    main()
except OSError as error:
    if error.errno != errno.ENOSPC:
        raise
    sys.exit(28)
'''


@dataclass(frozen=True)
class Kind:
    """A kind of run: its application, seconds from-to, lines, and how it may end by itself."""

    name: str
    share: int
    seconds: tuple[float, float]
    lines: tuple[int, int]
    application: str = "chaos"
    status: str = "succeeded"
    reason: str = "exited"
    waits: bool = False


KINDS = (
    Kind("quick", 40, (0.0, 0.4), (0, 5)),
    Kind("medium", 20, (0.5, 3.0), (5, 40)),
    Kind("long", 4, (8.0, 20.0), (50, 200)),
    Kind("chatty", 6, (0.2, 1.5), (20_000, 60_000)),
    Kind("files", 9, (0.0, 1.0), (1, 5), application="chaos-files"),
    Kind("python", 6, (0.0, 1.0), (1, 5), application="chaos-python"),
    Kind("forks", 5, (0.2, 2.0), (1, 5)),
    Kind("stubborn", 4, (1.0, 6.0), (1, 10)),
    Kind("fails", 4, (0.0, 1.0), (1, 5), status="failed", reason="exit_code"),
    Kind("retried", 5, (0.0, 1.0), (1, 5), application="chaos-retried"),
    Kind("keyed", 8, (0.1, 1.0), (1, 5), application="chaos-keyed"),
    Kind("waits", 8, (0.0, 0.5), (1, 5), waits=True),
    Kind("crashes", 2, (0.0, 1.0), (1, 5), status="failed", reason="signal"),
)
BY_NAME = {kind.name: kind for kind in KINDS}


@dataclass(frozen=True)
class Wish:
    """One run to submit; `name` is unique, so that it is known whether it was submitted."""

    name: str
    kind: Kind
    seconds: float
    lines: int
    waits_for: tuple[str, ...] = ()
    wait_policy: str = "fail"

    def options(self, marks: Path) -> dict[str, object]:
        """The options of the run."""
        return {
            "marks": str(marks),
            "kind": self.kind.name,
            "seconds": self.seconds,
            "lines": self.lines,
        }


def wishes(count: int, seed: int) -> list[Wish]:
    """What is submitted: `count` runs of all kinds, mixed by `seed`."""
    chance = random.Random(f"wishes {seed}")
    kinds = chance.choices(KINDS, [kind.share for kind in KINDS], k=count)
    made: list[Wish] = []
    for number, kind in enumerate(kinds):
        newest = [wish.name for wish in made[-12:]] if kind.waits else []
        made.append(
            Wish(
                name=f"chaos-{number:06d}",
                kind=kind,
                seconds=round(chance.uniform(*kind.seconds), 2),
                lines=chance.randint(*kind.lines),
                waits_for=tuple(chance.sample(newest, min(2, len(newest)))),
                wait_policy=chance.choice(["fail", "skip", "continue"]),
            )
        )
    return made


def write_applications(folder: Path) -> list[Path]:
    """Write the applications, each into a folder with its id as name."""
    base = getattr(sys, "_base_executable", sys.executable)
    program = _PROGRAM.replace("PYTHON", os.path.realpath(base))
    made = []
    for application, form, head, entry in (
        ("chaos", "json", "type: binary\nfiles: [main]\n", "main"),
        ("chaos-files", "multi-file", "type: binary\nfiles: [main]\n", "main"),
        ("chaos-python", "json", "type: python\nfiles: [main.py]\n", "main.py"),
        ("chaos-retried", "json", f"type: binary\nfiles: [main]\n{_RETRIED}", "main"),
        ("chaos-keyed", "json", f"type: binary\nfiles: [main]\n{_KEYED}", "main"),
    ):
        place = folder / application
        place.mkdir(parents=True)
        (place / "app.yaml").write_text(head + _OPTIONS.replace("FORMAT", form))
        (place / entry).write_text(program)
        (place / entry).chmod(0o755)
        made.append(place)
    return made
