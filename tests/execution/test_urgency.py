"""Going before all others for a moment, and what is left of that."""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
import sys
import threading
from pathlib import Path

from runs.execution.urgency import urgent

OPEN = Path("/proc/self/fd")
SHOW = "import os; print(os.sched_getscheduler(0))"


def scheduler() -> int:
    return os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK


def test_it_ends_with_the_block_and_nothing_that_is_started_in_it_inherits_it() -> None:
    of_thread: list[int] = []
    with urgent() as allowed, urgent():
        assert scheduler() == (os.SCHED_RR if allowed else os.SCHED_OTHER)
        child = subprocess.run([sys.executable, "-c", SHOW], capture_output=True, check=True)
        thread = threading.Thread(target=lambda: of_thread.append(scheduler()))
        thread.start()
        thread.join()
    assert int(child.stdout) & ~os.SCHED_RESET_ON_FORK == os.SCHED_OTHER
    assert of_thread == [os.SCHED_OTHER]
    assert scheduler() == os.SCHED_OTHER


def test_without_files_to_open_it_goes_on_as_ever_and_is_urgent_the_next_time() -> None:
    with urgent() as allowed:
        pass
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.ExitStack() as files:
        resource.setrlimit(resource.RLIMIT_NOFILE, (len(list(OPEN.iterdir())) + 8, hard))
        files.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        with contextlib.suppress(OSError):
            while True:
                files.callback(os.close, os.open(os.devnull, os.O_RDONLY))
        with urgent() as without:
            assert not without
    with urgent() as again:
        assert again == allowed
    assert scheduler() == os.SCHED_OTHER
