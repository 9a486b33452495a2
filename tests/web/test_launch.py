"""The launch form: every control, every source of the input, every way to be refused."""

from __future__ import annotations

import io
import json
import re
import tarfile
import zipfile
from functools import partial
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from runs.actions.actors import product
from runs.actions.executables import add_executable_files
from runs.actions.inputs import NewFile, store_text_input
from runs.domain.ids import new_id
from runs.domain.manifest import manifest_to_json, parse_manifest
from runs.domain.status import Status
from runs.models import Account, Application, Executable, InputData, Instance, Run
from runs.storage import object_store
from tests.factories import (
    get_queue,
    make_application,
    make_executable,
    make_instance,
    make_managed_input,
    make_run,
    make_version,
)
from tests.web.conftest import Browser

OPTIONS = """
configuration:
  content: {format: FORMAT}
  options:
    strict: STRICT
    items:
      - {name: vehicles, option_type: int, default: 4, description: How many may be used.,
         ui: {control_type: slider, display_name: Vehicles},
         additional_attributes: {min: 1, max: 12, step: 1}}
      - {name: gap, option_type: float, default: 1.0, ui: {control_type: select},
         additional_attributes: {values: [0, 0.5, 1]}}
      - {name: verbose, option_type: bool, default: true, ui: {control_type: toggle}}
      - {name: days, option_type: string, default: mon, ui: {control_type: multiselect},
         additional_attributes: {values: [mon, tue, "wed,thu"]}}
      - {name: label, option_type: string, ui: {control_type: input},
         additional_attributes: {min_length: 2, max_length: 5}}
      - {name: limit, option_type: float, ui: {control_type: input},
         additional_attributes: {min: 0.0, max: 2.0, step: 0.5}}
      - {name: seed, option_type: int, default: 1, ui: {hidden_from: [operator]}}
"""
JSON_INPUT = b'{"stops": [1, 2, 3]}'


def make_build(
    account: Account,
    *,
    content_format: str = "json",
    strict: bool = False,
    files: dict[str, bytes] | None = None,
    more: str = "",
    application: Application | None = None,
) -> Executable:
    """An executable with its archive in the store."""
    text = "files: [main.py]\n" + OPTIONS.replace("FORMAT", content_format) + more
    manifest = parse_manifest(text.replace("STRICT", "true" if strict else "false"))
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("main.py", b"print('{}')\n")
        for name, data in (files or {}).items():
            archive.writestr(name, data)
    key = f"executables/{new_id()}/archive"
    object_store().put_bytes(key, packed.getvalue())
    return make_executable(
        application or make_application(account, application_id="routing", name="Routing"),
        archive_key=key,
        manifest=manifest_to_json(manifest),
        content_format=content_format,
    )


@pytest.fixture
def build(account: Account) -> Executable:
    return make_build(account, files={"input.json": JSON_INPUT})


URL = "/applications/routing/launch/"


def fields_of(html: str) -> dict[str, list[str]]:
    """What a browser without script would send for the form of a page."""
    from html.parser import HTMLParser

    class Reader(HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.found: dict[str, list[str]] = {}
            self.inside = False
            self.select: str | None = None
            self.first = True
            self.text: str | None = None

        def add(self, name: str, value: str) -> None:
            self.found.setdefault(name, []).append(value)

        def handle_starttag(self, tag: str, pairs: list[tuple[str, str | None]]) -> None:
            attrs = {name: value or "" for name, value in pairs}
            if tag == "form":
                self.inside = attrs.get("id") == "launch-form"
            if not self.inside:
                return
            name = attrs.get("name", "")
            if tag == "select" and name:
                self.select, self.many = name, "multiple" in attrs
                self.options: list[str] = []
                self.chosen: list[str] = []
            elif tag == "option" and self.select:
                self.options.append(attrs.get("value", ""))
                if "selected" in attrs:
                    self.chosen.append(attrs.get("value", ""))
            elif tag == "textarea":
                self.text, self.area = "", name
            elif tag == "input" and name:
                kind = attrs.get("type", "text")
                if kind == "file":
                    return
                if kind in {"checkbox", "radio"} and "checked" not in attrs:
                    return
                self.add(name, attrs.get("value", "on" if kind == "checkbox" else ""))

        def handle_endtag(self, tag: str) -> None:
            if tag == "select" and self.select:
                chosen = self.chosen or ([] if self.many else self.options[:1])
                for value in chosen:
                    self.add(self.select, value)
                self.select = None
            elif tag == "textarea" and self.text is not None:
                self.add(self.area, self.text.removeprefix("\n"))
                self.text = None
            elif tag == "form":
                self.inside = False

        def handle_data(self, data: str) -> None:
            if self.text is not None:
                self.text += data

    reader = Reader()
    reader.feed(html)
    reader.found.pop("reload", None)
    return reader.found


def opened(browser: Client, query: str = "") -> dict[str, list[str]]:
    response = browser.get(URL + query)
    assert response.status_code == 200, response.content.decode()
    return fields_of(response.content.decode())


def send(browser: Client, fields: dict[str, Any], **changes: Any) -> Any:
    return browser.post(
        URL, {**fields, **{name.replace("__", ":"): v for name, v in changes.items()}}
    )


def only_run(response: Any) -> Run:
    assert response.status_code == 302, text_of(response)
    run = Run.objects.order_by("-id").first()
    assert run is not None
    assert response["Location"] == f"/runs/{run.run_id}/"
    return run


def text_of(response: Any) -> str:
    html = response.content.decode()
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html.partition("<main")[2]))


