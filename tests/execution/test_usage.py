"""The use of CPU and memory is measured over a whole tree."""

from __future__ import annotations

import os
import subprocess
import sys

from runs.execution.spec import Usage
from runs.execution.tree import Scanner, Tree, read_process
from runs.execution.usage import Meter, peak_memory
from tests.processes import until

FAMILY = """
import os, sys, time
r, w = os.pipe()
if os.fork() == 0:
    block = bytearray(50_000_000)
    start = time.process_time()
    while time.process_time() - start < 0.3:
        pass
    os.write(w, b"x")
    time.sleep(3600)
os.read(r, 1)
print("ready", flush=True)
sys.stdin.read()
os.kill(0, 9)
"""


def meter_of(pid: int, seen: list[Usage]) -> Meter:
    tree = Tree(Scanner(), mark="nobody:has:this", main=read_process(pid))
    return Meter(tree, seen.append, every_s=0.1, own_peak_bytes=peak_memory("self"))


def test_children_count() -> None:
    family = subprocess.Popen(
        [sys.executable, "-c", FAMILY],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert family.stdout is not None
    assert family.stdout.readline() == b"ready\n"
    seen: list[Usage] = []
    meter = meter_of(family.pid, seen)
    meter.sample_now()
    family.communicate()
    [usage] = seen
    assert usage.processes == 2
    assert usage.memory_bytes > 50_000_000
    assert usage.cpu_s >= 0.25
    assert meter.peak_memory_bytes >= usage.memory_bytes
    # What has ended still counts.

    def gone() -> bool:
        meter.sample_now(max_age_s=0)
        return seen[-1].processes == 0

    until(gone)
    assert seen[-1].cpu_s >= usage.cpu_s
    assert meter.peak_memory_bytes >= usage.memory_bytes


def test_samples_are_taken_early_and_then_at_the_interval() -> None:
    seen: list[Usage] = []
    meter = meter_of(os.getpid(), seen)
    assert meter.due_in() <= 0.2

    def sample() -> bool:
        meter.sample()
        return len(seen) >= 3

    until(sample)
    assert meter.due_in() <= 0.1
    assert [one.at_s for one in seen] == sorted(one.at_s for one in seen)


def test_the_figures_of_the_system_count_where_they_are_larger() -> None:
    seen: list[Usage] = []
    meter = meter_of(os.getpid(), seen)
    own = peak_memory("self")
    meter.finish(1e6, own)
    assert meter.cpu_s == 1e6
    assert meter.peak_memory_bytes < own  # that much was used by us before the program began
    meter.finish(1.0, own * 4)
    assert meter.cpu_s == 1e6
    assert meter.peak_memory_bytes == own * 4


def test_the_memory_of_a_missing_process_is_unknown() -> None:
    child = subprocess.Popen(["/bin/true"])
    child.wait()
    assert peak_memory(child.pid) == 0
