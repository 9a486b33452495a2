"""The traps of the app contract, each with a small app that steps into it.

docs/traps.md names these tests. Trap 10 is held by `test_stress.py` and `test_accidents.py`. Traps
11 to 13 are about run folders, which come with import and export; what 12 means for runs is held
by `test_stress.py`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.journeys.consoles import Console, Person, assert_nothing_left
from tests.processes import until

pytestmark = pytest.mark.process

Make = Callable[..., dict[str, Any]]
OPTIONS = """\
  options:
    strict: true
    items:
      - {name: count, option_type: int, default: 3, additional_attributes: {min: 1, max: 5},
         ui: {control_type: input}}
      - {name: ratio, option_type: float, default: 0.5}
      - {name: solve.on, option_type: bool, default: false}
      - {name: word, option_type: string, default: none, required: true}
"""
ECHO = """\
import json, os, sys
print(json.dumps({"argv": sys.argv[1:], "environ": dict(os.environ), "cwd": os.getcwd()}))
"""


@pytest.fixture
def make(console: Console, tmp_path: Path, request: pytest.FixtureRequest) -> Make:
    """Upload an app of these files and run it; everything about the run."""
    name = request.node.name.removeprefix("test_").replace("_", "-").replace("[", "-")[:60]

    def _make(manifest: str, sources: dict[str, str], **words: Any) -> dict[str, Any]:
        folder = tmp_path / "app"
        write(folder, {"app.yaml": manifest, **sources})
        console.driver.add_application(folder=str(folder), application_id=name.strip("-]"))
        found = console.make(name.strip("-]"), **words)
        assert_nothing_left(console, found)
        return found

    return _make


def write(folder: Path, files: dict[str, str]) -> None:
    """Write files, and the folders that they need."""
    for path, text in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)


def manifest(*, files: str = "[main.py]", rest: str = "", content: str = "json") -> str:
    """A manifest with a `configuration` of this content format."""
    configuration = f"configuration:\n  content: {{format: {content}}}\n{rest}" if content else rest
    return f"type: python\nfiles: {files}\n{configuration}"


def result(console: Console, found: dict[str, Any]) -> Any:
    """What the program wrote to stdout, parsed."""
    [stdout] = [file for file in found["files"] if file["role"] == "stdout"]
    return json.loads(console.driver.text_of(key=stdout["key"]))


def solutions(console: Console, found: dict[str, Any]) -> dict[str, str]:
    """Path → text of the solution files."""
    return {
        file["path"]: console.driver.text_of(key=file["key"])
        for file in found["files"]
        if file["role"] == "solution"
    }


def test_trap_1_options_are_two_arguments_and_only_those_set(console, make):
    found = make(
        manifest(rest=OPTIONS),
        {"main.py": ECHO},
        options={"word": "two words", "solve.on": True, "count": 3},
    )
    # As declared; the default that was asked for is passed, the one that nobody set is not.
    assert result(console, found)["argv"] == [
        *("-count", "3"),
        *("-solve.on", "true"),
        *("-word", "two words"),
    ]


def test_trap_2_rules_of_options_are_enforced_in_the_form(console, make, person):
    make(manifest(rest=OPTIONS), {"main.py": ECHO}, options={"word": "x"})
    application = "trap-2-rules-of-options-are-enforced-in-the-form"
    before = len(console.driver.statuses())
    for options, said in (
        ({"count": 9, "word": "x"}, "count"),
        ({"ratio": "much", "word": "x"}, "ratio"),
        ({"word": ""}, "word"),
    ):
        page = person.fill_launch(application, options)
        assert page.status == 422
        assert said in page.words
    assert len(console.driver.statuses()) == before


def test_trap_2_the_format_of_arguments_is_applied(console, make):
    rest = """\
  options:
    format: ["--{{name}}={{value}}"]
    items:
      - {name: a, option_type: string}
"""
    found = make(manifest(rest=rest), {"main.py": ECHO}, options={"a": "1 2"})
    assert result(console, found)["argv"] == ["--a=1 2"]


def test_trap_3_the_environment_is_small_and_explicit(console, make):
    rest = """\
  options:
    items:
      - {name: path, option_type: string, default: here}
      - {name: n, option_type: int}