def bytes_of(data: InputData | None) -> dict[str, bytes]:
    assert data is not None
    return {
        file.path: object_store().read_range(file.key, 0, 10_000_000) for file in data.files.all()
    }


# --- Drawing and submitting -------------------------------------------------------------------


def test_every_control_is_drawn_with_its_limits(operator: Browser, build: Executable):
    html = operator.get(URL).content.decode()
    assert 'min="1" max="12" step="1" data-slider' in html
    assert 'type="checkbox" name="o:verbose" role="switch" value="true"' in html
    assert re.search(r'<input type="checkbox" name="o:days" value="wed,thu"', html)
    assert '<option value="1.0" selected>1.0</option>' in html
    assert "How many may be used." in html
    assert "1 to 12" in html
    assert "2 characters, at most 5 characters" in html
    assert ">Vehicles</label>" in html


def test_a_form_as_opened_runs_the_sample_with_no_option_requested(
    operator: Browser, build: Executable
):
    run = only_run(send(operator, opened(operator)))
    assert run.requested_options == {}
    assert {option.name: (option.text, option.source) for option in run.options.all()} == {
        "vehicles": ("4", "manifest"),
        "gap": ("1.0", "manifest"),
        "verbose": ("true", "manifest"),
        "days": ("mon", "manifest"),
        "seed": ("1", "manifest"),
    }
    assert not run.options.filter(passed=True).exists()
    assert bytes_of(run.input_data) == {"input.json": JSON_INPUT}
    assert (run.input_bytes, run.priority, run.time_limit_s) == (len(JSON_INPUT), 6, None)
    assert (run.submitted_by, run.source, run.executable) == (operator.user, "console", build)
    assert run.input_format == "json"


def test_only_what_was_changed_is_requested(operator: Browser, build: Executable):
    fields = opened(operator)
    del fields["o:verbose"]
    run = only_run(
        send(
            operator, fields, o__vehicles="07", o__gap="0.5", o__label="abc", o__days=["tue", "mon"]
        )
    )
    assert run.requested_options == {
        "vehicles": 7,
        "gap": 0.5,
        "verbose": False,
        "days": "tue,mon",
        "label": "abc",
    }
    passed = run.options.filter(passed=True).order_by("position")
    assert [(each.name, each.text) for each in passed] == [
        ("vehicles", "7"),
        ("gap", "0.5"),
        ("verbose", "false"),
        ("days", "tue,mon"),
        ("label", "abc"),
    ]


def test_name_and_advanced_settings_reach_the_run(
    ann: Browser, account: Account, build: Executable
):
    get_queue(account, "gpu")
    run = only_run(
        send(
            ann,
            opened(ann),
            name="Monday",
            description="two lines\r\nhere",
            priority="2",
            time_limit_s="90",
            execution_class="gpu",
        )
    )
    assert (run.name, run.priority, run.time_limit_s, run.execution_class) == (
        "Monday",
        2,
        90,
        "gpu",
    )
    assert run.queue.name == "gpu"


def test_the_token_of_the_form_is_checked(build: Executable, operator: Browser):
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(operator.user)
    fields = opened(browser)
    assert send(browser, fields, csrfmiddlewaretoken="x" * 64).status_code == 403
    assert not Run.objects.exists()
    assert send(browser, fields).status_code == 302


def test_an_upload_by_script_is_told_where_to_go(operator: Browser, build: Executable):
    response = operator.post(URL, opened(operator), headers={"X-Runsite-Upload": "1"})
    assert response.status_code == 200
    assert response["X-Runsite-Location"] == f"/runs/{Run.objects.get().run_id}/"


