"""Requests with the published client: as Python, and for its command line."""

from __future__ import annotations

import re
import shlex
from typing import Any

from runs.domain.requests import (
    FILE,
    INLINE,
    MANAGED,
    NONE,
    OF_RUN,
    ListRequest,
    ReadRequest,
    RunRequest,
    Snippet,
    file_name_of,
    json_text,
)

_OURS = {
    "time_limit_s": "time limit",
    "limits": "limits",
    "waits_for": "runs to wait for",
}
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*", re.ASCII)


# --- Python -----------------------------------------------------------------------------------


def python_run(request: RunRequest) -> str:
    """Submit the run and print its id."""
    source, modules = request.input, {"os"}
    if source.kind == FILE and source.is_json:
        modules.add("json")
    if source.kind in {FILE, OF_RUN} and source.is_folder and request.ours:
        modules.add("shutil")
    begin = _begin(request.base, request.application_id)
    lines = [*begin, *_submit(request), "print(run_id)"]
    return "\n".join([*(f"import {name}" for name in sorted(modules)), *lines[1:]])


def python_list(request: ListRequest) -> str:
    """List runs, newest first; the client can filter them by whatever they have."""
    tests = []
    if request.statuses:
        tests.append(f"run.status_v2.value in {literal(list(request.statuses))}")
    if request.who:
        tests.append(f"run.user_email == {literal(request.who)}")
    shown = "print(run.id, run.status_v2.value, run.name)"
    lines = _client(request.base)
    pad = ""
    if request.application_id:
        lines.append(
            f"application = cloud.Application(client=client, id={literal(request.application_id)})"
        )
    else:
        lines.append("for application in cloud.list_applications(client):")
        pad = "    "
    lines.append(f"{pad}for run in application.list_runs():")
    if tests:
        lines += [f"{pad}    if {' and '.join(tests)}:", f"{pad}        {shown}"]
    else:
        lines.append(f"{pad}    {shown}")
    return "\n".join(lines)


def python_read(request: ReadRequest) -> tuple[Snippet, ...]:
    """Read state, result and log of a run."""
    run = literal(request.run_id)
    begin = _begin(request.base, request.application_id)
    result = [f"result = application.run_result(run_id={run})", "print(result.output)"]
    if request.output_format != "json":
        result = [f'application.run_result(run_id={run}, output_dir_path="outputs")']
    calls = (
        ("State", [f"print(application.run_metadata(run_id={run}).metadata.status_v2.value)"]),
        ("Result", result),
        ("Log", [f"print(application.run_logs(run_id={run}).log)"]),
    )
    return tuple(Snippet(title, "\n".join([*begin, *lines])) for title, lines in calls)


def literal(value: Any, pad: str = "") -> str:
    """A value as Python text: one line where it is short, else a line for each of its parts."""
    flat = _flat(value)
    if len(flat) + len(pad) <= 72 or not isinstance(value, dict | list) or not value:
        return flat
    inner = f"{pad}    "
    if isinstance(value, dict):
        parts = [f"{inner}{_flat(key)}: {literal(one, inner)}" for key, one in value.items()]
        return "{\n" + ",\n".join(parts) + f",\n{pad}}}"
    parts = [f"{inner}{literal(one, inner)}" for one in value]
    return "[\n" + ",\n".join(parts) + f",\n{pad}]"


