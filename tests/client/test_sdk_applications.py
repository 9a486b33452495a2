"""Applications, pushes and versions by the SDK, contents compared."""

from __future__ import annotations

import io
import re
import shutil
import tarfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import requests
from nextmv import cloud

from tests.client.conftest import HERE, PROBE, PROBE_FILES, Live, pushed, soon

pytestmark = pytest.mark.process


def copy_of(folder: Path, target: Path, **replaced: str) -> Path:
    """A copy of an application, with texts of its manifest replaced: `old="new"`."""
    shutil.copytree(folder, target)
    manifest = target / "app.yaml"
    text = manifest.read_text()
    for old, new in replaced.items():
        assert old in text
        text = text.replace(old, new)
    manifest.write_text(text)
    return target


def test_an_application_is_created_read_changed_and_deleted(site: Live) -> None:
    before = datetime.now(UTC) - timedelta(minutes=5)
    made = cloud.Application.new(
        client=site.client, id="nouns", name="Nouns", description="For the tests"
    )

    assert (made.id, made.name, made.description) == ("nouns", "Nouns", "For the tests")
    assert made.type == cloud.ApplicationType.CUSTOM
    assert made.locked is False
    # Contract 5.27: times have a zone.
    assert made.created_at is not None
    assert made.created_at.utcoffset() is not None
    assert made.created_at > before
    read = cloud.Application.get(client=site.client, id="nouns")
    assert read.to_dict() == made.to_dict()

    # Contract 5.23: the whole object as it was read goes back, read-only keys and "" included.
    assert read.default_instance_id == ""
    changed = read.update(name="Other nouns")
    assert (changed.name, changed.description) == ("Other nouns", "For the tests")
    assert cloud.Application.get(client=site.client, id="nouns").name == "Other nouns"

    read.delete()
    with pytest.raises(requests.HTTPError, match="404"):
        cloud.Application.get(client=site.client, id="nouns")


def test_an_application_that_is_not_there_is_404_and_only_that_is(site: Live) -> None:
    # Contract 5.1: `exists` and `exist_ok` look for exactly 404.
    assert not cloud.Application.exists(client=site.client, id="maybe")
    first = cloud.Application.new(client=site.client, id="maybe", name="First", exist_ok=True)
    assert cloud.Application.exists(client=site.client, id="maybe")
    again = cloud.Application.new(client=site.client, id="maybe", name="Second", exist_ok=True)

    assert again.name == "First"
    assert again.created_at == first.created_at
    with pytest.raises(requests.HTTPError) as refused:
        cloud.Application.new(client=site.client, id="maybe", name="Second")
    assert "status code 409" in str(refused.value)
    assert "'maybe'" in str(refused.value) or "`maybe`" in str(refused.value)
    with pytest.raises(requests.HTTPError) as refused:
        cloud.Application.new(client=site.client, id="no spaces", name="x")
    assert "status code 400" in str(refused.value)
    # A wrong key is no missing application: `exists` says so instead of creating one.
    stranger = cloud.Client(api_key="wrong", url=site.base)
    with pytest.raises(requests.HTTPError, match="401"):
        cloud.Application.exists(client=stranger, id="maybe")
    first.delete()


def test_applications_are_listed_with_pages_and_without(site: Live) -> None:
    made = [f"page-{number:03}" for number in range(103)]
    for application_id in made:
        cloud.Application.new(client=site.client, id=application_id)

    # Contract 5.2: an object with a token, and an array; more than one page.
    paged = [one.id for one in cloud.list_applications(site.client)]
    whole = [one.id for one in cloud.list_applications(site.client, no_pagination=True)]

    assert paged == whole
    assert [each for each in paged if each.startswith("page-")] == made
    answer = site.client.request(
        "GET", "v1/applications", query_params={"pagereturn": "true"}
    ).json()
    assert len(answer["items"]) <= 100
    assert isinstance(answer["next_page_token"], str)
    for application_id in made:
        site.application(application_id).delete()
    left = [one.id for one in cloud.list_applications(site.client)]
    assert not [each for each in left if each.startswith("page-")]


def test_the_newest_push_is_what_runs(site: Live, tmp_path: Path) -> None:
    application = pushed(site, "twice", PROBE)
    first = application.new_version(id="one")
    folder = copy_of(PROBE, tmp_path / "app")
    program = folder / "main.py"
    program.write_text(program.read_text().replace('"given":', '"changed":'))
    application.push(app_dir=str(folder))
    second = application.new_version(id="two")

    result = application.new_run_with_result(input={"a": 1}, polling_options=soon())
    old = application.new_instance(version_id="one", id="old")
    former = application.new_run_with_result(
        input={"a": 1}, instance_id=old.id, polling_options=soon()
    )

    assert result.output is not None
    assert result.output["solution"]["changed"] == {"a": 1}
    assert former.output is not None
    assert former.output["solution"]["given"] == {"a": 1}
    assert first.executable.id != second.executable.id
    application.delete()


def test_packages_that_were_bundled_for_another_machine_are_installed_again(site: Live) -> None:
    # Contract 5.20: several gzip members, wheels for arm64 unless the manifest says otherwise.
    application = pushed(site, "packages", HERE / "tour_app")

    result = application.new_run_with_result(input={"numbers": [1.5, 2]}, polling_options=soon(400))

    assert result.output is not None, result
    assert result.output["solution"]["total"] == 3.5
    log = application.run_logs(result.id).log
    assert re.search(r"numpy \d+\.\d+", log)
    application.delete()