def test_the_form_asks_few_queries_whatever_there_is(
    operator: Browser, account: Account, build: Executable, django_assert_max_num_queries
):
    application = build.application
    for number in range(12):
        run = only_run(send(operator, opened(operator), name=f"run {number}"))
        make_instance(application, version=make_version(build))
        make_managed_input(application, input_data=run.input_data)
        Run.objects.filter(pk=run.pk).update(name="x")
    for _ in range(12):
        make_run(application, status=Status.SUCCEEDED, executable=build)
    with django_assert_max_num_queries(16):
        assert operator.get(URL).status_code == 200
    with django_assert_max_num_queries(20):
        assert operator.get(f"{URL}?from={run.run_id}").status_code == 200


@pytest.mark.parametrize("name", ["knapsack", "routing", "forecast", "stress"])
def test_the_sample_apps_are_launched_from_the_form_as_it_opens(
    operator: Browser, account: Account, name: str
):
    from tests.actions.applying import EXAMPLES

    folder = EXAMPLES / name
    application = make_application(account, application_id="routing")
    add_executable_files(
        application=application,
        files=[
            NewFile(path.relative_to(folder).as_posix(), partial(path.open, "rb"))
            for path in folder.rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        ],
        actor=product(),
    )
    run = only_run(send(operator, opened(operator)))
    assert run.requested_options == {}
    if name == "forecast":
        names = {path.name for path in (folder / "inputs").iterdir()}
        assert set(bytes_of(run.input_data)) == names
    else:
        assert bytes_of(run.input_data) == {"input.json": (folder / "input.json").read_bytes()}


# --- Who may ----------------------------------------------------------------------------------


def test_a_viewer_may_not_launch(viewer: Browser, build: Executable):
    assert viewer.get(URL).status_code == 403
    assert viewer.post(URL, {"source": "none"}).status_code == 403
    assert viewer.post(f"{URL}parts/note/", {}).status_code == 403
    assert not Run.objects.exists()


def test_an_application_of_others_is_not_found(outsider: Browser, build: Executable):
    assert outsider.get(URL).status_code == 404
    assert outsider.post(URL, {"source": "none"}).status_code == 404


def test_inputs_and_runs_of_others_are_not_found(
    operator: Browser, outsider: Browser, build: Executable
):
    other = make_run(make_application(), status=Status.SUCCEEDED)
    data = store_text_input(account=other.account, content_format="json", data=JSON_INPUT)
    Run.objects.filter(pk=other.pk).update(input_data=data)
    fields = opened(operator)
    earlier = send(operator, fields, source="earlier", earlier=other.run_id)
    assert earlier.status_code == 422
    assert f"no run {other.run_id} in this account" in text_of(earlier)
    kept = send(operator, fields, source="kept", kept=data.input_key)
    assert "no longer kept" in text_of(kept)
    assert operator.get(f"{URL}?from={other.run_id}").status_code == 404
    assert not Run.objects.exclude(pk=other.pk).exists()


def test_without_executable_the_page_says_what_to_do(operator: Browser, account: Account):
    make_application(account, application_id="routing")
    response = operator.get(URL)
    assert response.status_code == 200
    assert "no executable" in text_of(response)
    assert operator.post(URL, {"source": "none"}).status_code == 409


# --- Hidden options ---------------------------------------------------------------------------


def test_an_option_hidden_from_a_role_is_not_drawn_and_not_taken(
    operator: Browser, dev: Browser, build: Executable
):
    assert "o:seed" in opened(dev)
    fields = opened(operator)
    assert "o:seed" not in fields
    run = only_run(send(operator, fields, **{"b__seed": "1", "o__seed": "9"}))
    assert run.requested_options == {}
    refused = send(operator, fields, **{"free-name": ["seed"], "free-value": ["9"]})
    assert refused.status_code == 422
    assert "seed is declared by the application" in text_of(refused)


def test_running_again_carries_over_what_the_role_does_not_see(
    operator: Browser, dev: Browser, build: Executable
):
    first = only_run(send(dev, opened(dev), o__seed="77"))
    page = operator.get(f"{URL}?from={first.run_id}")
    assert "1 option that your role does not see" in text_of(page)
    second = only_run(send(operator, fields_of(page.content.decode())))
    assert second.requested_options == {"seed": 77}


