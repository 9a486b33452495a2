"""The small applications that are measured, and the same programs started bare."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path

STAMP = {
    "app.yaml": "type: binary\nfiles: [main]\n",
    # A shell is there 1 ms after it was started; Python would add 10 ms of its own.
    "main": """#!/bin/sh\nexec date +'{"started": %s.%N}'\n""",
}
"""Prints the time at which it was started."""

NOTHING = {
    "app.yaml": "type: python\nfiles: [main.py]\n",
    "main.py": 'import json\nimport sys\n\njson.load(sys.stdin)\nprint("{}")\n',
}
"""Reads its input, does nothing, writes an empty result."""

SLEEPER = {
    "app.yaml": """\
type: python
files: [main.py]
configuration:
  options:
    items:
      - {name: sleep, option_type: float, required: false}
""",
    "main.py": """\
import sys
import time

given = dict(zip(sys.argv[1::2], sys.argv[2::2]))
time.sleep(float(given.get("-sleep", 600)))
print("{}")
""",
}
"""Does nothing for so many seconds."""

PRINTER = {
    "app.yaml": """\
type: python
files: [main.py]
configuration:
  options:
    items:
      - {name: wait, option_type: float, default: 0, required: false}
      - {name: lines, option_type: int, default: 10, required: false}
      - {name: every, option_type: float, default: 0.1, required: false}
""",
    "main.py": """\
import sys
import time

given = dict(zip(sys.argv[1::2], sys.argv[2::2]))
wait, every = float(given["-wait"]), float(given["-every"])
time.sleep(wait)
for number in range(int(given["-lines"])):
    print(f"line {number} at={time.time_ns()}=", file=sys.stderr, flush=True)
    time.sleep(every)
print("{}")
""",
}
"""Prints lines that say when they were printed."""


def write(files: dict[str, str], folder: Path) -> Path:
    """Write the application's files into a new folder."""
    folder.mkdir()
    for name, text in files.items():
        path = folder / name
        path.write_text(text)
        if name == "main":
            path.chmod(0o755)
    return folder


def bare_environment(home: Path) -> dict[str, str]:
    """As small as that of a run."""
    return {"PATH": os.defpath, "HOME": str(home), "LANG": "C.UTF-8", "PYTHONUNBUFFERED": "1"}


def bare_start_s(folder: Path) -> float:
    """Seconds from a bare `Popen` of `STAMP` to its start, as it tells it itself."""
    before = time.time()
    with subprocess.Popen(
        [str(folder / "main")],
        env=bare_environment(folder),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as child:
        out, _ = child.communicate(timeout=60)
    return float(json.loads(out)["started"]) - before


def bare_run_s(folder: Path, interpreter: Path) -> float:
    """Seconds that a bare `NOTHING` takes from its start to the end of its output."""
    before = time.perf_counter()
    done = subprocess.run(
        [str(interpreter), str(folder / "main.py")],
        env=bare_environment(folder),
        cwd=folder,
        input=b"{}",
        capture_output=True,
        timeout=60,
        check=True,
        start_new_session=True,
    )
    spent = time.perf_counter() - before
    assert json.loads(done.stdout) == {}
    return spent
