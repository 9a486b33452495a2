"""The one Celery task: a nudge that says there may be work."""

from __future__ import annotations

from celery import shared_task


@shared_task(name="runs.tasks.nudge", ignore_result=True)
def nudge(queue_name: str = "") -> None:
    """Wake the worker of this process; the table says what there is to do."""
    from runs.queue.dispatch import nudge_arrived
    from runs.worker import boot

    nudge_arrived(queue_name)
    boot.wake()