# --- Errors -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"o__vehicles": "13"}, "vehicles must be at most 12, but is 13"),
        ({"o__vehicles": "many"}, "vehicles must be a whole number"),
        ({"o__gap": "0.7"}, "gap must be one of"),
        ({"o__days": ["fri"]}, "days must be one of"),
        ({"o__label": "toolong"}, "label must have at most 5 characters"),
        ({"o__limit": "0.7"}, "limit must be 0 plus a multiple of 0.5"),
        ({"time_limit_s": "0"}, "greater than or equal to 1"),
        ({"time_limit_s": "99999999"}, "give 86400 or less"),
        ({"priority": "10"}, "Select a valid choice"),
        ({"name": "x" * 201}, "at most 200 characters"),
        ({"execution_class": "nowhere"}, "There is no queue nowhere"),
        ({"instance": "nobody"}, "no instance nobody"),
        ({"free-name": ["a b"], "free-value": ["1"]}, "holds a blank"),
        ({"free-name": [""], "free-value": ["1"]}, "Give this option a name"),
        ({"free-name": ["x", "x"], "free-value": ["1", "2"]}, "stands here twice"),
        ({"free-name": ["label"], "free-value": ["1"]}, "label is declared"),
        ({"source": "nowhere"}, "Choose where the input comes from"),
    ],
)
def test_what_cannot_be_used_is_said_and_nothing_is_lost(
    operator: Browser, build: Executable, changes: dict[str, Any], message: str
):
    typed = {"name": "kept name", "description": "kept words", "text": '{"kept": 1}'}
    fields = {**opened(operator), **typed, "o:label": "kept", "source": "paste"}
    sent = {name.replace("__", ":"): value for name, value in changes.items()}
    response = operator.post(URL, {**fields, **sent})
    assert response.status_code == 422
    assert message in text_of(response)
    assert not Run.objects.exists()
    again = fields_of(response.content.decode())
    for name, value in {**fields, **sent}.items():
        if name in {"source", "instance", "execution_class", "priority", "csrfmiddlewaretoken"}:
            continue
        wanted = value if isinstance(value, list) else [value]
        if name.startswith("free-"):
            assert again[name][: len(wanted)] == wanted or wanted == ["", "", ""]
        else:
            assert again.get(name) == wanted, name


def test_an_uploaded_file_is_kept_when_something_else_is_wrong(
    operator: Browser, build: Executable
):
    file = SimpleUploadedFile("plan.json", b'{"own": 1}')
    wrong = send(operator, opened(operator), source="upload", files=file, o__vehicles="99")
    assert wrong.status_code == 422
    html = wrong.content.decode()
    assert "plan.json" in html
    assert "data-kept" in html
    fields = fields_of(html)
    assert fields["source"] == ["kept"]
    run = only_run(send(operator, fields, o__vehicles="9"))
    assert bytes_of(run.input_data) == {"input.json": b'{"own": 1}'}


def test_a_file_before_the_other_fields_is_skipped_when_too_large(
    operator: Browser, build: Executable, settings
):
    settings.RUNSITE_UPLOAD_LIMIT = 2000
    fields = opened(operator)
    file = SimpleUploadedFile("big.json", b'{"x": "' + b"y" * 5000 + b'"}')
    response = operator.post(URL, {"files": file, **fields, "source": "upload", "name": "Kept"})
    assert response.status_code == 413
    assert "big.json is too large: at most 2.0 KiB" in text_of(response)
    assert fields_of(response.content.decode())["name"] == ["Kept"]
    assert_nothing_is_left()


def assert_nothing_is_left() -> None:
    from runs.actions.inputs import scratch_folder

    assert list(scratch_folder().iterdir()) == []
    assert not InputData.objects.exists()
    assert list(object_store().list("inputs/")) == []


@pytest.fixture(autouse=True)
def own_store(settings, tmp_path):
    settings.RUNSITE_DATA_DIR = tmp_path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1,\n "b" 2}', "Line 2, column 6"),
        ("[1, 2]", "The input is a list"),
        ('{"a": NaN}', "NaN is not JSON"),
        ("", "Nothing was pasted"),
    ],
)
def test_pasted_json_is_checked_with_line_and_column(
    operator: Browser, build: Executable, text: str, message: str
):
    response = send(operator, opened(operator), source="paste", text=text)
    assert response.status_code == 422
    assert message in text_of(response)
    assert fields_of(response.content.decode())["text"] == [text]
    assert_nothing_is_left()


def test_text_above_the_limit_of_forms_is_413_and_the_script_keeps_its_page(
    operator: Browser, build: Executable, settings
):
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 10_000
    fields = {**opened(operator), "source": "paste", "text": '{"x": "' + "y" * 20_000 + '"}'}
    assert operator.post(URL, fields).status_code == 413
    by_script = operator.post(URL, fields, headers={"X-Runsite-Upload": "1"})
    assert (by_script.status_code, by_script.content) == (413, b"")


def test_strict_applications_take_no_other_options(operator: Browser, account: Account):
    make_build(account, strict=True)
    fields = opened(operator)
    assert "free-name" not in fields
    response = send(
        operator, fields, source="none", **{"free-name": ["other"], "free-value": ["1"]}
    )
    assert response.status_code == 422
    assert "other is not an option of this application" in text_of(response)


