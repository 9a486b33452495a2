"""Requests as text: what they say, and that nothing of a person can leave its quotes."""

from __future__ import annotations

import ast
import json
import shlex
import subprocess
from dataclasses import replace
from typing import Any

import pytest

from runs.domain.connecting import connect_languages
from runs.domain.requests import (
    FILE,
    INLINE,
    MANAGED,
    NONE,
    OF_RUN,
    InputSource,
    ListRequest,
    ReadRequest,
    RunRequest,
    file_name_of,
    json_text,
    small_json,
)
from runs.domain.requests_client import (
    cli_list,
    cli_read,
    cli_run,
    literal,
    python_list,
    python_read,
    python_run,
)
from runs.domain.requests_curl import curl_list, curl_read, curl_run

BASE = "http://127.0.0.1:8000"
PLAIN = RunRequest(
    base=BASE,
    application_id="routing",
    instance_id="prod",
    input=InputSource(MANAGED, "monday"),
    options={"seconds": "5"},
    name="Try",
    priority=3,
)
HOSTILE = (
    "'; touch owned; '",
    '"; $(touch owned); `touch owned` "',
    "$NEXTMV_API_KEY ${HOME}",
    "a\nb\r\ttouch owned\n",
    "\\'\\\"\\n$(touch owned)",
    "\x1b[31m\u202egro.elpmaxe\u202c",
    "--data @/etc/passwd",
    "#{x}%s%(x)s{0}",
    "größer 東京 🚚",
)
SOURCES = (
    InputSource(NONE),
    InputSource(MANAGED, "monday"),
    InputSource(INLINE, {"a": [1, None, True]}),
    InputSource(FILE, "orders of may.json"),
    InputSource(FILE, "", "text"),
    InputSource(FILE, "", "multi-file"),
    InputSource(OF_RUN, "0b6n8s2d4f1g3h5j"),
    InputSource(OF_RUN, "0b6n8s2d4f1g3h5j", "json", large=True),
    InputSource(OF_RUN, "0b6n8s2d4f1g3h5j", "multi-file"),
    InputSource(OF_RUN, "0b6n8s2d4f1g3h5j", "text"),
)

OURS: dict[str, Any] = {
    "time_limit_s": 60,
    "limits": {"memory_limit_bytes": 1_000_000},
    "waits_for": ["0b6n8s2d4f1g3h5j"],
    "wait_policy": "skip",
}


