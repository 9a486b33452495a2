"""The queue by the SDK: who waits, who is first, who is refused, who is canceled and how fast."""

from __future__ import annotations

import shutil
import time

import pytest
import requests
from nextmv import RunConfiguration, RunQueuing, StatusV2, cloud

from tests.client.conftest import PROBE, Live, pushed, soon
from tests.processes import until

pytestmark = pytest.mark.process


def status(application: cloud.Application, run_id: str) -> StatusV2:
    """Where a run is."""
    return application.run_information(run_id).metadata.status_v2


def programs(live: Live, run_id: str) -> list[int]:
    """The processes of a run, by what their environment says."""
    return [
        pid
        for pid in live.console.run_pids
        if f"RUN_ID={run_id}".encode() in _environment(pid).split(b"\0")
    ]


def _environment(pid: int) -> bytes:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:  # noqa: PTH123
            return file.read()
    except OSError:
        return b""


def test_a_full_queue_refuses_orders_and_lets_go(site: Live) -> None:
    """One story, since it takes both slots of the worker for a while."""
    application = pushed(site, "queue", PROBE)
    until(lambda: not site.console.run_pids)
    sleepers = [application.new_run(input={}, options={"sleep": "600"}) for _ in range(2)]
    until(lambda: all(programs(site, run_id) for run_id in sleepers), 60)

    # No slot is free: who must not wait is refused at once.
    begin = time.monotonic()
    with pytest.raises(requests.HTTPError, match="429") as refused:
        application.new_run(
            input={}, configuration=RunConfiguration(queuing=RunQueuing(disabled=True))
        )
    assert time.monotonic() - begin < 5
    assert "slot" in str(refused.value) or "queu" in str(refused.value), refused.value

    later, first, dropped = (
        application.new_run(
            input={}, name=name, configuration=RunConfiguration(queuing=RunQueuing(priority=number))
        )
        for name, number in (("later", 9), ("first", 1), ("dropped", 5))
    )
    assert {status(application, run_id) for run_id in (later, first, dropped)} == {StatusV2.queued}
    assert application.run_information(later).metadata.duration == 0

    # Contract 2.10: the method of the SDK is broken, the address is not.
    queue = cloud.Queue.from_dict(site.client.request("GET", "v1/account/queue").json())
    ours = [run for run in queue.runs if run.application_id == "queue"]
    assert {run.id for run in ours[:2]} == set(sleepers)
    assert [run.name for run in ours[2:]] == ["first", "dropped", "later"]
    assert [run.status_v2.value for run in ours] == ["running"] * 2 + ["queued"] * 3
    listed = application.list_runs(status=StatusV2.queued)
    assert {run.name for run in listed} == {"first", "dropped", "later"}

    # A queued run is canceled at once and never starts.
    application.cancel_run(dropped)
    assert status(application, dropped) == StatusV2.canceled
    assert application.run_information(dropped).metadata.initiated_at is None

    # A running one is stopped: its processes are gone, its log stays.
    application.cancel_run(sleepers[0])
    until(lambda: status(application, sleepers[0]) == StatusV2.canceled, 60)
    until(lambda: not programs(site, sleepers[0]))
    assert "begin echo" in application.run_logs(sleepers[0]).log
    result = application.run_result(sleepers[0])
    assert (result.metadata.status_v2, result.output) == (StatusV2.canceled, None)
    application.cancel_run(sleepers[0])
    assert status(application, sleepers[0]) == StatusV2.canceled

    # The free slot takes them in the order of their priorities.
    ends = [
        application.run_result_with_polling(run_id, polling_options=soon()).metadata
        for run_id in (first, later)
    ]
    starts = [end.initiated_at for end in ends]
    assert None not in starts
    assert starts == sorted(starts)  # type: ignore[type-var]
    assert status(application, dropped) == StatusV2.canceled
    assert status(application, sleepers[1]) == StatusV2.running

    # A slot is free again: what must not wait runs now.
    quick = application.new_run_with_result(
        input={},
        configuration=RunConfiguration(queuing=RunQueuing(disabled=True)),
        polling_options=soon(),
    )
    assert quick.metadata.status_v2 == StatusV2.succeeded
    assert quick.metadata.queuing_disabled is True
    with pytest.raises(requests.HTTPError, match="409"):
        application.delete_run(sleepers[1])
    application.cancel_run(sleepers[1])
    until(lambda: status(application, sleepers[1]) == StatusV2.canceled, 60)
    until(lambda: not site.console.run_pids)
    application.delete()


def test_a_cancel_at_any_moment_leaves_no_process(site: Live, probe: cloud.Application) -> None:
    """Also between the claim of a run and the start of its program."""
    runs = []
    for number in range(6):
        run_id = probe.new_run(input={}, options={"sleep": "600"})
        time.sleep(0.08 * number)  # other moments of claim and start; each must end well
        probe.cancel_run(run_id)
        runs.append(run_id)

    until(lambda: {status(probe, run_id) for run_id in runs} == {StatusV2.canceled}, 90)
    until(lambda: not [pid for run_id in runs for pid in programs(site, run_id)])
    assert {run.id for run in probe.list_runs(status=StatusV2.canceled)} >= set(runs)


def test_the_organization_is_the_account_of_the_key(site: Live) -> None:
    account = cloud.Account.get(client=site.client, account_id="demo")

    assert account.account_id == "demo"
    assert account.name
    assert all(member.email and member.role for member in account.members or ())
    with pytest.raises(requests.HTTPError, match="404"):
        cloud.Account.get(client=site.client, account_id="other")
    with pytest.raises(requests.HTTPError, match="403"):
        account.update(name="Renamed")
    with pytest.raises(requests.HTTPError, match="403"):
        cloud.Account.new(client=site.client, name="x", admins=["a@example.com"])


def test_methods_that_are_broken_in_the_client_itself(site: Live, probe: cloud.Application) -> None:
    """Section 7 of the contract, and docs/api.md: we learn it when a release mends one."""
    account = cloud.Account.get(client=site.client, account_id="demo")
    ticket = probe.upload_url()
    for broken in (
        account.queue,
        lambda: probe.upload_large_input(input={}, upload_url=ticket),
        lambda: cloud.Client(api_key="k", url=site.base, configuration_file="none.yaml"),
    ):
        with pytest.raises(TypeError, match="'module' object is not callable"):
            broken()
    # A large text cannot be read back: the client takes it for an archive.
    run = probe.new_run_with_result(input="x" * 5_300_000, polling_options=soon())
    assert run.output is not None
    assert run.output["solution"]["given"] == 5_300_000
    with pytest.raises(shutil.ReadError):
        probe.run_input(run.id)