@pytest.mark.parametrize(
    ("manifest", "words"),
    [
        ("type: cobol\nruntime: x\nfiles: [main.py]\n", "cobol"),
        ("type: python\nfiles: [main.py]\nconfiguration: {content: {format: tea}}\n", "tea"),
    ],
)
def test_a_broken_manifest_is_said_to_the_person_who_pushes(
    site: Live, tmp_path: Path, manifest: str, words: str
) -> None:
    # The client refuses most of these itself; another tool that pushes does not.
    application = cloud.Application.new(client=site.client, id="broken", exist_ok=True)
    url = site.client.request("GET", "v1/applications/broken/binary").json()["upload_url"]
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, text in (("app.yaml", manifest), ("main.py", "print('{}')")):
            data = text.encode()
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    requests.put(url, data=packed.getvalue(), timeout=20).raise_for_status()

    with pytest.raises(requests.HTTPError) as refused:
        site.client.request(
            "PUT",
            "v1/applications/broken/binary",
            payload={"requirements": {"executable_type": "python", "runtime": "x"}},
        )

    assert "status code 400" in str(refused.value), refused.value
    assert words in str(refused.value)
    with pytest.raises(requests.HTTPError, match=r"400.*no executable yet"):
        application.new_run(input={})
    application.delete()


def test_a_push_of_the_client_that_cannot_run_is_refused_with_the_remedy(
    site: Live, tmp_path: Path
) -> None:
    # An entrypoint that the archive does not hold is seen by the server only.
    folder = copy_of(PROBE, tmp_path / "app")
    manifest = folder / "app.yaml"
    manifest.write_text(manifest.read_text() + "\n  # no program\n")
    (folder / "main.py").write_text("def broken(:\n")
    application = cloud.Application.new(client=site.client, id="hollow")
    application.push(app_dir=str(folder))

    result = application.new_run_with_result(input={}, polling_options=soon())

    # Python finds the mistake when it starts: the run fails and says why.
    assert result.metadata.status_v2.value == "failed"
    assert result.error_log is not None
    assert "SyntaxError" in (result.error_log.stderr or "")
    application.delete()


def test_an_activation_that_is_repeated_changes_nothing(site: Live) -> None:
    application = pushed(site, "again", PROBE)
    first = application.new_version(id="one").executable
    requirements = first.requirements.to_dict()
    for _ in range(2):
        site.client.request(
            "PUT", "v1/applications/again/binary", payload={"requirements": requirements}
        )

    second = application.new_version(id="two").executable

    assert second.id == first.id
    assert second.uploaded_at == first.uploaded_at
    application.delete()


def test_a_version_is_created_read_changed_and_deleted(site: Live) -> None:
    application = cloud.Application.new(client=site.client, id="versions")
    with pytest.raises(requests.HTTPError, match=r"400.*no executable yet"):
        application.new_version(id="early")
    application.push(app_dir=str(PROBE_FILES))

    made = application.new_version(id="v1", name="First", description="of the tests")

    assert (made.id, made.name, made.description) == ("v1", "First", "of the tests")
    assert made.application_id == "versions"
    assert made.created_at.utcoffset() is not None
    # Contract 5.3: a key that no person made has no address, and that is a text, too.
    assert made.executable.user_email == ""
    assert made.executable.requirements.executable_type == "python"
    assert made.executable.requirements.runtime == "ghcr.io/nextmv-io/runtime/python:3.11"
    answer = site.client.request("GET", "v1/applications/versions/versions/v1").json()
    sent = answer["executable"]["requirements"]
    assert sent["io_configuration"]["format"] == "multi-file"
    assert sent["io_configuration"]["multi_file"]["input_path"] == "given"
    assert sent["io_configuration"]["multi_file"]["output_configuration"] == {
        "metrics_path": "figures/metrics.json",
        "assets_path": "figures/assets.json",
        "solutions_path": "results",
    }
    assert sent["options"]["strict"] is True
    assert sent["options"]["validation"] == {"enforce": "all"}
    assert [item["name"] for item in sent["options"]["items"]] == ["fail", "copies"]
    assert application.version("v1").to_dict() == made.to_dict()
    # Contract 5.1 and 5.3: exactly 404, and a description that is a text.
    assert application.version_exists("v1")
    assert not application.version_exists("v2")
    assert application.new_version(id="v1", exist_ok=True).name == "First"
    plain = application.new_version(id="v2")
    assert (plain.name, plain.description) == ("v2", "")
    with pytest.raises(requests.HTTPError, match="409"):
        application.new_version(id="v2")

    changed = application.update_version("v1", name="Renamed")

    assert (changed.name, changed.description) == ("Renamed", "of the tests")
    assert [one.id for one in application.list_versions()] == ["v1", "v2"]
    assert [one.id for one in application.list_versions(no_pagination=True)] == ["v1", "v2"]
    application.delete_version("v2")
    assert [one.id for one in application.list_versions()] == ["v1"]
    application.delete()


def test_an_application_is_deleted_with_its_runs_unless_one_goes_on(site: Live) -> None:
    application = pushed(site, "leaving", PROBE)
    ended = application.new_run_with_result(input={}, polling_options=soon())
    sleeping = application.new_run(input={}, options={"sleep": "600"})

    with pytest.raises(requests.HTTPError, match="409"):
        application.delete()

    application.cancel_run(sleeping)
    application.run_result_with_polling(sleeping, polling_options=soon())
    application.delete()
    assert not cloud.Application.exists(client=site.client, id="leaving")
    fresh = cloud.Application.new(client=site.client, id="leaving")
    with pytest.raises(requests.HTTPError, match="404"):
        fresh.run_information(ended.id)
    fresh.delete()