"""
    found = make(manifest(rest=rest), {"main.py": ECHO})
    seen = result(console, found)
    assert seen["argv"] == ["-path", "here"]
    assert seen["environ"]["RUN_ID"] == found["run_id"]
    assert seen["environ"]["RUN_DIR"] == seen["cwd"]
    assert seen["environ"]["PYTHONUNBUFFERED"] == "1"
    # LC_CTYPE is set by Python itself where the locale is C.
    assert set(seen["environ"]) <= {
        *("PATH", "HOME", "LANG", "TMPDIR", "RUN_ID", "RUN_DIR", "RUNSITE_MARK"),
        *("PYTHONUNBUFFERED", "PYTHONIOENCODING", "LC_CTYPE"),
    }
    assert not [value for value in seen["environ"].values() if "secret_key" in value]


def test_trap_4_noise_on_stdout_is_said_with_its_place(console, make, person):
    found = make(manifest(), {"main.py": 'print("noise")\nprint(\'{"a": 1}\')\n'})
    assert (found["status"], found["result_kind"]) == ("succeeded", "unreadable")
    assert "line 1, column 1" in found["warnings"][0]
    assert person.get(f"/runs/{found['run_id']}/files/stdout/0/").data == b'noise\n{"a": 1}\n'
    assert "unreadable" in person.get(f"/runs/{found['run_id']}/output/").words


def test_trap_5_an_empty_object_is_a_result(console, make):
    found = make(manifest(), {"main.py": 'print("{}", end="")\n'})
    assert (found["status"], found["result_kind"], found["output_bytes"]) == (
        "succeeded",
        "json",
        2,
    )
    assert result(console, found) == {}


ASSETS = """\
import json
print(json.dumps({"assets": %r}))
"""


def test_trap_6_a_bad_asset_is_a_warning(console, make, person):
    assets = [
        {"content": 1},
        {"name": "odd", "content": {}, "visual": {"schema": "hologram", "label": "x"}},
        {"name": "a/b", "content": {"data": 5}, "visual": {"schema": "plotly", "label": "../x"}},
        {"name": "good", "content": {"data": []}, "visual": {"schema": "plotly", "label": "../x"}},
        "nothing",
    ]
    found = make(manifest(), {"main.py": ASSETS % assets})
    assert found["status"] == "succeeded"
    assert [asset["label"] for asset in found["assets"]] == ["", "", "../x", "../x"]
    assert "hologram" in " ".join(found["warnings"])
    for number in (2, 3):
        assert person.get(f"/runs/{found['run_id']}/visuals/{number}/").status == 200
        assert person.get(f"/runs/{found['run_id']}/assets/{number}/figure/").status == 200


def test_trap_7_a_style_early_in_a_feature_is_fine(console, make, person):
    feature = {
        "type": "Feature",
        "geometry": {"type": "Point", "coordinates": [15.4, 47.0]},
        "properties": {"metadata": [{"key": "k", "value": 1}], "style": {"color": "#1b7f5c"}},
    }
    content = {"type": "FeatureCollection", "features": [feature]}
    asset = {"name": "m", "content": content, "visual": {"schema": "geojson", "label": "Map"}}
    found = make(manifest(), {"main.py": ASSETS % [asset]})
    assert (found["status"], found["warnings"]) == ("succeeded", [])
    page = person.get(f"/runs/{found['run_id']}/assets/0/figure/")
    assert page.status == 200
    assert "#1b7f5c" in page.text


def test_trap_8_files_named_like_inputs_and_sources_are_kept(console, make):
    program = """\
from pathlib import Path
folder = Path("outputs/solutions")
folder.mkdir(parents=True)
orders = Path("inputs/orders.csv").read_text()
for name in ("orders.csv", "main.py", "app.yaml", "inputs/orders.csv"):
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text(name + orders)
"""
    found = make(manifest(content="multi-file"), {"main.py": program}, files={"orders.csv": ",1\n"})
    names = ("orders.csv", "main.py", "app.yaml", "inputs/orders.csv")
    assert solutions(console, found) == {name: f"{name},1\n" for name in names}
    assert found["output_bytes"] == sum(len(name) + 3 for name in names)
    assert found["input_bytes"] == 3


def test_trap_9_output_of_a_legacy_archive_app_is_kept(console, make):
    program = """\