def run_in_shell(text: str, folder: Any) -> list[list[str]]:
    """The words and the stdin of each curl that a text starts, none of which is a real one."""
    tools = folder / "tools"
    tools.mkdir()
    fake = tools / "curl"
    fake.write_text(
        "#!/usr/bin/env python3\n"
        "import json, sys\n"
        "fed = sys.stdin.read() if '--data-binary' in sys.argv else ''\n"
        f"open({str(folder / 'said')!r}, 'a').write(json.dumps([*sys.argv[1:], fed]) + '\\n')\n"
        'print(\'{"upload_id": "U-1", "upload_url": "http://h/t?a=1&b=2", "url": "http://h/d"}\')\n'
    )
    fake.chmod(0o755)
    (folder / "inputs").mkdir()
    (folder / "inputs" / "a.csv").write_text("1\n")
    for name in ("input.json", "orders of may.json"):
        (folder / name).write_text('{"from": "file"}')
    (folder / "input.txt").write_text("text")
    done = subprocess.run(
        ["sh", "-e"],
        input=text,
        env={"PATH": f"{tools}:/usr/bin:/bin", "NEXTMV_API_KEY": "k-1"},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
    assert not (folder / "owned").exists()
    return [json.loads(line) for line in (folder / "said").read_text().splitlines()]


def body_of(words: list[str]) -> Any:
    """What a curl sent."""
    return json.loads(words[-1] or words[words.index("-d") + 1])


@pytest.mark.parametrize("source", SOURCES, ids=lambda one: f"{one.kind}-{one.content_format}")
@pytest.mark.parametrize("ours", [{}, OURS], ids=["plain", "ours"])
def test_a_shell_sends_the_body_that_was_meant(tmp_path, source, ours):
    request = replace(PLAIN, input=source, **ours)
    *before, submit = run_in_shell(curl_run(request), tmp_path)
    assert f"{BASE}/v1/applications/routing/runs?instance_id=prod" in submit
    assert "Authorization: Bearer k-1" in submit
    body = body_of(submit)
    inputs = {name: body.pop(name) for name in ("input", "input_id", "upload_id") if name in body}
    assert body == request.words
    expected = {
        NONE: {},
        MANAGED: {"input_id": "monday"},
        INLINE: {"input": {"a": [1, None, True]}},
    }.get(source.kind)
    if expected is None:
        by_upload = source.large or not source.is_json
        expected = {"upload_id": "U-1"} if by_upload else {"input": {"from": "file"}}
    assert inputs == expected
    if "upload_id" in inputs:
        assert before[-1][before[-1].index("-T") + 2] == "http://h/t?a=1&b=2"


@pytest.mark.parametrize("text", HOSTILE)
def test_a_shell_takes_a_hostile_text_for_a_text(tmp_path, text):
    request = replace(PLAIN, name=text, description=text, options={"free": text, text: "1"})
    request = replace(request, input=InputSource(INLINE, {text: text}))
    [submit] = run_in_shell(curl_run(request), tmp_path)
    body = body_of(submit)
    assert body["name"] == body["description"] == body["options"]["free"] == text
    assert body["options"][text] == "1"
    assert body["input"] == {text: text}


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_text_in_the_rest_of_a_piped_body_stays_one(tmp_path, text):
    request = replace(PLAIN, name=text, input=InputSource(FILE, text))
    (tmp_path / file_name_of(request.input)).write_text("{}")
    [submit] = run_in_shell(curl_run(replace(request, options={"a": text})), tmp_path)
    assert body_of(submit)["name"] == text


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("source", SOURCES, ids=lambda one: f"{one.kind}-{one.content_format}")
def test_python_takes_a_hostile_text_for_a_text(text, source):
    request = replace(
        PLAIN, base=BASE, name=text, options={"free": text}, input=source, instance_id=text
    )
    for shown in (request, replace(request, time_limit_s=5)):
        tree = ast.parse(python_run(shown))
        texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]
        assert texts.count(text) >= 3
        assert not any(
            isinstance(node, ast.Call) and ast.unparse(node.func) in {"eval", "exec", "open"}
            for node in ast.walk(tree)
            if source.kind != FILE
        )


@pytest.mark.parametrize("text", HOSTILE)
def test_the_command_line_takes_a_hostile_text_for_a_word(text):
    command, _ = cli_run(replace(PLAIN, name=text, options={"free": text.replace(",", "")}))
    words = shlex.split(command.replace("\\\n", ""))
    assert words[words.index("--name") + 1] == text
    assert f"free={text}" in words


def test_the_key_is_named_and_never_there():
    for text in (curl_run(PLAIN), python_run(PLAIN), cli_run(PLAIN)[0]):
        assert "rs_" not in text
    assert '"Authorization: Bearer $NEXTMV_API_KEY"' in curl_run(PLAIN)
    assert 'os.environ["NEXTMV_API_KEY"]' in python_run(PLAIN)


def test_what_was_not_chosen_is_not_sent():
    bare = RunRequest(base=BASE, application_id="routing", input=InputSource(INLINE, {"a": 1}))
    assert bare.words == {}
    assert "?" not in curl_run(bare)
    assert 'new_run(\n    input={"a": 1},\n)' in python_run(bare)
    assert cli_run(bare)[0].startswith("printf '%s' '{\"a\": 1}' |")


def test_the_client_sends_what_it_has_no_words_for():
    text = python_run(replace(PLAIN, **OURS))
    assert "client.request(" in text
    assert '"time_limit_s": 60' in text
    assert '"input_id": "monday"' in text
    missing = cli_run(replace(PLAIN, **OURS))[1]
    assert missing == ("time limit", "limits", "runs to wait for")


def test_the_command_line_says_what_it_cannot_say():
    _, missing = cli_run(replace(PLAIN, options={"list": "1,2", "fine": "3"}))
    assert missing == ("option list",)


