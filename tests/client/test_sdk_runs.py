"""Runs by the SDK: every form of input, options and classes, what is refused; contents compared."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import requests
from nextmv import (
    Format,
    FormatInput,
    FormatOutput,
    InputFormat,
    OutputFormat,
    RunConfiguration,
    RunQueuing,
    StatusV2,
    cloud,
)

from tests.client.conftest import Live, soon

pytestmark = pytest.mark.process

LARGEST_INLINE = 5 * 1024 * 1024


def test_an_object_goes_in_and_comes_back(site: Live, probe: cloud.Application) -> None:
    before = datetime.now(UTC) - timedelta(minutes=5)
    given = {"text": "ä€😀", "list": [1, None, True], "deep": {"x": 1.5}}

    run = probe.new_run_with_result(
        input=given, name="First", description="of the tests", polling_options=soon()
    )

    assert (run.name, run.description, run.user_email) == ("First", "of the tests", "")
    assert run.metadata.status_v2 == StatusV2.succeeded
    assert run.output is not None
    assert run.output["solution"]["given"] == given
    assert run.output["solution"]["arguments"] == []
    # What is written beside the solution is part of the output, and the metrics are metadata, too.
    assert run.output["metrics"] == run.metadata.metrics
    metadata = run.metadata
    assert metadata.metrics is not None
    assert metadata.metrics["name"] == "echo"
    assert metadata.application_id == "probe"
    assert (metadata.application_instance_id, metadata.application_version_id) == (
        *("latest", "latest"),
    )
    assert metadata.error == ""
    # Contract 5.4 and 5.5: both formats and the type are there, though nobody sent them.
    assert metadata.format.format_input.input_type.value == "json"
    assert metadata.format.format_output is not None
    assert metadata.format.format_output.output_type.value == "json"
    assert metadata.run_type is not None
    assert metadata.run_type.run_type is not None
    assert metadata.run_type.run_type.value == "standard"
    assert metadata.runtime == "ghcr.io/nextmv-io/runtime/python:3.11"
    assert (metadata.queuing_priority, metadata.queuing_disabled) == (6, False)
    assert metadata.input_size == len(json.dumps(given, separators=(",", ":")))
    # Contract 5.8: statistics only of programs that write some.
    assert metadata.statistics is None
    # Contract 5.27 and 5.28: zones, and milliseconds.
    assert metadata.created_at.utcoffset() is not None
    assert metadata.created_at > before
    assert metadata.initiated_at is not None
    assert metadata.initiated_at >= metadata.created_at
    assert metadata.execution_duration is not None
    assert 10 < metadata.execution_duration <= metadata.duration < 120_000
    # Contract 1.8: the client writes its own host into the link; the path is right.
    assert run.console_url.endswith(f"/app/probe/run/{run.id}?view=details")
    sent = site.client.request("GET", f"v1/applications/probe/runs/{run.id}").json()
    assert sent["console_url"] == f"{site.base}/app/probe/run/{run.id}"
    assert probe.run_input(run.id) == given


def test_the_link_of_the_client_leads_to_the_run_when_the_host_is_told(
    site: Live, probe: cloud.Application
) -> None:
    client = cloud.Client(api_key=site.secret, url=site.base, console_url=site.base)
    application = cloud.Application.get(client=client, id="probe")
    run_id = application.new_run(input={})

    link = application.run_result_with_polling(run_id, polling_options=soon()).console_url

    page = requests.get(link, timeout=20, allow_redirects=False)
    assert page.status_code in {302, 303}, "people who are not signed in are asked to"
    assert "sign-in" in page.headers["Location"]
    assert run_id in page.headers["Location"]


@pytest.mark.parametrize("size", [3_000_000, LARGEST_INLINE - 100, LARGEST_INLINE + 100])
def test_inputs_around_the_limit_arrive_whole(probe: cloud.Application, size: int) -> None:
    # Contract 5.13: above 1 and 2.5 MB inline; above 5 MiB the client uploads.
    given = {"padding": "x" * (size - len('{"padding":""}'))}

    run = probe.new_run_with_result(input=given, polling_options=soon())

    assert run.output is not None, run
    assert run.output["solution"]["given"] == size
    assert run.metadata.input_size == size
    assert probe.run_input(run.id) == given


def test_a_directory_goes_in_and_one_comes_back(folders: cloud.Application, tmp_path: Path) -> None:
    given = tmp_path / "given"
    (given / "deep" / "er").mkdir(parents=True)
    (given / "a.csv").write_text("1,a\n")
    (given / "deep" / "er" / "b.txt").write_text("ü and more")
    sizes = sum(path.stat().st_size for path in given.rglob("*") if path.is_file())

    run = folders.new_run_with_result(
        input_dir_path=str(given),
        output_dir_path=str(tmp_path / "out"),
        run_options={"copies": "2"},
        polling_options=soon(),
    )

    assert run.metadata.status_v2 == StatusV2.succeeded, run
    found = {
        str(path.relative_to(tmp_path / "out")): path.read_text()
        for path in (tmp_path / "out").rglob("*")
        if path.is_file()
    }
    assert found == {
        f"copy{copy}/{name}": text
        for copy in (0, 1)
        for name, text in (("a.csv", "1,A\n"), ("deep/er/b.txt", "Ü AND MORE"))
    }
    assert run.output is None
    assert run.metadata.metrics == {"files": 4}
    assert run.metadata.input_size == sizes
    assert run.metadata.output_size == 2 * sizes
    assert run.metadata.format.format_input.input_type.value == "multi-file"
    [asset] = folders.list_assets(run.id)
    assert folders.download_asset_content(asset) == {"files": 4}
    log = folders.run_logs(run.id).log
    assert {"to stdout", "to stderr"} <= set(log.splitlines())
    folders.run_input(run.id, output_dir_path=str(tmp_path / "back"))
    assert (tmp_path / "back" / "deep" / "er" / "b.txt").read_text() == "ü and more"
    assert (tmp_path / "back" / "a.csv").read_text() == "1,a\n"


def test_a_text_goes_in_as_it_is(probe: cloud.Application) -> None:
    run = probe.new_run_with_result(input="plain ä\nand more", polling_options=soon())

    assert run.metadata.format.format_input.input_type.value == "text"
    assert run.metadata.format.format_output is not None
    assert run.metadata.format.format_output.output_type.value == "json"
    assert run.output is not None
    assert run.output["solution"]["given"] == "plain ä\nand more"
    # Small ones are read back as JSON.
    assert probe.run_input(run.id) == "plain ä\nand more"


def test_an_object_for_a_program_of_folders_is_refused_in_words(
    folders: cloud.Application,
) -> None:
    sent = RunConfiguration(
        format=Format(
            format_input=FormatInput(input_type=InputFormat.MULTI_FILE),
            format_output=FormatOutput(output_type=OutputFormat.MULTI_FILE),
        )
    )
    with pytest.raises(requests.HTTPError, match=r"400.*upload_id"):
        folders.new_run(input={"a": 1}, configuration=sent)


def test_a_list_or_a_number_is_refused_for_a_json_program(
    site: Live, probe: cloud.Application
) -> None:
    # The client sends no list by itself; another program does.
    for value in ([1, 2], 3, "text"):
        with pytest.raises(requests.HTTPError, match="status code 400") as refused:
            site.client.request(
                "POST", "v1/applications/probe/runs", payload={"input": value, "configuration": {}}
            )
        assert "object" in str(refused.value), refused.value


def test_the_format_is_filled_in_where_none_is_said(
    site: Live, probe: cloud.Application, folders: cloud.Application, tmp_path: Path
) -> None:
    # Contract 5.4: command line and MCP send a configuration without output, or without format.
    given = tmp_path / "given"
    given.mkdir()
    (given / "one.txt").write_text("x")
    for configuration in (
        RunConfiguration(),
        RunConfiguration(
            format=Format(format_input=FormatInput(input_type=InputFormat.MULTI_FILE))
        ),
    ):
        run_id = folders.new_run(input_dir_path=str(given), configuration=configuration)
        run = folders.run_result_with_polling(
            run_id, polling_options=soon(), output_dir_path=str(tmp_path / run_id)
        )
        assert run.metadata.format.to_dict() == {
            "input": {"type": "multi-file"},
            "output": {"type": "multi-file"},
        }
        assert (tmp_path / run_id / "copy0" / "one.txt").read_text() == "X"
    bare = site.client.request("POST", "v1/applications/probe/runs", payload={"input": {}}).json()
    run = probe.run_result_with_polling(bare["run_id"], polling_options=soon())
    assert run.metadata.status_v2 == StatusV2.succeeded
    assert run.metadata.format.to_dict() == {"input": {"type": "json"}, "output": {"type": "json"}}


def test_an_upload_is_used_more_than_once(probe: cloud.Application) -> None:
    ticket = probe.upload_url()
    probe.upload_data(upload_url=ticket, data={"from": "upload"})

    runs = [
        probe.new_run_with_result(upload_id=ticket.upload_id, polling_options=soon())
        for _ in range(2)
    ]
    kept = probe.new_managed_input(id="of-upload", upload_id=ticket.upload_id)

    for run in runs:
        assert run.output is not None
        assert run.output["solution"]["given"] == {"from": "upload"}
    assert kept.id == "of-upload"
    assert runs[0].id != runs[1].id
    empty = probe.upload_url()
    with pytest.raises(requests.HTTPError, match="status code 400"):
        probe.new_run(upload_id=empty.upload_id)
    with pytest.raises(requests.HTTPError, match="status code 400"):
        probe.new_run(upload_id="never-was")
    probe.delete_managed_input("of-upload")


def test_an_upload_needs_no_key_but_the_right_address(site: Live, probe: cloud.Application) -> None:
    # Contract 5.9 and 5.10: absolute, signed, no key; without the signature nothing is taken.
    ticket = probe.upload_url()
    assert site.signs(ticket.upload_url), ticket.upload_url
    assert ("X-Amz-Signature=" in ticket.upload_url) == site.bucket
    if not site.bucket:
        bare, _, signature = ticket.upload_url.rpartition("?")
        assert signature
        assert requests.put(bare, data=b"{}", timeout=20).status_code in {401, 403, 404}
        changed = ticket.upload_url[:-1] + ("a" if ticket.upload_url[-1] != "a" else "b")
        assert requests.put(changed, data=b"{}", timeout=20).status_code in {401, 403, 404}
        # Contract 3: a body without a length is not stored.
        assert requests.put(ticket.upload_url, data=iter([b"{}"]), timeout=20).status_code == 411
    assert requests.put(ticket.upload_url, data=b"{}", timeout=20).ok
    run = probe.new_run_with_result(upload_id=ticket.upload_id, polling_options=soon())
    assert run.metadata.status_v2 == StatusV2.succeeded


def test_options_are_texts_whatever_was_given(probe: cloud.Application) -> None:
    # Contract 5.17.
    run = probe.new_run_with_result(
        input={},
        run_options={"label": "two words", "lines": 2, "extra": {"a": [1]}, "flag": True},
        polling_options=soon(),
    )

    assert run.output is not None
    assert run.output["solution"]["arguments"] == [
        *("-lines", "2", "-label", "two words"),
        *("-extra", '{"a":[1]}', "-flag", "true"),
    ]
    assert run.metadata.options is not None
    assert run.metadata.options.request_options == {
        **{"label": "two words", "lines": "2"},
        **{"extra": '{"a":[1]}', "flag": "true"},
    }
    [listed] = [one for one in probe.list_runs() if one.id == run.id]
    assert listed.request_options == run.metadata.options.request_options
    assert listed.options == run.metadata.options.active_options


def test_options_that_are_not_allowed_are_refused_in_words(
    folders: cloud.Application, tmp_path: Path
) -> None:
    (tmp_path / "a.txt").write_text("a")
    for options, words in (
        ({"speed": "3"}, "speed"),
        ({"copies": "many"}, "copies"),
        ({"copies": "9"}, "copies"),
        ({"fail": "sometimes"}, "fail"),
    ):
        with pytest.raises(requests.HTTPError, match="status code 400") as refused:
            folders.new_run(input_dir_path=str(tmp_path), options=options)
        # Contract 1.7 and 5.26: one short object, for people.
        body = json.loads(str(refused.value).partition("message: ")[2])
        assert set(body) == {"error", "status"}
        assert body["status"] == 400
        assert words in body["error"]


def test_an_option_out_of_range_only_warns_where_nothing_is_enforced(
    site: Live, probe: cloud.Application
) -> None:
    run = probe.new_run_with_result(
        input={}, run_options={"lines": "few", "mode": "nothing"}, polling_options=soon()
    )

    answer = site.client.request("GET", f"v1/applications/probe/runs/{run.id}/metadata").json()
    assert any("lines" in warning for warning in answer["warnings"])
    assert run.metadata.status_v2 == StatusV2.failed, "the program itself cannot read it"


def test_an_unknown_execution_class_is_refused_and_the_known_ones_are_named(
    probe: cloud.Application,
) -> None:
    with pytest.raises(requests.HTTPError, match="status code 400") as refused:
        probe.new_run(input={}, configuration=RunConfiguration(execution_class="16c90gb"))

    assert "16c90gb" in str(refused.value)
    assert "default" in str(refused.value)
    for name in ("", "default"):
        run_id = probe.new_run(input={}, configuration=RunConfiguration(execution_class=name))
        # The default one reads back as no class at all, so a clone is accepted everywhere.
        assert probe.run_information(run_id).metadata.execution_class == ""


def test_what_this_release_does_not_have_is_refused_in_words(probe: cloud.Application) -> None:
    with pytest.raises(requests.HTTPError, match=r"400.*[Ii]ntegration"):
        probe.new_run(input={}, configuration=RunConfiguration(integration_id="i"))
    with pytest.raises(requests.HTTPError, match=r"400.*Ensemble"):
        probe.new_run(
            input={},
            configuration={"run_type": {"type": "ensemble", "definition_id": "d"}},
        )
    # Contract 5.21 and 5.22 are about experiments: a clear 400, and 404 for what is read.
    with pytest.raises(requests.HTTPError, match=r"400.*not part of this release"):
        probe.new_batch_experiment(id="b", name="B", input_set_id="s")
    with pytest.raises(requests.HTTPError, match="404"):
        probe.batch_experiment("b")
    assert probe.list_batch_experiments() == []
    assert probe.list_acceptance_tests() == []
    assert probe.list_input_sets() == []
    assert probe.list_ensemble_definitions() == []
    assert cloud.list_integrations(probe.client) == []


def test_a_submit_is_answered_quickly(probe: cloud.Application) -> None:
    # Contract 5.14: over https a slow one would come again.
    probe.new_run(input={})
    took = []
    for _ in range(3):
        begin = time.monotonic()
        probe.new_run(input={})
        took.append(time.monotonic() - begin)

    assert min(took) < 1


def test_nothing_redirects_and_every_error_is_json(site: Live) -> None:
    # Contract 5.11 and 1.7.
    key = {"Authorization": f"Bearer {site.secret}"}
    for method, path in (
        ("GET", "/v1/applications/"),
        ("POST", "/v1/applications/probe/runs/"),
        ("GET", "/v1/nothing"),
        ("PUT", "/v1/applications"),
        ("GET", "/v1/marketplace/apps"),
        ("GET", "/v0/internal/tools?file=community-apps/manifest.yml"),
        ("GET", "/v1/enterprise/sso"),
    ):
        answer = requests.request(
            method, site.base + path, headers=key, allow_redirects=False, timeout=20
        )
        assert answer.status_code in {404, 405}, (path, answer.status_code)
        assert answer.headers["Content-Type"].startswith("application/json")
        assert set(answer.json()) == {"error", "status"}, path


def test_an_empty_body_is_an_empty_object(site: Live, probe: cloud.Application) -> None:
    # Contract 5.12: cancel and the upload ticket come with a content type and nothing else.
    ended = probe.new_run_with_result(input={}, polling_options=soon())
    probe.cancel_run(ended.id)
    assert probe.run_information(ended.id).metadata.status_v2 == StatusV2.succeeded
    key = {"Authorization": f"Bearer {site.secret}", "Content-Type": "application/json"}
    path = f"{site.base}/v1/applications/probe/runs"
    assert requests.post(f"{path}/uploadurl", headers=key, data=b"", timeout=20).ok
    wrong = requests.post(path, headers=key, data=b"{", timeout=20)
    assert (wrong.status_code, set(wrong.json())) == (400, {"error", "status"})


def test_queuing_is_echoed(probe: cloud.Application) -> None:
    sent = RunConfiguration(queuing=RunQueuing(priority=2, disabled=False))
    run_id = probe.new_run(input={}, configuration=sent)

    metadata = probe.run_information(run_id).metadata

    assert (metadata.queuing_priority, metadata.queuing_disabled) == (2, False)