from pathlib import Path
Path("output").mkdir()
Path("output/out.csv").write_text(Path("input/in.csv").read_text().upper())
print("said on stdout")
"""
    found = make(
        manifest(content=""),
        {"main.py": program},
        files={"in.csv": "a,b\n"},
        input_format="csv-archive",
    )
    assert (found["status"], found["result_kind"]) == ("succeeded", "files")
    assert solutions(console, found) == {"out.csv": "A,B\n"}
    [stdout] = [file for file in found["files"] if file["role"] == "stdout"]
    assert console.driver.text_of(key=stdout["key"]) == "said on stdout\n"


def test_trap_14_a_relative_cwd_works_and_a_misplaced_entrypoint_is_said(console, make, person):
    text = "entrypoint: elsewhere.py\nexecution: {cwd: sub/folder}\n" + manifest(
        files='[main.py, "sub/**"]'
    )
    found = make(text, {"main.py": ECHO, "sub/folder/data.txt": "x"})
    assert result(console, found)["cwd"].endswith("/sub/folder")
    application = "trap-14-a-relative-cwd-works-and-a-misplaced-entrypoint-is-s"
    page = person.get(f"/applications/{application}/")
    assert "entrypoint" in page.words
    assert "execution.entrypoint" in page.words


def test_trap_15_patterns_follow_the_same_rules(console, make, person):
    program = """\
import json, pathlib
print(json.dumps({"files": sorted(str(p) for p in pathlib.Path().rglob("*") if p.is_file())}))
"""
    files = {"main.py": program, "a/1.txt": "", "a/b/2.txt": "", "c/3.txt": "", "d/e/4.txt": ""}
    found = make(manifest(files='[main.py, "a/", c, "d/**"]'), files)
    assert result(console, found)["files"] == ["a/1.txt", "app.yaml", "d/e/4.txt", "main.py"]
    application = "trap-15-patterns-follow-the-same-rules"
    assert "copies nothing" in person.get(f"/applications/{application}/").words
    with pytest.raises(AssertionError, match=r"nowhere/\*"):
        make(manifest(files='[main.py, "nowhere/*"]'), files)


def test_trap_16_base64_arrays_pass_untouched(console, make, person):
    trace = {"type": "bar", "x": ["a"], "y": {"dtype": "f8", "bdata": "AAAAAAAA8D8="}}
    asset = {
        "name": "p",
        "content": {"data": [trace]},
        "visual": {"schema": "plotly", "label": "P"},
    }
    found = make(manifest(), {"main.py": ASSETS % [asset]})
    page = person.get(f"/runs/{found['run_id']}/assets/0/figure/")
    assert "AAAAAAAA8D8=" in page.text
    assert person.get(f"/runs/{found['run_id']}/assets/0/").data.count(b"AAAAAAAA8D8=") == 1


def test_trap_17_carriage_returns_are_kept_and_shown_as_one_line(console, make, person):
    program = """\
import sys
for share in range(0, 101, 25):
    sys.stderr.write(f"\\r{share} percent")
sys.stderr.write("\\ndone\\n")
"""
    found = make(manifest(), {"main.py": program})
    assert found["log"] == "\r0 percent\r25 percent\r50 percent\r75 percent\r100 percent\ndone\n"
    assert found["attempts"][0]["log_lines"] == 2
    words = person.get(f"/runs/{found['run_id']}/log/").words
    assert "100 percent" in words
    assert "75 percent" not in words


def test_trap_18_a_list_is_refused_as_input_and_kept_as_output(
    console: Console, make: Make, person: Person
):
    found = make(manifest(), {"main.py": "print('[1, 2]')\n"})
    assert (found["status"], found["result_kind"]) == ("succeeded", "json")
    assert result(console, found) == [1, 2]
    before = len(console.driver.statuses())
    application = "trap-18-a-list-is-refused-as-input-and-kept-as-output"
    page = person.fill_launch(application, source="paste", text="[1, 2]")
    assert page.status == 422
    assert "object" in page.words
    assert len(console.driver.statuses()) == before
    # What was refused did not leave anything that waits.
    until(lambda: not [s for s in console.driver.statuses().values() if s == "queued"])