def test_free_options_are_passed_as_they_are(operator: Browser, build: Executable):
    run = only_run(
        send(
            operator,
            opened(operator),
            **{"free-name": ["extra", "", "third"], "free-value": ["a=b", "", ""]},
        )
    )
    assert run.requested_options == {"extra": "a=b", "third": ""}


# --- Instances --------------------------------------------------------------------------------


@pytest.fixture
def fast(build: Executable) -> Instance:
    """An instance that is the default of the application."""
    instance = make_instance(
        build.application,
        instance_id="fast",
        version=make_version(build, version_id="v1"),
        options={"vehicles": "2", "verbose": False, "own": "x"},
        priority=3,
        time_limit_s=50,
    )
    build.application.default_instance = instance
    build.application.save(update_fields=["default_instance"])
    return instance


def test_the_default_instance_is_chosen_and_its_options_are_no_change(
    operator: Browser, fast: Instance
):
    fields = opened(operator)
    assert (fields["instance"], fields["o:vehicles"]) == (["fast"], ["2"])
    assert "o:verbose" not in fields
    run = only_run(send(operator, fields))
    assert (run.instance, run.requested_options) == (fast, {})
    assert (run.priority, run.time_limit_s) == (3, 50)
    assert {each.name: each.text for each in run.options.filter(source="instance")} == {
        "vehicles": "2",
        "verbose": "false",
        "own": "x",
    }


def test_another_instance_sent_without_script_gives_its_own_defaults(
    operator: Browser, fast: Instance
):
    slow = make_instance(fast.application, instance_id="slow", options={"vehicles": 11})
    fields = opened(operator)
    run = only_run(send(operator, fields, instance="slow", o__gap="0.5"))
    assert (run.instance, run.requested_options) == (slow, {"gap": 0.5})
    assert run.options.get(name="vehicles").text == "11"


def test_the_settings_of_another_instance_keep_what_was_changed(operator: Browser, fast: Instance):
    make_instance(fast.application, instance_id="slow", options={"vehicles": 11})
    fields = {**opened(operator), "instance": "slow", "o:gap": "0.5", "name": "Kept"}
    part = operator.post(f"{URL}parts/settings/", fields, headers={"HX-Request": "true"})
    html = part.content.decode()
    assert part.status_code == 200
    assert html.strip().startswith('<div class="stack" id="launch-settings">')
    now = fields_of(f'<form id="launch-form">{html}</form>')
    assert now["o:vehicles"] == ["11"]
    assert now["o:gap"] == ["0.5"]
    assert now["name"] == ["Kept"]
    assert now["o:verbose"] == ["true"]
    page = operator.post(URL, {**fields, "reload": "1"})
    assert page.status_code == 200
    assert fields_of(page.content.decode())["o:vehicles"] == ["11"]
    assert not Run.objects.exists()


def test_an_unknown_instance_in_the_address_falls_back_and_says_so(
    operator: Browser, fast: Instance
):
    response = operator.get(f"{URL}?instance=gone")
    assert response.status_code == 200
    assert "no instance gone" in text_of(response)


# --- Inputs -----------------------------------------------------------------------------------


def test_json_from_a_file_a_managed_input_and_an_earlier_run(
    operator: Browser, account: Account, build: Executable
):
    fields = opened(operator)
    pasted = only_run(send(operator, fields, source="paste", text='{"a": 1}'))
    assert bytes_of(pasted.input_data) == {"input.json": b'{"a": 1}'}
    file = SimpleUploadedFile("x.json", b'{"a": 1}')
    uploaded = only_run(send(operator, fields, source="upload", files=file))
    assert uploaded.input_data == pasted.input_data
    earlier = only_run(send(operator, fields, source="earlier", earlier=f" {pasted.run_id} "))
    assert earlier.input_data == pasted.input_data
    managed = make_managed_input(build.application, input_id="big", input_data=pasted.input_data)
    chosen = only_run(send(operator, fields, source="managed", managed="big"))
    assert (chosen.managed_input, chosen.input_data) == (managed, pasted.input_data)
    empty = only_run(send(operator, fields, source="none"))
    assert (empty.input_data, empty.input_bytes) == (None, 0)
    assert InputData.objects.count() == 1


def test_text_is_kept_as_it_was_typed(operator: Browser, account: Account):
    make_build(account, content_format="text")
    run = only_run(send(operator, opened(operator), source="paste", text="ü\r\n[not json"))
    assert bytes_of(run.input_data) == {"input": "ü\n[not json".encode()}
    assert (run.input_format, run.output_format) == ("text", "json")


