"""The door of Celery: a nudge that says there may be work, and the worker behind it."""

from __future__ import annotations

from typing import Any

from celery import shared_task
from django.conf import settings


@shared_task(name="runs.tasks.nudge", ignore_result=True)  # type: ignore[untyped-decorator]
def nudge(queue_name: str = "") -> None:
    """Wake the worker of this process; the table says what there is to do."""
    from runs.worker import boot

    boot.wake(queue_name)


def install_worker(app: Any) -> None:
    """Make Celery's worker one of ours; where the settings say so it also runs the scheduler."""
    from runs.supervision.scheduler import Scheduler
    from runs.worker import boot

    boot.install(app)
    if settings.RUNSITE_WORKER_SCHEDULES:
        boot.companions.append(Scheduler)
