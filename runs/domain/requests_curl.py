"""Requests as lines for a shell: curl, and nothing that is not on every machine."""

from __future__ import annotations

import shlex
from urllib.parse import quote, urlencode

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
    Snippet,
    file_name_of,
    json_text,
)

KEY = '-H "Authorization: Bearer $NEXTMV_API_KEY"'
JSON = "-H 'Content-Type: application/json'"
ARCHIVE = "input.tar.gz"


def curl_run(request: RunRequest) -> str:
    """Submit the run; the answer has its id."""
    source = request.input
    address = _quoted(f"{request.base}/{request.path}/runs{request.query}")
    head = f"curl -sS -X POST {address}"
    if source.kind == NONE:
        return _post(head, shlex.quote(json_text(request.words)))
    if source.kind == MANAGED:
        body = {"input_id": str(source.value), **request.words}
        return _post(head, shlex.quote(json_text(body)))
    if source.kind == INLINE:
        return _post(head, shlex.quote(json_text({"input": source.value, **request.words})))
    lines = _fetch(request) if source.kind == OF_RUN else []
    if source.is_json and not source.large:
        return "\n".join([*lines, *_piped(request, head)])
    return "\n".join([*lines, *_uploaded(request, head)])


def curl_list(request: ListRequest) -> str:
    """List runs, newest first."""
    asked = {"pagereturn": "true"}
    if len(request.statuses) == 1:
        asked["status"] = request.statuses[0]
    query = urlencode(asked)
    if request.application_id:
        path = f"v1/applications/{quote(request.application_id, safe='')}/runs"
        return f"curl -sS {_quoted(f'{request.base}/{path}?{query}')} \\\n  {KEY}"
    if request.statuses and set(request.statuses) <= {"queued", "running"}:
        return f"curl -sS {_quoted(f'{request.base}/v1/account/queue')} \\\n  {KEY}"
    begin, end = f"{request.base}/v1/applications/", f"/runs?{query}"
    return (
        f"APPLICATION={shlex.quote(request.example_id)}\n"
        f'curl -sS {_quoted(begin)}"$APPLICATION"{_quoted(end)} \\\n  {KEY}'
    )


def curl_read(request: ReadRequest) -> tuple[Snippet, ...]:
    """Read state, result and log of a run."""
    root = f"{request.base}/{request.path}"
    result = [f"curl -sS {_quoted(root)} \\\n  {KEY}"]
    if request.output_format != "json":
        # What is no JSON comes as an archive, from an address that needs no key.
        result = [
            f"answer=$(curl -sS {_quoted(f'{root}/output?format=url')} \\\n  {KEY})",
            f'curl -sS "$({_field("answer", "url")})" -o output.tar.gz',
        ]
    return (
        Snippet("State", f"curl -sS {_quoted(f'{root}/metadata')} \\\n  {KEY}"),
        Snippet("Result", "\n".join(result)),
        Snippet("Log", f"curl -sS {_quoted(f'{root}/logs')} \\\n  {KEY}"),
    )


def _post(head: str, body: str) -> str:
    return f"{head} \\\n  {KEY} \\\n  {JSON} \\\n  -d {body}"


def _piped(request: RunRequest, head: str) -> list[str]:
    """The file goes into the body as it is: it may be larger than a command line."""
    words = request.words
    rest = f", {json_text(words)[1:].lstrip()}" if words else "}"
    name = file_name_of(request.input)
    return [
        f"{{ printf '%s' {shlex.quote('{' + chr(34) + 'input' + chr(34) + ': ')}",
        f"  cat {shlex.quote(name)}",
        f"  printf '%s' {shlex.quote(rest)}",
        f"}} | {head} \\\n  {KEY} \\\n  {JSON} \\\n  --data-binary @-",
    ]


def _uploaded(request: RunRequest, head: str) -> list[str]:
    """Ask for a ticket, send the bytes there, name them in the request."""
    source = request.input
    sent = _sent_name(source)
    ticket = _quoted(f"{request.base}/{request.path}/runs/uploadurl")
    lines = []
    if source.is_folder and source.kind == FILE:
        lines.append(f"tar -czf {ARCHIVE} -C {shlex.quote(file_name_of(source))} .")
    words = json_text({"upload_id": "", **request.words})
    before, _, after = words.partition('"upload_id": ""')
    body = (
        shlex.quote(before + '"upload_id": "')
        + f'"$({_field("ticket", "upload_id")})"'
        + shlex.quote('"' + after)
    )
    return [
        *lines,
        f"ticket=$(curl -sS -X POST {ticket} \\\n  {KEY})",
        f'curl -sS -o /dev/null -T {shlex.quote(sent)} "$({_field("ticket", "upload_url")})"',
        _post(head, body),
    ]


def _fetch(request: RunRequest) -> list[str]:
    """Get the input of the run that had it before."""
    source = request.input
    address = f"{request.base}/{request.path}/runs/{source.value}/input"
    if source.is_json:
        name = shlex.quote(file_name_of(source))
        return [f"curl -sS {_quoted(address)} \\\n  {KEY} -o {name}"]
    return [
        f"answer=$(curl -sS {_quoted(f'{address}?format=url')} \\\n  {KEY})",
        f'curl -sS "$({_field("answer", "url")})" -o {shlex.quote(_sent_name(source))}',
    ]


def _sent_name(source: InputSource) -> str:
    return ARCHIVE if source.is_folder else file_name_of(source)


def _field(variable: str, name: str) -> str:
    """A command that prints one text of a flat JSON answer; ours hold no quotes."""
    pattern = rf's/.*"{name}": *"\([^"]*\)".*/\1/p'
    return f"printf '%s' \"${variable}\" | sed -n '{pattern}'"


def _quoted(address: str) -> str:
    """An address as one word, in quotes even where the shell would not need them."""
    word = shlex.quote(address)
    return word if word.startswith("'") else f"'{word}'"