def test_a_folder_is_stored_with_its_sub_folders(operator: Browser, account: Account):
    make_build(account, content_format="multi-file")
    files = [SimpleUploadedFile("a.csv", b"1"), SimpleUploadedFile("a.csv", b"22")]
    fields = {**opened(operator), "files_paths": json.dumps(["data/a.csv", "data/deep/a.csv"])}
    run = only_run(send(operator, fields, source="upload", files=files))
    assert bytes_of(run.input_data) == {"a.csv": b"1", "deep/a.csv": b"22"}
    assert (run.input_bytes, run.input_format, run.output_format) == (3, "multi-file", "multi-file")


def zipped(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return packed.getvalue()


def tarred(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return packed.getvalue()


@pytest.mark.parametrize(("name", "pack"), [("in.zip", zipped), ("in.tar.gz", tarred)])
@pytest.mark.parametrize("content_format", ["multi-file", "csv-archive"])
def test_an_archive_is_unpacked(
    operator: Browser, account: Account, name: str, pack: Any, content_format: str
):
    make_build(account, content_format=content_format)
    file = SimpleUploadedFile(name, pack({"top/a.csv": b"1", "top/sub/b.csv": b"22"}))
    run = only_run(send(operator, opened(operator), source="upload", files=file))
    assert bytes_of(run.input_data) == {"a.csv": b"1", "sub/b.csv": b"22"}


def test_an_archive_can_be_the_input_itself(operator: Browser, account: Account):
    make_build(account, content_format="multi-file")
    data = zipped({"a.csv": b"1"})
    file = SimpleUploadedFile("in.zip", data)
    run = only_run(send(operator, opened(operator), source="upload", files=file, as_is="1"))
    assert bytes_of(run.input_data) == {"in.zip": data}


@pytest.mark.parametrize(
    ("files", "paths", "message"),
    [
        ([("in.zip", zipped({"../x": b"1"}))], None, "leads out of the archive"),
        ([("in.tar.gz", tarred({"/etc/x": b"1"}))], None, "absolute name"),
        ([("in.zip", b"no archive at all")], None, "not an archive"),
        ([("a", b"1")], ["../a"], "is not a path inside the input folder"),
        ([("a", b"1")], ["/etc/a"], "is not a path inside the input folder"),
        ([("a", b"1"), ("b", b"2")], ["x/a", "x/a"], "Two files are called"),
        ([("a", b"1"), ("b", b"2")], ["a", "a/b"], "is a file and also the folder"),
        ([("a", b"1")], ["x\x01/a", "b"], None),
        ([], None, "No file was sent"),
    ],
)
def test_hostile_archives_and_paths_are_refused_with_nothing_left(
    operator: Browser,
    account: Account,
    files: list[tuple[str, bytes]],
    paths: list[str] | None,
    message: str | None,
):
    make_build(account, content_format="multi-file")
    fields = opened(operator)
    if paths:
        fields["files_paths"] = [json.dumps(paths)]
    sent = [SimpleUploadedFile(name, data) for name, data in files]
    response = send(operator, fields, source="upload", **({"files": sent} if sent else {}))
    if message is None:  # paths that do not belong to the files are left aside
        assert bytes_of(only_run(response).input_data) == {"a": b"1"}
        return
    assert response.status_code == 422
    assert message in text_of(response)
    assert not Run.objects.exists()
    assert_nothing_is_left()


def test_the_sample_folder_of_an_application_is_offered_and_run(
    operator: Browser, account: Account
):
    files = {"inputs/a.csv": b"1", "inputs/sub/b.csv": b"22"}
    make_build(account, content_format="multi-file", files=files)
    page = operator.get(URL)
    assert "sub/b.csv" in text_of(page)
    run = only_run(send(operator, fields_of(page.content.decode())))
    assert bytes_of(run.input_data) == {"a.csv": b"1", "sub/b.csv": b"22"}


def test_an_input_of_another_format_is_refused(
    operator: Browser, account: Account, build: Executable
):
    text = store_text_input(account=account, content_format="text", data=b"words")
    make_managed_input(build.application, input_id="words", input_data=text)
    response = send(operator, opened(operator), source="managed", managed="words")
    assert response.status_code == 422
    assert "That input is text, but the app reads json" in text_of(response)


def test_the_preview_shows_the_start_of_what_is_chosen(operator: Browser, build: Executable):
    fields = opened(operator)
    large = only_run(send(operator, fields, source="paste", text='{"<b>": "' + "é" * 9000 + '"}'))
    part = operator.post(
        f"{URL}parts/preview/", {**fields, "source": "earlier", "earlier": large.run_id}
    )
    html = part.content.decode()
    assert part.status_code == 200
    assert "&lt;b&gt;" in html
    assert "the first 4 KiB" in html
    assert len(html) < 8000
    assert "\N{REPLACEMENT CHARACTER}" not in html
    nothing = operator.post(f"{URL}parts/preview/", {**fields, "source": "upload"})
    assert nothing.status_code == 200
    wrong = operator.post(f"{URL}parts/preview/", {**fields, "source": "earlier", "earlier": "x"})
    assert "There is no run" in wrong.content.decode()
    assert operator.post(f"{URL}parts/other/", fields).status_code == 404


# --- Run again --------------------------------------------------------------------------------


def test_running_again_carries_everything_over_and_marks_what_differs(
    operator: Browser, build: Executable
):
    fields = opened(operator)
    del fields["o:verbose"]
    first = only_run(
        send(
            operator,
            fields,
            source="paste",
            text='{"a": 1}',
            o__vehicles="9",
            name="Monday",
            priority="2",
            time_limit_s="77",
            **{"free-name": ["extra"], "free-value": ["1"]},
        )
    )
    page = operator.get(f"{URL}?from={first.run_id}")
    again = fields_of(page.content.decode())
    assert "field-changed" not in page.content.decode()
    assert again["o:vehicles"] == ["9"]
    assert again["source"] == ["earlier"]
    assert again["free-name"][0] == "extra"
    wrong = send(operator, again, o__vehicles="99", name="Tuesday")
    assert "was 9" in text_of(wrong)
    assert "was Monday" in text_of(wrong)
    second = only_run(send(operator, again))
    assert second.cloned_from == first
    assert second.requested_options == first.requested_options
    for name in ("input_data", "name", "priority", "time_limit_s", "instance", "executable"):
        assert getattr(second, name) == getattr(first, name), name
    assert second.events.get().text == f"Run again from {first.run_id}"


def test_running_again_keeps_the_value_when_the_default_has_changed(
    operator: Browser, account: Account, build: Executable
):
    first = only_run(send(operator, opened(operator)))
    changed = make_build(account, application=build.application)
    manifest = changed.manifest
    manifest["options"]["items"][0]["default"] = 5
    changed.save(update_fields=["manifest"])
    page = operator.get(f"{URL}?from={first.run_id}")
    assert "The original ran build 1, this one runs build 2." in text_of(page)
    second = only_run(send(operator, fields_of(page.content.decode())))
    assert second.requested_options == {"vehicles": 4}


# --- What is known before ---------------------------------------------------------------------


def test_the_usual_duration_needs_ten_runs(operator: Browser, build: Executable):
    assert "nothing is known" in text_of(operator.get(URL))
    for number in range(9):
        make_run(build.application, status=Status.SUCCEEDED, execution_s=float(number))
    make_run(build.application, status=Status.FAILED, execution_s=1000.0)
    assert "Not enough history" in text_of(operator.get(URL))
    make_run(build.application, status=Status.SUCCEEDED, execution_s=100.0)
    page = text_of(operator.get(URL))
    assert "Expected duration:" in page
    assert "8 of 10 of its last 10 runs" in page


def test_the_usual_duration_is_that_of_inputs_of_this_size(operator: Browser, build: Executable):
    size = len(JSON_INPUT)
    for _ in range(10):
        make_run(
            build.application, status=Status.SUCCEEDED, execution_s=600.0, input_bytes=size * 9
        )
        make_run(build.application, status=Status.SUCCEEDED, execution_s=2.5, input_bytes=size)
    page = text_of(operator.get(URL))
    assert "with an input of about this size" in page
    assert "2 to 3 s" in page


# --- Limits and order -------------------------------------------------------------------------


def test_limits_reach_the_run_in_its_own_units(ann: Browser, build: Executable):
    run = only_run(
        send(
            ann,
            opened(ann),
            memory_limit_mib="512",
            log_limit_mib="0.5",
            log_limit_action="fail",
            process_limit="20",
            queue_limit_s="60",
            keep_at_time_limit="yes",
        )
    )
    assert (run.memory_limit_bytes, run.log_limit_bytes) == (512 * 1024**2, 512 * 1024)
    assert (run.log_limit_action, run.process_limit, run.queue_limit_s) == ("fail", 20, 60)
    assert run.keep_at_time_limit is True
    assert run.expires_at is not None


def test_empty_limits_are_those_of_the_application_and_said_in_the_fields(
    ann: Browser, build: Executable
):
    Application.objects.update(memory_limit_bytes=256 * 1024**2, time_limit_s=600)
    page = ann.get(URL).content.decode()
    assert 'placeholder="256"' in page
    assert 'placeholder="600 (10 min 0 s)"' in page
    run = only_run(send(ann, opened(ann)))
    assert (run.memory_limit_bytes, run.time_limit_s) == (256 * 1024**2, 600)


@pytest.mark.parametrize(
    "changes",
    [
        {"memory_limit_mib": "0.1"},
        {"memory_limit_mib": "nan"},
        {"memory_limit_mib": "1e300"},
        {"process_limit": "0"},
        {"log_limit_action": "explode"},
        {"keep_at_time_limit": "perhaps"},
        {"wait_policy": "hope"},
        {"output_limit_mib": "999999999"},
    ],
)
def test_limits_that_cannot_be_are_refused_at_their_field(
    ann: Browser, build: Executable, changes: dict[str, str]
):
    response = send(ann, opened(ann), **changes)
    assert response.status_code == 422
    [name] = changes
    assert response.context["form"].errors[name]
    assert not Run.objects.exists()


def test_a_run_waits_for_those_that_are_ticked_and_typed(ann: Browser, build: Executable):
    ticked = make_run(build.application, name="Ticked")
    typed = make_run(build.application, status=Status.SUCCEEDED, name="Typed")
    page = ann.get(URL).content.decode()
    assert f'value="{ticked.run_id}"' in page
    data = {**opened(ann), "waits_for": [ticked.run_id, f" {typed.run_id},"]}
    response = send(ann, data, wait_policy="skip")
    assert response.status_code == 302
    run = Run.objects.order_by("-pk")[0]
    assert {wait.awaited for wait in run.waits.all()} == {ticked, typed}
    assert (run.hold, run.wait_policy) == ("runs", "skip")


def test_an_unknown_run_to_wait_for_is_named_and_the_rest_is_kept(ann: Browser, build: Executable):
    known, foreign = make_run(build.application), make_run()
    data = {**opened(ann), "waits_for": [known.run_id, foreign.run_id]}
    response = send(ann, data, name="Kept name")
    page = response.content.decode()
    assert response.status_code == 422
    assert f"There is no run <code>{foreign.run_id}</code>" in page
    assert f'value="{known.run_id}" checked' in page
    assert "Kept name" in page
    assert not Run.objects.filter(name="Kept name").exists()


def test_the_address_may_name_runs_to_wait_for(ann: Browser, build: Executable):
    run = make_run(build.application, name="First one")
    page = ann.get(f"{URL}?waits_for={run.run_id}").content.decode()
    assert f'value="{run.run_id}" checked' in page
    assert '<details class="folded" id="launch-limits" open>' in page


def test_running_again_carries_the_limits_over(ann: Browser, build: Executable):
    first = only_run(send(ann, opened(ann), memory_limit_mib="64.5", output_limit_action="fail"))
    page = ann.get(f"{URL}?from={first.run_id}").content.decode()
    assert 'value="64.5"' in page
    data = fields_of(page)
    assert send(ann, data).status_code == 302
    again = Run.objects.order_by("-pk")[0]
    assert again.pk != first.pk
    assert again.memory_limit_bytes == first.memory_limit_bytes


def test_the_form_says_what_the_policy_of_a_key_will_do(ann: Browser, build: Executable):
    application = build.application
    columns = {"concurrency_limit": 1, "concurrency_expression": "cars={vehicles}"}
    Application.objects.update(**columns, concurrency_policy="replace")
    assert "starts without waiting" in text_of(ann.get(URL))
    make_run(application, concurrency_key="cars=4")
    note = ann.post(f"{URL}parts/note/", opened(ann)).content.decode()
    assert "1 of 1 runs with key <code>cars=4</code> is under way" in note
    assert "takes their place" in note


def test_a_run_that_is_reused_is_said_to_be_no_new_one(ann: Browser, build: Executable):
    Application.objects.update(concurrency_limit=1, concurrency_policy="reuse")
    first = only_run(send(ann, opened(ann)))
    again = ann.post(URL, opened(ann), follow=True)
    assert again.redirect_chain[-1][0] == f"/runs/{first.run_id}/"
    assert "No new run was made" in again.content.decode()


def test_the_same_input_and_options_are_pointed_out(operator: Browser, build: Executable):
    fields = opened(operator)
    run = only_run(send(operator, fields, name="Solved one"))
    note = f"{URL}parts/note/"
    assert "already solved" not in text_of(operator.get(URL))
    run.move_to(Status.RUNNING, now=run.created_at, changes={"token": "t", "attempt_number": 1})
    run.move_to(Status.SUCCEEDED, now=run.created_at, reason="exited")
    assert "already solved by Solved one" in text_of(operator.get(URL))
    assert b"already solved" in operator.post(note, fields).content
    assert b"already solved" not in operator.post(note, {**fields, "o:vehicles": "9"}).content
    assert b"already solved" not in operator.post(note, {**fields, "source": "none"}).content
