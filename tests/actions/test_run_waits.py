"""Runs that wait for other runs, from their submission on."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from runs.actions.actors import product
from runs.actions.run_waits import (
    downstream,
    find_awaited,
    record_waits,
    upstream,
    wait_graph,
)
from runs.actions.runs import cancel_run, delete_run, set_priority
from runs.domain.errors import Conflict, FieldsInvalid
from runs.domain.status import EndReason, Status
from runs.models import Run, RunWait
from runs.queue.dispatch import sent_through
from tests.actions.submitting import end, make_app, start, submit
from tests.factories import make_run, make_worker

pytestmark = pytest.mark.django_db


def fresh(run: Run) -> Run:
    return Run.objects.get(pk=run.pk)


def test_a_run_waits_without_being_claimable_until_the_last_has_ended():
    app = make_app(queue_limit_s=60)
    first, second = submit(app), submit(app)
    run = submit(app, waits_for=[second, first, second])
    assert (run.hold, run.open_waits, run.expires_at) == (Run.WAITS_FOR_RUNS, 2, None)
    assert run not in Run.objects.claimable()
    end(first)
    assert fresh(run).hold == Run.WAITS_FOR_RUNS
    end(second)
    run = fresh(run)
    assert (run.hold, run.open_waits, run.status) == ("", 0, Status.QUEUED)
    assert run.expires_at is not None


def test_nobody_is_woken_for_a_run_that_waits(django_capture_on_commit_callbacks):
    app = make_app()
    make_worker()
    sent: list[str] = []

    class Sender:
        def send(self, queue_name: str, target: str) -> None:
            sent.append(queue_name)

    awaited = make_run(app)
    with sent_through(Sender()), django_capture_on_commit_callbacks(execute=True):
        submit(app, waits_for=[awaited])
    assert sent == []


def test_awaited_runs_go_first_at_equal_priority_and_stay_so():
    app = make_app()
    other, awaited, important = submit(app), submit(app), submit(app, priority=5)
    submit(app, waits_for=[awaited, make_run(app, status=Status.RUNNING)])
    assert list(Run.objects.claimable()) == [important, awaited, other]
    assert set_priority(run=awaited, priority=7, actor=product())
    assert list(Run.objects.claimable()) == [important, other, awaited]
    late = submit(app, priority=7)
    assert list(Run.objects.claimable()) == [important, other, awaited, late]


def test_a_run_that_succeeded_is_not_waited_for():
    app = make_app()
    run = submit(app, waits_for=[make_run(app, status=Status.SUCCEEDED)])
    assert (run.hold, run.open_waits) == ("", 0)
    assert [(wait.open, wait.outcome) for wait in run.waits.all()] == [(False, "succeeded")]


@pytest.mark.parametrize("outcome", [Status.FAILED, Status.CANCELED])
@pytest.mark.parametrize(
    ("policy", "status", "reason"),
    [
        ("fail", Status.FAILED, EndReason.WAIT_FAILED),
        ("skip", Status.CANCELED, EndReason.SKIPPED),
        ("continue", Status.QUEUED, EndReason.NONE),
    ],
)
def test_a_run_that_has_failed_already_settles_the_wait_at_once(
    outcome: Status, policy: str, status: Status, reason: EndReason
):
    app = make_app()
    still = make_run(app)
    gone = make_run(app, status=outcome)
    run = submit(app, waits_for=[still, gone], wait_policy=policy)
    assert (run.status, run.end_reason) == (status, reason)
    run = fresh(run)
    assert (run.status, run.end_reason) == (status, reason)
    kinds = [event.after for event in run.events.order_by("pk")]
    assert kinds == ["queued"] if status is Status.QUEUED else ["queued", status]
    if status is Status.QUEUED:
        assert (run.hold, run.open_waits) == (Run.WAITS_FOR_RUNS, 1)
    else:
        assert fresh(still).rank == still.rank, "nobody waits for it in the end"


def test_runs_of_others_and_too_many_are_refused():
    app, other = make_app(), make_app()
    foreign = make_run(other)
    with pytest.raises(FieldsInvalid, match=foreign.run_id) as caught:
        submit(app, waits_for=[foreign])
    assert list(caught.value.errors) == ["waits_for"]
    many = [make_run(app) for _ in range(101)]
    with pytest.raises(FieldsInvalid, match="100 runs at most"):
        submit(app, waits_for=many)
    with pytest.raises(FieldsInvalid, match="Choose one of fail, skip, continue"):
        submit(app, waits_for=many[:1], wait_policy="hope")
    assert submit(app, waits_for=many[:100]).open_waits == 100


def test_a_run_that_is_deleted_meanwhile_is_refused():
    app = make_app()
    gone = make_run(app, status=Status.SUCCEEDED)
    stale = fresh(gone)
    gone.delete()
    with pytest.raises(FieldsInvalid, match="deleted"):
        submit(app, waits_for=[stale])


def test_nothing_can_wait_in_a_circle():
    app = make_app()
    old = submit(app)
    young = submit(app, waits_for=[old])
    for awaited in (young, old):
        with pytest.raises(FieldsInvalid, match="there before it"):
            record_waits(run=old, awaited=[awaited], now=timezone.now())
    assert RunWait.objects.count() == 1


def test_ids_are_found_in_the_account_only():
    app, foreign = make_app(), make_run()
    run = make_run(app)
    found = find_awaited(account=app.account, run_ids=[f" {run.run_id} ", "", run.run_id])
    assert found == [run]
    for missing in (foreign.run_id, "nothing"):
        with pytest.raises(FieldsInvalid, match=missing):
            find_awaited(account=app.account, run_ids=[run.run_id, missing])


def test_canceling_a_queued_run_settles_those_that_wait_for_it():
    app = make_app()
    awaited = submit(app)
    fails = submit(app, waits_for=[awaited])
    goes_on = submit(app, waits_for=[awaited], wait_policy="continue")
    after = submit(app, waits_for=[fails], wait_policy="skip")
    assert cancel_run(run=awaited, actor=product())
    assert fresh(fails).end_reason == EndReason.WAIT_FAILED
    assert fresh(after).end_reason == EndReason.SKIPPED
    assert (fresh(goes_on).status, fresh(goes_on).hold) == (Status.QUEUED, "")


def test_a_run_that_others_wait_for_is_deleted_only_when_it_has_ended():
    app = make_app()
    awaited = submit(app)
    run = submit(app, waits_for=[awaited])
    with pytest.raises(Conflict, match="Cancel it first"):
        delete_run(run=awaited, actor=product())
    end(awaited)
    delete_run(run=fresh(awaited), actor=product())
    assert (fresh(run).hold, fresh(run).open_waits, run.waits.count()) == ("", 0, 0)


def test_many_that_wait_for_one_are_released_with_few_queries(django_assert_max_num_queries):
    app = make_app()
    awaited = make_run(app, status=Status.RUNNING)
    runs = [
        make_run(app, hold=Run.WAITS_FOR_RUNS, open_waits=1, queue_limit_s=limit)
        for limit in (None, 60) * 20
    ]
    RunWait.objects.bulk_create(RunWait(run=run, awaited=awaited) for run in runs)
    now = timezone.now()
    with django_assert_max_num_queries(20):
        assert awaited.move_to(Status.SUCCEEDED, now=now, reason=EndReason.EXITED)
    assert Run.objects.claimable().count() == 40
    limited = Run.objects.filter(queue_limit_s=60).values_list("expires_at", flat=True)
    assert set(limited) == {now + timedelta(seconds=60)}


def test_neighbours_say_what_they_wait_for_and_what_came_of_it():
    app = make_app()
    done, going = make_run(app, status=Status.SUCCEEDED), submit(app, name="Going")
    run = submit(app, waits_for=[done, going], wait_policy="skip")
    before = upstream(run)
    assert [(one.run_id, one.open, one.outcome) for one in before] == [
        (done.run_id, False, "succeeded"),
        (going.run_id, True, ""),
    ]
    (after,) = downstream(going)
    assert (after.run_id, after.policy, after.status) == (run.run_id, "skip", "queued")
    assert (upstream(going), downstream(run)) == ([], [])


def test_the_graph_goes_three_steps_each_way(django_assert_max_num_queries):
    app = make_app()
    chain = [submit(app)]
    for _ in range(8):
        chain.append(submit(app, waits_for=chain[-1:]))
    with django_assert_max_num_queries(4):
        graph = wait_graph(chain[4])
    ids = [run.run_id for run in chain]
    assert [(node.run_id, node.depth) for node in graph.nodes] == [
        (ids[4 + depth], depth) for depth in range(-3, 4)
    ]
    assert set(graph.edges) == {(ids[n], ids[n + 1]) for n in range(1, 7)}
    assert graph.cut
    assert not wait_graph(chain[1]).nodes[0].depth < -1


def test_the_graph_says_which_runs_were_stopped_early():
    app = make_app()
    early = make_run(app, status=Status.SUCCEEDED, end_reason="stopped_early")
    run = make_run(app)
    RunWait.objects.create(run=run, awaited=early, open=False, outcome="succeeded")
    assert [node.end_reason for node in wait_graph(run).nodes] == ["stopped_early", ""]
    assert [node.end_reason for node in wait_graph(early).nodes] == ["stopped_early", ""]


def test_the_graph_of_a_run_alone_is_that_run(django_assert_max_num_queries):
    run = make_run()
    with django_assert_max_num_queries(1):
        graph = wait_graph(run)
    assert ([node.run_id for node in graph.nodes], graph.edges, graph.cut) == (
        [run.run_id],
        (),
        False,
    )


def test_a_wide_graph_is_cut_and_says_so(django_assert_max_num_queries):
    app = make_app()
    awaited = make_run(app)
    runs = [make_run(app) for _ in range(150)]
    RunWait.objects.bulk_create(RunWait(run=run, awaited=awaited) for run in runs)
    with django_assert_max_num_queries(4):
        graph = wait_graph(awaited)
    assert (len(graph.nodes), len(graph.edges), graph.cut) == (60, 59, True)
    assert len(downstream(awaited)) == 100


def test_a_diamond_is_drawn_once_with_all_its_edges():
    app = make_app()
    top = submit(app)
    left, right = submit(app, waits_for=[top]), submit(app, waits_for=[top])
    bottom = submit(app, waits_for=[left, right])
    start(top)
    graph = wait_graph(top)
    assert {node.run_id: node.depth for node in graph.nodes} == {
        top.run_id: 0,
        left.run_id: 1,
        right.run_id: 1,
        bottom.run_id: 2,
    }
    assert len(graph.edges) == 4
    assert not graph.cut