def _flat(value: Any) -> str:
    """A value on one line, its texts in double quotes where that needs no escapes."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_flat(key)}: {_flat(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_flat, value)) + "]"
    text = repr(value)
    return f'"{text[1:-1]}"' if text.startswith("'") and '"' not in text else text


def _client(base: str) -> list[str]:
    return [
        "import os",
        "",
        "from nextmv import cloud",
        "",
        'client = cloud.Client(api_key=os.environ["NEXTMV_API_KEY"], url=' + literal(base) + ")",
    ]


def _begin(base: str, application_id: str) -> list[str]:
    made = f"application = cloud.Application(client=client, id={literal(application_id)})"
    return [*_client(base), made]


def _submit(request: RunRequest) -> list[str]:
    """The lines that lead to `run_id`."""
    source, own = request.input, request.ours
    before, named = _python_input(request)
    if not own:
        given = {**named, **_arguments(request)}
        parts = [f"    {name}={text}," for name, text in given.items()]
        return [*before, "run_id = application.new_run(", *parts, ")"]
    # The client has no words for what we add, but sends whatever body it is given.
    if source.kind in {FILE, OF_RUN} and not (source.is_json and not source.large):
        before += _python_upload(request)
        payload = {"upload_id": "ticket.upload_id"}
    elif source.kind == MANAGED:
        payload = {"input_id": literal(str(source.value))}
    else:
        payload = {"input": named["input"]} if source.kind != NONE else {}
    payload |= {name: literal(value, " " * 8) for name, value in request.words.items()}
    parts = [f"        {literal(name)}: {text}," for name, text in payload.items()]
    query = (
        [f"    query_params={literal({'instance_id': request.instance_id})},"]
        if request.instance_id
        else []
    )
    return [
        *before,
        "answer = client.request(",
        '    "POST",',
        f"    {literal(request.path + '/runs')},",
        "    payload={",
        *parts,
        "    },",
        *query,
        ")",
        'run_id = answer.json()["run_id"]',
    ]


def _arguments(request: RunRequest) -> dict[str, str]:
    """The arguments of `new_run` besides the input, as text."""
    given: dict[str, Any] = {
        "instance_id": request.instance_id,
        "name": request.name,
        "description": request.description,
        "options": dict(request.options),
        "configuration": request.configuration | _format(request),
    }
    return {name: literal(value, " " * 4) for name, value in given.items() if value}


def _format(request: RunRequest) -> dict[str, Any]:
    """The formats, where the client would announce others than the application has."""
    source = request.input
    said = {NONE: "json", MANAGED: source.content_format}.get(
        source.kind, "multi-file" if source.is_folder else source.content_format
    )
    output = "json" if said == "text" else said
    # A configuration that is given replaces what the client would say of formats by itself.
    if not request.configuration and (said, output) == (
        source.content_format,
        request.output_format,
    ):
        return {}
    formats = {"input": source.content_format, "output": request.output_format}
    return {"format": {part: {"type": name} for part, name in formats.items()}}


def _python_input(request: RunRequest) -> tuple[list[str], dict[str, str]]:
    """Lines that get the input ready, and the argument of `new_run` that names it."""
    source = request.input
    name = literal(file_name_of(source))
    if source.kind == MANAGED:
        return [], {"managed_input_id": literal(str(source.value))}
    if source.kind == INLINE:
        return [], {"input": literal(source.value, " " * 4)}
    if source.kind == OF_RUN and source.is_folder:
        line = f"application.run_input(run_id={literal(str(source.value))}, output_dir_path={name})"
        return [line], {"input_dir_path": name}
    if source.kind == OF_RUN:
        line = f"run_input = application.run_input(run_id={literal(str(source.value))})"
        return [line], {"input": "run_input"}
    if source.kind == FILE and source.is_folder:
        return [], {"input_dir_path": name}
    if source.kind == FILE:
        read = "json.load(file)" if source.is_json else "file.read()"
        lines = [f'with open({name}, encoding="utf-8") as file:', f"    run_input = {read}"]
        return lines, {"input": "run_input"}
    return [], {}


def _python_upload(request: RunRequest) -> list[str]:
    """Send the input ahead, for a body that names its upload."""
    source = request.input
    lines = ["ticket = application.upload_url()"]
    if source.is_folder:
        name = literal(file_name_of(source))
        lines.append(f'archive = shutil.make_archive("input", "gztar", {name})')
        return [*lines, "application.upload_data(upload_url=ticket, tar_file=archive)"]
    return [*lines, "application.upload_data(upload_url=ticket, data=run_input)"]


# --- Command line -----------------------------------------------------------------------------


def cli_run(request: RunRequest) -> tuple[str, tuple[str, ...]]:
    """The command that submits the run, and what it cannot say."""
    source = request.input
    lines, words = [], ["nextmv cloud run create", f"--app-id {_word(request.application_id)}"]
    missing = [words_of for name, words_of in _OURS.items() if name in request.ours]
    if source.kind == NONE:
        missing.append("no input")
    elif source.kind == MANAGED:
        words.append(f"--managed-input-id {_word(str(source.value))}")
    elif source.kind == INLINE:
        words[0] = f"printf '%s' {shlex.quote(json_text(source.value))} |\n  {words[0]}"
    elif source.kind in {FILE, OF_RUN}:
        name = _word(file_name_of(source))
        if source.kind == OF_RUN:
            run = _word(str(source.value))
            app = _word(request.application_id)
            lines.append(f"nextmv cloud run input --app-id {app} --run-id {run} --output {name}")
        words.append(f"--input {name}")
    for name, value in request.options.items():
        # Its commas part options, and its first equals sign ends the name.
        if "," in value or not _NAME.fullmatch(name):
            missing.append(f"option {name}")
        else:
            words.append(f"--options {_word(f'{name}={value}')}")
    given = {
        "--instance-id": request.instance_id,
        "--name": request.name,
        "--description": request.description,
        "--execution-class": request.execution_class,
        "--secret-collection-id": request.secrets_collection_id,
    }
    words += [f"{flag} {_word(text)}" for flag, text in given.items() if text]
    priority = request.priority or request.usual_priority
    if priority != 6:
        words.append(f"--priority {priority}")  # it always sends one
    return "\n".join([*lines, " \\\n  ".join(words)]), tuple(missing)


def cli_list(request: ListRequest) -> tuple[str, tuple[str, ...]]:
    """The command that lists the runs of an application, and what it cannot say."""
    words = ["nextmv cloud run list"]
    words.append(f"--app-id {_word(request.application_id or request.example_id)}")
    missing = [] if request.application_id else ["every application"]
    if len(request.statuses) == 1:
        words.append(f"--status {_word(request.statuses[0])}")
    elif request.statuses:
        missing.append("status")
    if request.who:
        missing.append("who")
    return " ".join(words), tuple(missing)


def cli_read(request: ReadRequest) -> tuple[Snippet, ...]:
    """The commands that read state, result and log of a run."""
    of_run = f"--app-id {_word(request.application_id)} --run-id {_word(request.run_id)}"
    result = "" if request.output_format == "json" else " --output outputs"
    return (
        Snippet("State", f"nextmv cloud run information {of_run}"),
        Snippet("Result", f"nextmv cloud run get {of_run}{result}"),
        Snippet("Log", f"nextmv cloud run logs {of_run}"),
    )


def _word(text: str) -> str:
    """A value of an option as one word of the shell; one that looks like an option stays one."""
    return shlex.quote(text)
