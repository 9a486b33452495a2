"""The pages of a run: what they say, who may see and do what, what they cost."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from django.utils import timezone

from runs.domain.manifest import Manifest, manifest_to_json
from runs.domain.options import OptionDefinition, OptionsBlock
from runs.domain.status import EndReason, Status
from runs.models import (
    Attempt,
    EndedProcess,
    Run,
    RunEvent,
    RunMetric,
    RunOption,
    RunWait,
    UsageSample,
)
from tests.factories import (
    make_application,
    make_attempt,
    make_executable,
    make_input,
    make_instance,
    make_run,
    make_version,
    make_worker,
)
from tests.web.conftest import Browser

TABS = ("", "log/", "input/", "output/", "visuals/", "resources/", "history/")
EVIL = '<script>alert("x")</script>'


@pytest.fixture(autouse=True)
def store(db: None, settings, tmp_path):
    settings.RUNSITE_DATA_DIR = tmp_path


@pytest.fixture
def application(account):
    return make_application(account, name="Routing")


def full_run(application, status: Status = Status.SUCCEEDED, **fields) -> Run:
    """A run with a row in every table that its pages read; its words are hostile."""
    executable = make_executable(application)
    run = make_run(
        application,
        status=status,
        executable=executable,
        version=make_version(executable),
        instance=make_instance(application),
        input_data=make_input(application.account),
        warnings=[EVIL],
        attempt_number=1,
        **{"name": f"Run {EVIL}", "description": EVIL, "value": 40.84, **fields},
    )
    attempt = make_attempt(run, host=EVIL)
    EndedProcess.objects.create(attempt=attempt, pid=4711, command=EVIL, how="held", signal="KILL")
    columns = {"account": run.account, "application": run.application, "run": run}
    for number in range(5):
        RunMetric.objects.create(**columns, name=f"m{number}{EVIL}", position=number, number=number)
    RunOption.objects.create(**columns, name=EVIL, text=EVIL, short=EVIL, source="run")
    return run


def test_the_summary_says_how_it_went(viewer: Browser, application):
    run = full_run(application, name="Vienna", exit_code=0, peak_memory_bytes=3 * 1024**2)
    page = viewer.get(f"/runs/{run.run_id}/").content.decode()
    assert "Vienna" in page
    assert 'data-status="succeeded"' in page
    assert "40.84" in page
    assert "3.0 MiB" in page
    assert "usually 1.5 s" in page


def test_a_failure_is_said_in_a_sentence_with_its_remedy(viewer: Browser, application):
    run = full_run(
        application,
        Status.FAILED,
        end_reason=EndReason.TIMED_OUT,
        error="timed out after 5 s",
        detail="Raise `time_limit`, or give less.",
    )
    page = viewer.get(f"/runs/{run.run_id}/").content.decode()
    assert "Timed out after 5 s" in page
    assert "Raise <code>time_limit</code>, or give less." in page


@pytest.mark.parametrize("tab", TABS)
@pytest.mark.parametrize("status", list(Status))
def test_no_word_of_a_program_is_markup(viewer: Browser, application, status, tab: str):
    run = full_run(application, status, error=EVIL[:40], detail=EVIL)
    RunEvent.objects.create(run=run, kind=RunEvent.NOTED, actor=EVIL, text=EVIL)
    answer = viewer.get(f"/runs/{run.run_id}/{tab}")
    assert answer.status_code == 200
    page = answer.content.decode()
    assert "<script>alert" not in page
    assert ' style="' not in page
    assert "script-src 'self'" in answer["Content-Security-Policy"]


@pytest.mark.parametrize("tab", TABS)
@pytest.mark.parametrize("status", list(Status))
def test_every_tab_takes_few_queries(
    viewer: Browser, application, status, tab: str, django_assert_max_num_queries
):
    run = full_run(application, status)
    for _ in range(3):
        full_run(application)
    with django_assert_max_num_queries(10):
        assert viewer.get(f"/runs/{run.run_id}/{tab}").status_code == 200


@pytest.mark.parametrize("tab", TABS)
def test_the_run_of_others_is_not_there(outsider: Browser, application, tab: str):
    run = full_run(application, name="Secret")
    answer = outsider.get(f"/runs/{run.run_id}/{tab}")
    assert answer.status_code == 404
    assert "Secret" not in answer.content.decode()


@pytest.mark.parametrize("action", ["cancel/", "delete/"])
def test_nothing_is_done_to_the_run_of_others(outsider: Browser, application, action: str):
    run = full_run(application)
    assert outsider.post(f"/runs/{run.run_id}/{action}").status_code == 404
    assert Run.objects.filter(pk=run.pk).exists()


@pytest.mark.parametrize("run_id", ["none", "%00", "a" * 300, "%F0%9F%98%80", "..%2f"])
def test_ids_of_no_run_are_not_found(viewer: Browser, run_id: str):
    for tab in TABS:
        assert viewer.get(f"/runs/{run_id}/{tab}").status_code == 404


def test_hidden_options_are_hidden_from_the_role(operator: Browser, dev: Browser, application):
    hidden = OptionDefinition(name="tuning", hidden_from=("operator",))
    manifest = Manifest(files=(), options=OptionsBlock(items=(hidden,)))
    run = full_run(application)
    run.executable.manifest = manifest_to_json(manifest)
    run.executable.save(update_fields=["manifest"])
    columns = {"account": run.account, "application": run.application, "run": run}
    RunOption.objects.create(**columns, name="tuning", text="tuned-4711", source="run")
    assert "tuned-4711" in dev.get(f"/runs/{run.run_id}/").content.decode()
    assert "tuned-4711" not in operator.get(f"/runs/{run.run_id}/").content.decode()


def test_who_may_not_cancel_gets_no_button(
    viewer: Browser, operator: Browser, dev: Browser, application
):
    run = make_run(application, submitted_by=operator.user)
    cancel = f'action="/runs/{run.run_id}/cancel/"'
    assert cancel not in viewer.get(f"/runs/{run.run_id}/").content.decode()
    assert cancel in operator.get(f"/runs/{run.run_id}/").content.decode()
    other = make_run(application)
    other_cancel = f'action="/runs/{other.run_id}/cancel/"'
    assert other_cancel not in operator.get(f"/runs/{other.run_id}/").content.decode()
    assert other_cancel in dev.get(f"/runs/{other.run_id}/").content.decode()
    assert operator.post(f"/runs/{other.run_id}/cancel/").status_code == 403


def test_cancel_works_with_a_plain_form(dev: Browser, application):
    run = make_run(application)
    answer = dev.post(f"/runs/{run.run_id}/cancel/")
    assert answer["Location"] == f"/runs/{run.run_id}/"
    run.refresh_from_db()
    assert run.status == Status.CANCELED
    again = dev.post(f"/runs/{run.run_id}/cancel/", follow=True)
    assert "has ended" in again.content.decode()


def test_cancel_answers_htmx_with_the_changed_parts(dev: Browser, application):
    run = make_run(application)
    answer = dev.post(f"/runs/{run.run_id}/cancel/", headers={"HX-Request": "true"})
    page = answer.content.decode()
    assert '<div class="row" id="run-actions">' in page
    assert 'id="run-status" hx-swap-oob="true"' in page
    assert 'data-status="canceled"' in page


def test_a_run_that_runs_is_asked_and_says_so(dev: Browser, application):
    run = full_run(application, Status.RUNNING)
    dev.post(f"/runs/{run.run_id}/cancel/")
    page = dev.get(f"/runs/{run.run_id}/").content.decode()
    assert "Cancel asked for by dev@example.org" in page
    assert f'action="/runs/{run.run_id}/cancel/"' not in page


def test_a_run_is_deleted_by_who_may_and_only_once_it_ended(
    dev: Browser, operator: Browser, application
):
    run = full_run(application, Status.RUNNING)
    assert dev.post(f"/runs/{run.run_id}/delete/").status_code == 409
    ended = full_run(application)
    assert operator.post(f"/runs/{ended.run_id}/delete/").status_code == 403
    assert dev.get(f"/runs/{ended.run_id}/delete/").status_code == 405
    assert dev.post(f"/runs/{ended.run_id}/delete/")["Location"] == "/runs/"
    assert not Run.objects.filter(pk=ended.pk).exists()


def test_run_again_leads_to_the_form_filled_in(operator: Browser, viewer: Browser, application):
    run = full_run(application)
    link = f'/applications/{application.application_id}/launch/?from={run.run_id}"'
    assert link in operator.get(f"/runs/{run.run_id}/").content.decode()
    assert link not in viewer.get(f"/runs/{run.run_id}/").content.decode()


def test_a_queued_run_says_why_it_waits(viewer: Browser, application):
    run = make_run(application)
    page = viewer.get(f"/runs/{run.run_id}/").content.decode()
    assert "Waiting" in page
    assert "no worker" in page.lower()


def test_only_a_run_that_goes_on_is_live(viewer: Browser, application):
    for status in Status:
        run = full_run(application, status)
        page = viewer.get(f"/runs/{run.run_id}/").content.decode()
        assert ("data-live-url" in page) == (not run.is_final)


def test_the_history_names_every_attempt_and_what_was_ended(viewer: Browser, application):
    run = full_run(application, Status.FAILED)
    Attempt.objects.filter(run=run).update(
        outcome="worker_lost", ended_at=run.ended_at, pid=123, exit_code=None, signal=9
    )
    make_attempt(run, number=2, worker_name="second-worker")
    page = viewer.get(f"/runs/{run.run_id}/history/").content.decode()
    assert "worker lost" in page
    assert "4711" in page
    assert "second-worker" in page
    assert "under way" in page


def test_the_resources_are_a_figure(viewer: Browser, application):
    run = full_run(application, Status.RUNNING)
    attempt = Attempt.objects.get(run=run)
    for second in range(5):
        UsageSample.objects.create(
            attempt=attempt, at_s=second, cpu_s=second / 2, memory_bytes=1024**2, processes=3
        )
    answer = viewer.get(f"/runs/{run.run_id}/resources/")
    page = answer.content.decode()
    figure = page.split('<script type="application/json">')[1].split("</script>")[0]
    assert len(json.loads(figure)["data"]) == 2
    assert "'unsafe-inline'" in answer["Content-Security-Policy"].split("style-src")[1]
    assert "unsafe-inline" not in answer["Content-Security-Policy"].split("style-src")[0]


# --- Stops, limits, waits -----------------------------------------------------------------------


def test_stop_and_keep_is_asked_for_once_and_said(dev: Browser, viewer: Browser, application):
    run = full_run(application, Status.RUNNING)
    stop = f'action="/runs/{run.run_id}/stop/"'
    assert stop in dev.get(f"/runs/{run.run_id}/").content.decode()
    assert stop not in viewer.get(f"/runs/{run.run_id}/").content.decode()
    answer = dev.post(f"/runs/{run.run_id}/stop/")
    assert answer["Location"] == f"/runs/{run.run_id}/"
    page = dev.get(f"/runs/{run.run_id}/").content.decode()
    assert "Stop asked for by dev@example.org" in page
    assert stop not in page
    assert f'action="/runs/{run.run_id}/cancel/"' in page
    assert "Stop requested" in dev.get(f"/runs/{run.run_id}/history/").content.decode()
    run.refresh_from_db()
    assert run.stop_actor == "dev@example.org"


def test_a_queued_run_cannot_be_stopped_early(dev: Browser, application):
    run = make_run(application)
    assert "/stop/" not in dev.get(f"/runs/{run.run_id}/").content.decode()
    answer = dev.post(f"/runs/{run.run_id}/stop/")
    assert answer.status_code == 409
    assert "Cancel it" in answer.content.decode()


def test_stopped_early_is_told_apart_from_plain_success(viewer: Browser, application):
    early = full_run(application, end_reason=EndReason.STOPPED_EARLY, stop_actor="ann@example.org")
    plain = full_run(application)
    page = viewer.get(f"/runs/{early.run_id}/").content.decode()
    assert "#check-early" in page
    assert "stopped early" in page
    assert "ann@example.org asked for it" in page
    assert "check-early" not in viewer.get(f"/runs/{plain.run_id}/").content.decode()


def test_a_superseded_run_leads_to_the_other(viewer: Browser, application):
    other = make_run(application)
    run = full_run(
        application,
        Status.CANCELED,
        end_reason=EndReason.SUPERSEDED,
        detail=f"Replaced by run {other.run_id}, which has the same concurrency key.",
    )
    page = viewer.get(f"/runs/{run.run_id}/").content.decode()
    assert f'href="/runs/{other.run_id}/"' in page
    assert "superseded" in page


def test_limits_in_force_stand_beside_what_was_used(viewer: Browser, application):
    run = full_run(
        application,
        Status.FAILED,
        end_reason=EndReason.MEMORY_LIMIT,
        memory_limit_bytes=512 * 1024**2,
        peak_memory_bytes=768 * 1024**2,
        time_limit_s=60,
        keep_at_time_limit=True,
        retries=2,
        retry_on="exit_code:75 signal",
    )
    page = viewer.get(f"/runs/{run.run_id}/").content.decode()
    for words in (
        "768 MiB of 512 MiB",
        "150 %",
        "1.5 s of 1 min 0 s",
        "stop and keep the result",
        "exit code 75, killed by a signal",
    ):
        assert words in page
    assert '<details class="folded" open id="run-limits">' in page
    plain = full_run(application)
    assert "run-limits" not in viewer.get(f"/runs/{plain.run_id}/").content.decode()


def test_runs_around_a_run_are_drawn_and_listed(viewer: Browser, application):
    before, after = make_run(application, name="Before"), make_run(application, name="After")
    run = full_run(application, Status.QUEUED, hold="runs", open_waits=1, wait_policy="skip")
    RunWait.objects.create(run=run, awaited=before)
    RunWait.objects.create(run=after, awaited=run)
    page = viewer.get(f"/runs/{run.run_id}/").content.decode()
    assert "<svg" in page
    for other in (before, after):
        assert page.count(f'href="/runs/{other.run_id}/"') >= 2
    assert "Waited for by" in page
    assert "this run is skipped" in page
    assert "Waits for run <a" in page
    alone = full_run(application)
    assert "run-neighbours" not in viewer.get(f"/runs/{alone.run_id}/").content.decode()


def test_a_run_that_was_stopped_early_is_told_apart_in_the_drawing(viewer: Browser, application):
    run = full_run(application, Status.QUEUED, hold="runs", open_waits=1)
    for name, reason in (("Whole", "exited"), ("Short", "stopped_early")):
        before = make_run(application, name=name, status=Status.SUCCEEDED, end_reason=reason)
        RunWait.objects.create(run=run, awaited=before, open=False, outcome="succeeded")
    page = viewer.get(f"/runs/{run.run_id}/").content.decode()
    assert 'aria-label="Short, stopped early"' in page
    assert 'aria-label="Whole, succeeded"' in page


def test_a_waiting_run_says_when_it_gives_up_and_on_wish_when_it_should_start(
    viewer: Browser, application, django_assert_max_num_queries
):
    make_worker()
    run = make_run(application, queue_limit_s=3600, expires_at=timezone.now() + timedelta(hours=1))
    with django_assert_max_num_queries(10):
        page = viewer.get(f"/runs/{run.run_id}/").content.decode()
    assert "Gives up" in page
    assert "?starts=1" in page
    page = viewer.get(f"/runs/{run.run_id}/?starts=1").content.decode()
    assert "now" in page.split("Expected start")[1].split("</dd>")[0]


def test_an_open_page_of_a_waiting_run_is_told_when_it_should_start(viewer: Browser, application):
    make_worker()
    run = make_run(application)
    first = viewer.get(f"/runs/{run.run_id}/poll/?tab=summary").json()
    second = viewer.get(f"/runs/{run.run_id}/poll/?tab=summary&after={first['after']}").json()
    [event] = second["events"]
    assert event["data"]["id"] == "run-waiting"
    assert "now" in event["data"]["html"]
