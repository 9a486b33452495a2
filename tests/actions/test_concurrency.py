"""Concurrency keys: who is admitted, what the policies do, and that no race breaks the limit."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from runs.actions.actors import product
from runs.actions.run_stops import cancel_run
from runs.domain.status import EndReason, Status
from runs.models import Application, Run, RunEvent, RunWait
from runs.models.concurrency import admit_next, admitted
from tests.actions.submitting import end, make_app, start, submit
from tests.factories import make_run

KEYED: dict[str, Any] = {"concurrency_expression": "{region}", "concurrency_limit": 1}


def fresh(run: Run) -> Run:
    return Run.objects.get(pk=run.pk)


@pytest.mark.django_db
def test_runs_of_one_key_wait_for_each_other_and_others_do_not():
    app = make_app(**KEYED)
    first, second = submit(app), submit(app, options={"region": "north"})
    south = submit(app, options={"region": "south"})
    assert [run.concurrency_key for run in (first, second, south)] == ["north", "north", "south"]
    assert [run.hold for run in (first, second, south)] == ["", Run.WAITS_FOR_KEY, ""]
    end(first)
    assert fresh(second).hold == ""


@pytest.mark.django_db
def test_without_an_expression_all_runs_share_a_key_and_without_a_limit_none_has_one():
    app = make_app(concurrency_limit=2)
    holds = [submit(app, options={"region": str(n)}).hold for n in range(3)]
    assert holds == ["", "", Run.WAITS_FOR_KEY]
    assert submit(make_app(concurrency_expression="{region}")).concurrency_key == ""


@pytest.mark.django_db
def test_an_option_that_the_version_lacks_counts_as_empty_with_a_warning():
    run = submit(make_app(concurrency_expression="{region}-{zone}-{day}", concurrency_limit=1))
    assert run.concurrency_key == "north--"
    (warning,) = run.warnings
    assert "`zone`" in warning


@pytest.mark.django_db
def test_what_comes_while_the_key_is_full_is_dropped_and_recorded():
    app = make_app(**KEYED, concurrency_policy="drop")
    first, second = submit(app), submit(app)
    assert (second.status, second.end_reason) == (Status.CANCELED, EndReason.SUPERSEDED)
    said = f"1 of 1 runs of key `north` is under way (run {first.run_id})"
    assert said in fresh(second).detail
    assert RunEvent.objects.filter(run=second).latest("pk").text == said
    assert fresh(first).status == Status.QUEUED
    end(first)
    assert submit(app).hold == ""


@pytest.mark.django_db
def test_of_several_under_way_the_newest_is_named():
    app = make_app(
        concurrency_expression="{region}", concurrency_limit=2, concurrency_policy="drop"
    )
    _, newest, dropped = submit(app), submit(app), submit(app)
    assert f"under way, the newest is run {newest.run_id}, and" in fresh(dropped).detail


@pytest.mark.django_db
def test_what_comes_while_the_key_is_full_is_the_run_under_way():
    app = make_app(**KEYED, concurrency_policy="reuse")
    first = submit(app)
    start(fresh(first))
    before = Run.objects.count()
    again = submit(app, name="again")
    assert (again.pk, Run.objects.count()) == (first.pk, before)
    assert "Submitted again" in RunEvent.objects.filter(run=first).latest("pk").text
    end(first)
    assert submit(app).pk != first.pk


@pytest.mark.django_db
@pytest.mark.parametrize("wish", ["cancel_requested_at", "stop_requested_at"])
def test_a_run_that_is_to_end_is_not_the_answer_to_another(wish: str):
    app = make_app(**KEYED, concurrency_policy="reuse")
    first = submit(app)
    start(fresh(first))
    Run.objects.filter(pk=first.pk).update(**{wish: timezone.now()})
    second = submit(app)
    assert (second.pk != first.pk, second.hold) == (True, Run.WAITS_FOR_KEY)
    assert submit(app).pk == second.pk


@pytest.mark.django_db
def test_a_new_run_takes_the_place_of_a_queued_one():
    app = make_app(**KEYED, concurrency_policy="replace")
    first = submit(app)
    waits = make_run(app, hold=Run.WAITS_FOR_KEY, concurrency_key="north")
    second = submit(app)
    for old in (first, waits):
        assert (fresh(old).status, fresh(old).end_reason) == ("canceled", EndReason.SUPERSEDED)
        assert fresh(old).cancel_actor == f"replaced by run {second.run_id}"
    assert (second.hold, fresh(second).hold) == ("", "")


@pytest.mark.django_db
def test_a_new_run_waits_for_the_end_of_the_running_one_that_it_replaces():
    app = make_app(**KEYED, concurrency_policy="replace")
    first = submit(app)
    start(fresh(first))
    second = submit(app)
    old = fresh(first)
    assert (old.status, old.cancel_actor) == (Status.RUNNING, f"replaced by run {second.run_id}")
    assert old.cancel_requested_at is not None
    assert old.events.filter(kind=RunEvent.CANCEL_REQUESTED).count() == 1
    assert second.hold == Run.WAITS_FOR_KEY
    end(first, Status.CANCELED)
    assert fresh(second).hold == ""


@pytest.mark.django_db
def test_no_more_runs_are_replaced_than_need_be():
    app = make_app(concurrency_limit=2, concurrency_policy="replace")
    oldest, younger, new = submit(app), submit(app), submit(app)
    assert [fresh(run).status for run in (oldest, younger, new)] == ["canceled", "queued", "queued"]


@pytest.mark.django_db
def test_who_waits_for_other_runs_asks_for_its_key_only_then():
    app = make_app(**KEYED, concurrency_policy="drop")
    awaited = make_run(app)
    run = submit(app, waits_for=[awaited])
    other = submit(app)
    assert (run.status, run.hold, other.hold) == ("queued", Run.WAITS_FOR_RUNS, "")
    end(awaited)
    assert fresh(run).hold == Run.WAITS_FOR_KEY
    end(other)
    assert fresh(run).hold == ""


@pytest.mark.django_db
def test_a_canceled_run_that_waits_for_its_key_lets_nobody_in():
    app = make_app(**KEYED)
    first, second, third = submit(app), submit(app), submit(app)
    assert cancel_run(run=second, actor=product())
    assert [fresh(run).hold for run in (first, third)] == ["", Run.WAITS_FOR_KEY]
    assert cancel_run(run=first, actor=product())
    assert fresh(third).hold == ""


@pytest.mark.django_db
def test_a_higher_limit_lets_more_in_and_none_lets_all_in():
    app = make_app(**KEYED)
    runs = [submit(app) for _ in range(5)]
    Application.objects.filter(pk=app.pk).update(concurrency_limit=3)
    assert admit_next(app.pk, "north") == [runs[0].queue_id]
    assert [fresh(run).hold for run in runs] == ["", "", "", "key", "key"]
    Application.objects.filter(pk=app.pk).update(concurrency_limit=None)
    admit_next(app.pk, "north")
    assert {fresh(run).hold for run in runs} == {""}


def together(*acts: Callable[[], object]) -> list[BaseException]:
    """Do all at the same moment in threads; the errors."""
    barrier = threading.Barrier(len(acts))
    errors: list[BaseException] = []

    def run(act: Callable[[], object]) -> None:
        try:
            barrier.wait(60)
            act()
        except BaseException as error:
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=(act,)) for act in acts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads), "a deadlock"
    return errors


@pytest.mark.django_db(transaction=True)
def test_runs_that_are_submitted_and_end_at_once_never_exceed_the_limit_and_none_is_left():
    app = make_app(concurrency_limit=2)
    for _ in range(5):
        under_way = [submit(app) for _ in range(4)]
        ends = [partial(end, run) for run in under_way[:2]]
        new = [partial(submit, app)] * 3
        assert together(*ends, *new) == []
        assert admitted(app.pk, "*").count() == 2
        assert Run.objects.filter(hold=Run.WAITS_FOR_KEY).count() == 3
        while run := Run.objects.claimable().first():
            end(run)
        assert not Run.objects.active().exists(), "somebody was forgotten"


@pytest.mark.django_db(transaction=True)
def test_an_awaited_run_that_ends_while_others_are_submitted_leaves_nobody_waiting():
    app = make_app(**KEYED)
    for outcome in (Status.SUCCEEDED, Status.FAILED) * 4:
        awaited = [make_run(app, status=Status.RUNNING, concurrency_key="south") for _ in range(2)]
        ends = [partial(end, run, outcome) for run in awaited]
        new = [partial(submit, app, waits_for=awaited, wait_policy="continue")] * 2
        new += [partial(submit, app, waits_for=awaited[::-1], wait_policy="fail")]
        assert together(*ends, *new) == []
        assert not RunWait.objects.filter(open=True).exists()
        assert not Run.objects.filter(hold=Run.WAITS_FOR_RUNS).exists()
        failed = Run.objects.filter(end_reason=EndReason.WAIT_FAILED)
        assert failed.count() == (outcome is Status.FAILED)
        while run := Run.objects.claimable().first():
            end(run)
        assert not Run.objects.active().exists(), "somebody was forgotten"
        Run.objects.filter(end_reason=EndReason.WAIT_FAILED).delete()


@pytest.mark.django_db(transaction=True)
def test_chains_that_cross_end_at_once_without_a_deadlock():
    app = make_app()
    for _ in range(4):
        heads = [make_run(app, status=Status.RUNNING) for _ in range(3)]
        level = heads
        for _ in range(3):
            level = [submit(app, waits_for=level) for _ in range(3)]
        now = timezone.now()

        def fail(run: Run, now=now) -> None:
            assert run.move_to(Status.FAILED, now=now, reason=EndReason.EXIT_CODE)

        assert together(*[partial(fail, run) for run in heads]) == []
        assert not Run.objects.active().exists()


@pytest.mark.django_db(transaction=True)
def test_runs_that_replace_each_other_at_once_leave_one():
    app = make_app(**KEYED, concurrency_policy="replace")
    for _ in range(4):
        assert together(*[partial(submit, app)] * 4) == []
        left = Run.objects.active()
        assert (left.count(), left.first().hold) == (1, "")
