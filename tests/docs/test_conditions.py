"""Each row of the table of conditions, and of the page on reliability, has tests that prove it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.test_docs import ARCHITECTURE, DOCS, rows, section

TESTS = Path(__file__).resolve().parents[1]
HEADING = "### Every condition that is not final has a deadline and an owner"
RELIABILITY = (DOCS / "reliability.md").read_text()

# As the first cell of the row says it: a condition that is added there is added here, with a test.
PROVED_BY: dict[str, tuple[str, ...]] = {
    "queued, admissible, a slot free": (
        "worker/test_slots.py::test_a_run_is_found_without_any_nudge",
        "supervision/test_duties.py::test_queues_in_which_a_run_could_start_are_nudged",
    ),
    "queued, held by pause, limit, missing worker or environment": (
        "queue/test_claim.py::test_a_paused_queue_is_left_alone_until_it_is_resumed",
        "queue/test_claim.py::test_the_limit_of_a_queue_holds_what_is_above_it",
        "queue/test_order.py::test_without_a_worker_everything_waits_for_one",
        "queue/test_order.py::test_limits_say_how_much_runs",
    ),
    "queued, environment not built": (
        "queue/test_claim.py::test_a_run_waits_until_its_environment_is_built_on_the_host",
        "queue/test_claim.py::test_a_run_whose_environment_cannot_be_built_is_claimed_to_be_ended",
    ),
    "queued, waits for other runs": (
        "models/test_waits.py::test_the_last_of_the_awaited_lets_a_run_start",
        "models/test_waits.py::test_a_run_obeys_its_policy_when_an_awaited_one_does_not_succeed",
    ),
    "queued, waits for its concurrency key": (
        "models/test_waits.py::test_the_end_of_a_run_admits_the_next_of_its_key_in_order",
        "supervision/test_held_runs.py::test_a_key_with_room_admits_those_who_wait_for_it",
    ),
    "queued, its executable is not checked": (
        "actions/test_pushes.py::test_runs_wait_for_a_large_push_and_go_on_in_its_environment",
        "actions/test_pushes.py::test_a_refused_push_ends_its_runs_and_the_one_before_is_in_use",
        "actions/test_pushes.py::test_runs_that_an_accident_left_behind_are_let_go",
        "actions/test_checking_races.py::"
        "test_runs_submitted_while_a_check_ends_are_let_go_and_obey_their_key",
    ),
    "queued, is to be tried again": (
        "supervision/test_held_runs.py::"
        "test_a_run_is_tried_again_when_its_delay_is_over_and_not_before",
    ),
    "queued, has a queue limit": (
        "supervision/test_held_runs.py::test_a_run_that_waited_too_long_fails_and_says_so",
    ),
    "queued, cancel requested": (
        "actions/test_runs_cancel.py::test_a_queued_run_is_canceled_at_once_and_says_by_whom",
        "queue/test_claim.py::test_a_run_wanted_canceled_is_not_claimed_but_canceled",
        "queue/test_reaper.py::test_queued_runs_that_were_to_be_canceled_are_canceled",
    ),
    "running, preparing or collecting": (
        "queue/test_reaper.py::test_one_stuck_run_of_a_lively_worker_is_taken_alone",
        "worker/test_patience.py::test_an_outage_is_waited_for_and_life_is_shown",
    ),
    "running, executing": (
        "execution/test_executor.py::test_the_time_limit_ends_a_program",
        "journeys/test_stress.py::test_a_time_limit_ends_a_run",
    ),
    "running, cancel requested": (
        "worker/test_slots.py::test_a_request_to_cancel_reaches_the_run",
        "queue/test_reaper.py::test_a_lost_run_that_was_to_be_canceled_is_canceled",
    ),
    "running, stop requested": (
        "worker/test_limits_and_stops.py::"
        "test_a_run_that_is_stopped_keeps_what_it_writes_at_the_end",
        "queue/test_reaper.py::test_a_lost_run_that_was_to_be_stopped_has_no_result",
    ),
    "running, worker lost": (
        "queue/test_reaper.py::test_a_run_is_given_back_while_attempts_are_left",
        "queue/test_reaper.py::test_after_the_last_attempt_the_run_fails",
        "queue/test_reaper.py::test_former_boots_of_a_worker_are_released_at_once",
    ),
    "running, worker stopped": (
        "queue/test_reaper.py::test_a_stopped_worker_gives_back_what_may_be_repeated",
        "worker/test_worker_processes.py::test_the_second_signal_ends_the_runs_and_gives_them_back",
    ),
    "running, the worker's own disk is full or broken": (
        "worker/test_own_disk.py::test_an_output_that_finds_no_room_is_no_fault_of_the_app",
        "worker/test_own_disk.py::test_when_no_attempt_is_left_the_run_says_what_was_wrong",
        "worker/test_slots.py::test_a_full_disk_stops_claiming_and_is_said",
    ),
    "running, no open attempt has its token": (
        "queue/test_reaper.py::test_a_running_run_without_an_attempt_is_taken_back",
    ),
    "attempt open, holds no run": (
        "queue/test_reaper.py::test_an_open_attempt_that_holds_nothing_is_closed",
    ),
    "nudge under way": (
        "queue/test_dispatch.py::test_a_nudge_not_arrived_within_two_seconds_counts_as_lost",
        "queue/test_dispatch.py::test_a_nudge_that_arrived_lets_the_next_one_go",
    ),
    "queue paused": (
        "actions/test_queues.py::test_a_queue_goes_on_once",
        "web/test_queue.py::test_pause_and_resume",
    ),
    "worker active": (
        "queue/test_reaper.py::test_a_silent_worker_is_lost_after_its_lease_and_not_before",
        "queue/test_reaper.py::test_a_beating_worker_is_never_lost",
    ),
    "worker draining": (
        "worker/test_worker_processes.py::"
        "test_the_first_signal_lets_runs_finish_and_takes_nothing_new",
        "worker/test_worker_processes.py::test_the_second_signal_ends_the_runs_and_gives_them_back",
        "worker/test_slots.py::test_a_worker_that_a_page_drains_takes_nothing_until_it_is_resumed",
    ),
    "worker lost": (
        "worker/test_worker_processes.py::test_a_frozen_worker_changes_nothing_when_it_comes_back",
        "worker/test_boot.py::test_a_boot_without_an_end_is_closed_by_the_next_one",
    ),
    "boot without an end": (
        "worker/test_boot.py::test_a_boot_without_an_end_is_closed_by_the_next_one",
    ),
    "build waiting": (
        "worker/test_builder.py::test_what_a_waiting_run_needs_is_built_here",
        "worker/test_builder.py::test_a_build_that_waits_is_built_and_a_failure_is_said",
    ),
    "build building": (
        "worker/test_builder.py::test_what_a_former_boot_of_the_worker_began_is_built_again",
        "queue/test_reaper.py::test_a_build_whose_builder_is_gone_waits_again",
        "execution/test_dependencies.py::test_a_build_that_takes_too_long_is_ended",
    ),
    "executable waiting to be checked": (
        "worker/test_intake.py::test_what_waits_is_checked_in_the_order_of_the_pushes",
        "worker/test_intake_accidents.py::test_one_that_never_fits_on_the_disk_holds_up_no_other",
    ),
    "executable being checked": (
        "worker/test_intake.py::test_what_a_former_boot_began_is_checked_again",
        "worker/test_intake.py::test_a_store_that_is_away_is_waited_for",
        "queue/test_reaper.py::test_an_executable_whose_checker_is_gone_waits_again",
        "worker/test_intake_accidents.py::test_one_that_was_taken_without_an_answer_is_checked",
        "worker/test_intake_accidents.py::test_what_the_database_refuses_refuses_the_build",
    ),
    "request to submit a run is remembered": (
        "supervision/test_duties.py::test_requests_of_yesterday_are_forgotten",
    ),
    "submit under way": (
        "actions/test_submissions.py::test_while_it_is_under_way_a_repetition_comes_again_later",
        "actions/test_submissions.py::"
        "test_a_key_whose_request_was_killed_can_be_used_after_five_minutes",
    ),
    "loop lease held": (
        "supervision/test_scheduler.py::"
        "test_the_standby_takes_over_after_the_lease_by_its_own_clock",
        "supervision/test_scheduler.py::test_a_lease_that_was_released_is_taken_at_once",
    ),
    "log of a lost attempt in rows and parts": (
        "supervision/test_lost_logs.py::"
        "test_the_rows_and_parts_of_a_lost_attempt_can_be_read_and_are_joined",
        "worker/test_worker_processes.py::test_a_frozen_worker_changes_nothing_when_it_comes_back",
    ),
    "objects of a lost or stopped attempt that no row names": (
        "supervision/test_stray_objects.py::"
        "test_a_result_whose_worker_was_killed_before_its_commit_goes",
        "supervision/test_stray_objects.py::"
        "test_pieces_of_a_log_go_only_when_they_were_in_vain_an_hour_ago_too",
    ),
    "input that nothing uses": (
        "supervision/test_duties.py::test_inputs_that_nothing_uses_go_after_a_day",
    ),
    "results or log wait for the store": (
        "worker/test_conduct.py::test_results_wait_for_space_in_the_store",
        "worker/test_patience.py::test_who_is_killed_gives_up",
    ),
    "upload begun or unused": (
        "supervision/test_duties.py::test_an_upload_that_is_to_be_checked_stays",
        "supervision/test_duties.py::test_uploads_that_nobody_used_go_after_a_day",
    ),
    "sign-in link open": (
        "supervision/test_duties.py::test_sign_in_links_and_sessions_that_ran_out_go",
    ),
    "session": ("supervision/test_duties.py::test_sign_in_links_and_sessions_that_ran_out_go",),
}


def _is_there(named: str) -> bool:
    file, _, test = named.partition("::")
    path = TESTS / file
    return path.is_file() and re.search(rf"^def {test}\(", path.read_text(), re.M) is not None


def test_every_condition_has_a_test() -> None:
    conditions = [row[0] for row in rows(section(ARCHITECTURE, HEADING))]
    assert sorted(conditions) == sorted(PROVED_BY)
    missing = [named for tests in PROVED_BY.values() for named in tests if not _is_there(named)]
    assert missing == []


@pytest.mark.parametrize(
    "heading",
    ["## What was asked for, and what proves it", "## How such systems fail", "## Trials"],
)
def test_every_row_on_reliability_names_tests_that_exist(heading: str) -> None:
    table = rows(section(RELIABILITY, heading))
    assert len(table) > 8
    for row in table:
        assert all(row), row
        named = re.findall(r"`([\w/]+\.py::\w+)`", row[-1])
        assert ", ".join(f"`{one}`" for one in named) == row[-1], row[0]
        assert [one for one in named if not _is_there(one)] == [], row[0]
