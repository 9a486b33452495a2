"""Promise: a second start answers within 3 s. Floor: a Python process that has loaded the pages."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.report import Report, bounded, parser

LOAD = "import runsite.wsgi; from django.urls import get_resolver; get_resolver().url_patterns"


def main() -> None:
    """Print one JSON line: seconds from the start to the first page, and until all is ready."""
    arguments_of = parser(__doc__, limit_s=300)
    arguments_of.add_argument("--repeats", type=int, default=5, help="starts, of which the median")
    arguments = arguments_of.parse_args()
    with bounded(arguments.limit):
        _measure(arguments.repeats)


def _measure(repeats: int) -> None:
    from bench.consoles import ROOT, console

    report = Report("startup", promise="second start to console answering: 3 s", unit="s")
    with console(slots=2) as one:
        # The first start makes what later ones find: static files under hashed names, caches.
        one.start()
        one.stop()
        floors, answers, ready = [], [], []
        for _ in range(repeats):
            begin = time.perf_counter()
            subprocess.run([sys.executable, "-c", LOAD], cwd=ROOT, check=True, timeout=60)
            floors.append(time.perf_counter() - begin)
            begin = time.perf_counter()
            answers.append(one.start("/sign-in/"))
            one.wait_for_page("/readyz")
            ready.append(time.perf_counter() - begin)
            one.stop()
    report.say(
        floor=statistics.median(floors),
        figure=statistics.median(answers),
        ready_s=round(statistics.median(ready), 2),
        slowest_s=round(max(answers), 2),
        repeats=repeats,
    )


if __name__ == "__main__":
    main()
