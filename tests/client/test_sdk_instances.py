"""Instances by the SDK: configuration as it was sent, the lock, `latest`, which options win."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import requests
from nextmv import Format, FormatInput, InputFormat, RunQueuing, cloud

from tests.client.conftest import PROBE, Live, pushed, soon

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def application(site: Live) -> Iterator[cloud.Application]:
    """An application with a version `v1`."""
    made = pushed(site, "instances", PROBE)
    made.new_version(id="v1")
    yield made
    made.delete()


def test_an_instance_keeps_its_configuration_as_it_was_sent(
    application: cloud.Application,
) -> None:
    sent = cloud.InstanceConfiguration(
        execution_class="default",
        format=Format(format_input=FormatInput(input_type=InputFormat.JSON)),
        options={"label": "from the instance", "lines": "2"},
        queuing=RunQueuing(priority=3, disabled=False),
    )

    made = application.new_instance(
        version_id="v1", id="full", name="Full", description="of the tests", configuration=sent
    )

    assert (made.id, made.name, made.description) == ("full", "Full", "of the tests")
    assert (made.application_id, made.version_id, made.locked) == ("instances", "v1", False)
    # The default queue is the same whether it is named or not: it reads back as not named.
    assert made.configuration.to_dict() | {"execution_class": "default"} == sent.to_dict()
    assert application.instance("full").to_dict() == made.to_dict()
    plain = application.new_instance(version_id="v1", id="plain")
    # Contract 5.3: no null where a text is required.
    assert (plain.name, plain.description) == ("plain", "")
    assert plain.configuration.to_dict() == {}


def test_instances_are_found_listed_and_not_made_twice(application: cloud.Application) -> None:
    application.new_instance(version_id="v1", id="a")
    application.new_instance(version_id="v1", id="b", name="B")

    # Contract 5.1 and 5.2.
    assert application.instance_exists("a")
    assert not application.instance_exists("zz")
    assert application.new_instance(version_id="v1", id="b", name="C", exist_ok=True).name == "B"
    with pytest.raises(requests.HTTPError, match="409"):
        application.new_instance(version_id="v1", id="b")
    with pytest.raises(requests.HTTPError, match=r"400.*v9"):
        application.new_instance(version_id="v9", id="c")
    paged = [one.id for one in application.list_instances()]
    assert [each for each in paged if each in {"a", "b"}] == ["a", "b"]
    assert [one.id for one in application.list_instances(no_pagination=True)] == paged
    for instance_id in ("a", "b"):
        application.delete_instance(instance_id)
    assert not application.instance_exists("a")


def test_a_change_replaces_the_configuration_and_nothing_else(
    application: cloud.Application,
) -> None:
    application.new_instance(
        version_id="v1",
        id="changing",
        name="Changing",
        description="kept",
        configuration=cloud.InstanceConfiguration(options={"label": "x"}),
    )

    renamed = application.update_instance("changing", name="Renamed")
    replaced = application.update_instance(
        "changing", configuration={"queuing": {"priority": 2, "disabled": False}}
    )

    # Contract 5.23: all that was read goes back with the change.
    assert renamed.configuration.to_dict() == {"options": {"label": "x"}}
    assert (renamed.name, renamed.description) == ("Renamed", "kept")
    assert replaced.configuration.to_dict() == {"queuing": {"priority": 2, "disabled": False}}
    assert (replaced.name, replaced.version_id) == ("Renamed", "v1")
    application.new_version(id="v2", exist_ok=True)
    assert application.update_instance("changing", version_id="v2").version_id == "v2"


def test_a_locked_instance_takes_no_change_until_it_is_released(
    application: cloud.Application,
) -> None:
    application.new_instance(version_id="v1", id="safe")

    locked = application.update_instance("safe", locked=True)

    assert locked.locked
    with pytest.raises(requests.HTTPError, match=r"409.*lock"):
        application.update_instance("safe", name="Other")
    with pytest.raises(requests.HTTPError, match=r"409.*lock"):
        application.delete_instance("safe")
    # The client writes the whole object before it asks for the lock.
    assert not application.update_instance("safe", locked=False).locked
    application.delete_instance("safe")


def test_latest_is_there_after_a_push_and_cannot_be_made_or_deleted(
    site: Live, application: cloud.Application
) -> None:
    # Contract 5.18: nothing creates it.
    latest = application.instance("latest")

    assert (latest.id, latest.version_id, latest.configuration.to_dict()) == (
        *("latest", "latest"),
        {},
    )
    assert latest.locked, "nothing can change it"
    assert "latest" not in [one.id for one in application.list_instances()]
    with pytest.raises(requests.HTTPError, match="status code 4"):
        application.delete_instance("latest")
    with pytest.raises(requests.HTTPError, match="status code 4"):
        application.new_instance(version_id="v1", id="latest")
    empty = cloud.Application.new(client=site.client, id="unpushed")
    assert not empty.instance_exists("latest")
    empty.delete()


def test_options_of_the_run_win_over_the_instance_and_those_over_the_manifest(
    application: cloud.Application,
) -> None:
    application.new_instance(
        version_id="v1",
        id="ordered",
        configuration=cloud.InstanceConfiguration(
            options={"label": "instance", "lines": "1"}, queuing=RunQueuing(priority=4)
        ),
    )

    result = application.new_run_with_result(
        input={}, instance_id="ordered", run_options={"label": "run"}, polling_options=soon()
    )

    assert result.output is not None
    assert result.output["solution"]["arguments"] == ["-lines", "1", "-label", "run"]
    metadata = result.metadata
    assert metadata.application_instance_id == "ordered"
    assert metadata.application_version_id == "v1"
    assert metadata.queuing_priority == 4
    # Contract 5.17: options are texts.
    assert metadata.options is not None
    assert metadata.options.request_options == {"label": "run"}
    active = metadata.options.active_options
    assert active is not None
    assert (active["label"], active["lines"], active["mode"]) == ("run", "1", "echo")
    summary = {one.name: (one.value, one.source) for one in metadata.options.options_summary or ()}
    assert summary["label"] == ("run", "run")
    assert summary["lines"] == ("1", "instance")
    assert summary["mode"] == ("echo", "manifest")


def test_the_default_instance_takes_runs_that_name_none(application: cloud.Application) -> None:
    # Contract 5.19: the usual case of command line and MCP.
    application.new_instance(
        version_id="v1",
        id="usual",
        configuration=cloud.InstanceConfiguration(options={"label": "usual"}),
    )
    before = application.new_run_with_result(input={}, polling_options=soon())
    assert before.metadata.application_instance_id == "latest"
    assert application.update(default_instance_id="usual").default_instance_id == "usual"

    result = application.new_run_with_result(input={}, polling_options=soon())
    named = application.new_run_with_result(input={}, instance_id="latest", polling_options=soon())

    assert result.metadata.application_instance_id == "usual"
    assert result.output is not None
    assert result.output["solution"]["arguments"] == ["-label", "usual"]
    assert named.metadata.application_instance_id == "latest"
    with pytest.raises(requests.HTTPError, match=r"404.*nowhere"):
        application.new_run(input={}, instance_id="nowhere")
    with pytest.raises(requests.HTTPError, match="status code 4"):
        application.update(default_instance_id="nowhere")


def test_runs_of_a_deleted_instance_keep_its_id(application: cloud.Application) -> None:
    application.new_instance(version_id="v1", id="gone")
    run = application.new_run_with_result(input={}, instance_id="gone", polling_options=soon())

    application.delete_instance("gone")

    information = application.run_information(run.id)
    assert information.metadata.application_instance_id == "gone"
    assert information.metadata.application_version_id == "v1"
