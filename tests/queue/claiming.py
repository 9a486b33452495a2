"""A program of test_claim_processes.py: `prepare`, `claim` or `report` on the database set."""

from __future__ import annotations

import json
import sys
from typing import Any

import django

django.setup()

from django.core.management import call_command  # noqa: E402
from django.db.models import Count, Max, Sum  # noqa: E402
from django.utils import timezone  # noqa: E402

from runs.domain.status import EndReason, Status  # noqa: E402
from runs.models import Account, Attempt, Queue, Run, RunEvent  # noqa: E402
from runs.queue.claim import Claimed, claim_next  # noqa: E402
from runs.queue.lease import WorkerIdentity  # noqa: E402
from tests.factories import (  # noqa: E402
    make_account,
    make_application,
    make_build,
    make_environment,
    make_run,
    make_worker,
)

LIMITED, LEFT, RIGHT, PAUSED = "limited", "left", "right", "paused"
QUEUE_LIMIT, APPLICATION_LIMIT = 2, 1
SLOTS = 3


def prepare(runs: int) -> None:
    """`runs` runs that may start, and one in a paused queue.

    There are two kinds of workers, by host and queues, and what one limit holds together lies in
    different lanes of theirs. So they reach for different runs at the same time: a limit that
    is looked at without a lock is exceeded.
    """
    call_command("migrate", verbosity=0)
    account = make_account("races")
    queues = {name: Queue.objects.create(account=account, name=name) for name in (LEFT, RIGHT)}
    limited = Queue.objects.create(account=account, name=LIMITED, running_limit=QUEUE_LIMIT)
    paused = Queue.objects.create(account=account, name=PAUSED, paused_at=timezone.now())
    anything = {name: make_application(account, application_id=name) for name in (LEFT, RIGHT)}
    one_at_once = make_application(account, application_id="one", running_limit=APPLICATION_LIMIT)
    environments = {name: make_environment() for name in (LEFT, RIGHT)}
    for name, environment in environments.items():
        make_build(environment, host=name)
    for number in range(runs // 4):
        side = (LEFT, RIGHT)[number % 2]
        make_run(one_at_once, queue=queues[side], priority=1)
        make_run(anything[side], queue=limited, environment=environments[side], priority=2)
        make_run(
            anything[side], queue=queues[side], priority=1 + number % 9, slots=1 + number % SLOTS
        )
        make_run(anything[side], queue=limited, environment=environments[side])
    make_run(anything[LEFT], queue=paused, priority=1)


def claim(name: str, side: str) -> None:
    """Claim and end until nothing is left; says what was claimed and the most seen at once."""
    worker = make_worker(name=name, host=side, slots=SLOTS)
    identity = WorkerIdentity(worker.pk, name, worker.boot_id, side, (side, LIMITED, PAUSED))
    print("ready", flush=True)
    sys.stdin.readline()
    claimed: list[str] = []
    most = {LIMITED: 0, "one": 0, "slots": 0}
    held: list[Claimed] = []
    while True:
        free = SLOTS - sum(other.run.slots for other in held)
        one = claim_next(identity, now=timezone.now(), free_slots=free, slots=SLOTS)
        if one is not None:
            claimed.append(one.run.run_id)
            held.append(one)
            running = Run.objects.filter(status=Status.RUNNING)
            mine = running.filter(attempts__worker=worker).aggregate(Sum("slots"))
            seen = {
                "slots": mine["slots__sum"],
                LIMITED: running.filter(queue__name=LIMITED).count(),
                "one": running.filter(application__application_id="one").count(),
            }
            most = {limit: max(most[limit], seen[limit]) for limit in most}
        if held and (one is None or len(held) == SLOTS):
            _end(held.pop(0))
        elif one is None and not Run.objects.waiting().exclude(queue__name=PAUSED).exists():
            break
    print(json.dumps({"claimed": claimed, "most": most}), flush=True)


def report() -> None:
    """What the tables say in the end."""
    attempts = Run.objects.annotate(made=Count("attempts")).exclude(queue__name=PAUSED)
    answer: dict[str, Any] = {
        "runs": attempts.count(),
        "succeeded": attempts.filter(status=Status.SUCCEEDED).count(),
        "most_attempts": attempts.aggregate(Max("made"))["made__max"],
        "attempts": Attempt.objects.count(),
        "moved_to_running": RunEvent.objects.filter(after=Status.RUNNING).count(),
        "paused_waiting": Run.objects.waiting().filter(queue__name=PAUSED).count(),
        "accounts": Account.objects.count(),
    }
    print(json.dumps(answer))


def _end(one: Claimed) -> None:
    now = timezone.now()
    moved = one.run.move_to(
        Status.SUCCEEDED, now=now, reason=EndReason.EXITED, token=one.attempt.token
    )
    assert moved, "somebody else ended our run"
    Attempt.objects.filter(pk=one.attempt.pk).update(ended_at=now, outcome=EndReason.EXITED)


if __name__ == "__main__":
    what, *rest = sys.argv[1:]
    if what == "prepare":
        prepare(int(rest[0]))
    elif what == "claim":
        claim(*rest)
    else:
        report()