def test_a_priority_of_the_instance_survives_the_command_line():
    command, _ = cli_run(replace(PLAIN, priority=None, usual_priority=2))
    assert "--priority 2" in command


def test_an_archive_of_text_tables_is_announced_as_such():
    source = InputSource(FILE, "", "csv-archive")
    text = python_run(replace(PLAIN, priority=None, input=source, output_format="csv-archive"))
    assert '"format": {"input": {"type": "csv-archive"}' in text.replace("\n", "").replace("  ", "")


def test_lists_say_what_each_language_can_ask_for():
    one = ListRequest(BASE, "routing", statuses=["failed"])
    assert "runs?pagereturn=true&status=failed'" in curl_list(one)
    assert cli_list(one) == ("nextmv cloud run list --app-id routing --status failed", ())
    both = ListRequest(BASE, statuses=["failed", "canceled"], who="ann@example.org")
    assert "status" not in curl_list(both).replace("APPLICATION", "")
    assert 'in ["failed", "canceled"] and run.user_email == "ann@example.org"' in python_list(both)
    assert cli_list(both)[1] == ("every application", "status", "who")
    assert "/v1/account/queue'" in curl_list(ListRequest(BASE, statuses=["queued"]))
    ast.parse(python_list(both))


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_filter_of_a_list_stays_a_word(tmp_path, text):
    shown = ListRequest(BASE, text, statuses=[text], who=text)
    [words] = run_in_shell(curl_list(shown), tmp_path)
    assert words[1].startswith(f"{BASE}/v1/applications/")
    assert words[1].count("/") == 6
    ast.parse(python_list(shown))
    assert text in shlex.split(cli_list(shown)[0])


def test_a_run_is_read_in_three_ways():
    for of_format in ("json", "multi-file"):
        request = ReadRequest(BASE, "routing", "0b6n8s2d4f1g3h5j", of_format)
        for found in (curl_read(request), python_read(request), cli_read(request)):
            assert [one.title for one in found] == ["State", "Result", "Log"]
            assert all("0b6n8s2d4f1g3h5j" in one.text for one in found)
        for one in python_read(request):
            ast.parse(one.text)
    assert "output?format=url" in curl_read(request)[1].text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": 1}', {"a": 1}),
        ("[1]", None),
        ("", None),
        ("{", None),
        ('{"a": NaN}', None),
        ('{"a": 1e999}', None),
        ("x" * 3000, None),
        ("[" * 2000, None),
    ],
)
def test_only_a_small_sound_object_stands_in_a_request(text, value):
    assert small_json(text) == value


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("orders.json", "orders.json"),
        ("-rf", "input.json"),
        (".bashrc", "input.json"),
        ("a/b.json", "input.json"),
        ("a\nb", "input.json"),
        ("", "input.json"),
    ],
)
def test_a_file_keeps_a_name_that_is_one(name, shown):
    assert file_name_of(InputSource(FILE, name)) == shown


def test_long_values_take_a_line_each():
    value = {"a" * 40: "b" * 40, "c": [1, 2], "d": {}}
    assert ast.literal_eval(literal(value)) == value
    assert json.loads(json_text(value)) == value
    assert literal(value).count("\n") == 4
    assert all(len(line) < 100 for line in json_text(value).splitlines())


def test_characters_that_do_not_show_are_escaped():
    assert "\\u202e" in json_text({"a": "\u202e"})
    assert "ü" in json_text({"a": "ü"})


def test_the_lines_to_connect_name_endpoint_and_key():
    found = {one.key: one for one in connect_languages("https://runs.example.org:8443", "rs_k1")}
    assert list(found) == ["python", "cli", "mcp", "curl"]
    assert (
        "export NEXTMV_ENDPOINT=https://runs.example.org:8443" in found["python"].snippets[0].text
    )
    assert "--api-key rs_k1 --endpoint runs.example.org:8443" in found["cli"].snippets[0].text
    settings = json.loads(found["mcp"].snippets[1].text)["mcpServers"]["runsite"]
    assert settings["env"]["NEXTMV_API_KEY"] == "rs_k1"
    plain = {one.key: one for one in connect_languages(BASE)}
    assert "https only" in plain["cli"].note
    assert "YOUR_KEY" in plain["python"].snippets[0].text
