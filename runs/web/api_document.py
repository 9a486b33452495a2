"""The OpenAPI document of our API, taken apart for the page that shows it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from runs.domain.requests import json_text

DEEPEST = 4
"""So many objects within objects are unfolded; below that their name is enough."""
_LONGEST_EXAMPLE = 4000
_JSON = "application/json"


@dataclass(frozen=True)
class Row:
    """A property of a body, or a parameter; `depth` says how far it is indented."""

    name: str
    type: str
    note: str = ""
    required: bool = False
    depth: int = 0
    where: str = ""


@dataclass(frozen=True)
class Body:
    """What is sent or answered: its properties, and an example as text."""

    note: str = ""
    content_type: str = ""
    rows: tuple[Row, ...] = ()
    example: str = ""


@dataclass(frozen=True)
class Answer:
    """What is answered with one status."""

    status: str
    words: str
    body: Body


@dataclass(frozen=True)
class Operation:
    """One method of one path. `parts` are its pieces, those in braces marked."""

    anchor: str
    method: str
    path: str
    parts: tuple[tuple[str, bool], ...]
    summary: str
    description: str
    permission: str
    role: str
    is_ours: bool
    parameters: tuple[Row, ...]
    body: Body | None
    answers: tuple[Answer, ...]
    errors: tuple[str, ...]


@dataclass(frozen=True)
class Section:
    """The operations of one noun."""

    name: str
    anchor: str
    operations: tuple[Operation, ...]


@lru_cache(maxsize=2)
def read_document(text: str) -> tuple[Section, ...]:
    """The sections of an OpenAPI document, in its order; read once for each document."""
    document = json.loads(text)
    schemas = document.get("components", {}).get("schemas", {})
    sections: dict[str, list[Operation]] = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            name = (operation.get("tags") or ["other"])[0]
            sections.setdefault(name, []).append(_operation(path, method, operation, schemas))
    return tuple(
        Section(name, _anchor(name), tuple(operations)) for name, operations in sections.items()
    )


def _operation(
    path: str, method: str, operation: Mapping[str, Any], schemas: Mapping[str, Any]
) -> Operation:
    answers, errors = [], []
    for status, answer in sorted(operation.get("responses", {}).items()):
        if status.startswith("2"):
            words = str(answer.get("description", ""))
            answers.append(Answer(status, words, _body(answer.get("content"), schemas)))
        else:
            errors.append(status)
    sent = operation.get("requestBody")
    summary = str(operation.get("summary", ""))
    description = str(operation.get("description", ""))
    return Operation(
        anchor=_anchor(f"{method} {path}"),
        method=method.upper(),
        path=path,
        parts=tuple(
            (part, part.startswith("{")) for part in re.split(r"(\{[^}]*\})", path) if part
        ),
        summary=summary,
        description=description.removeprefix(summary).lstrip(".").strip(),
        permission=str(operation.get("x-permission", "")),
        role=str(operation.get("x-role", "")),
        is_ours=bool(operation.get("x-ours")),
        parameters=tuple(_parameter(one, schemas) for one in operation.get("parameters", ())),
        body=_body(sent.get("content"), schemas) if sent else None,
        answers=tuple(answers),
        errors=tuple(errors),
    )


def _parameter(parameter: Mapping[str, Any], schemas: Mapping[str, Any]) -> Row:
    schema = parameter.get("schema", {})
    return Row(
        name=parameter["name"],
        type=_type(schema, schemas),
        note=str(parameter.get("description") or schema.get("description", "")),
        required=bool(parameter.get("required")),
        where=str(parameter.get("in", "")),
    )


def _body(content: Mapping[str, Any] | None, schemas: Mapping[str, Any]) -> Body:
    """The first kind of content that there is."""
    for content_type, media in (content or {}).items():
        schema = media.get("schema", {})
        shapes = _shapes(schema, schemas)
        first = next((one for one in shapes if one.get("properties")), shapes[0] if shapes else {})
        example = next(
            (one for each in (schema, *shapes) for one in each.get("examples", ())), None
        )
        if "example" in media:
            example = media["example"]
        return Body(
            note=str(first.get("description", "")),
            content_type="" if content_type == _JSON else content_type,
            rows=tuple(_rows(first, schemas)),
            example=_pretty(example),
        )
    return Body()


def _rows(schema: Mapping[str, Any], schemas: Mapping[str, Any], depth: int = 0) -> Iterator[Row]:
    """The properties of an object, those of objects within it after their own row."""
    required = schema.get("required", ())
    for name, inner in schema.get("properties", {}).items():
        note = str(inner.get("description", ""))
        if (default := inner.get("default")) not in (None, "", False):
            note = f"{note} Usually {default}.".strip()
        yield Row(name, _type(inner, schemas), note, name in required, depth)
        if depth + 1 >= DEEPEST:
            continue
        for shape in _shapes(inner, schemas):
            yield from _rows(shape, schemas, depth + 1)


def _shapes(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The objects that a schema may be, or is a list of; those that are named, resolved."""
    if "$ref" in schema:
        return _shapes(schemas.get(schema["$ref"].rsplit("/", 1)[1], {}), schemas)
    for word in ("anyOf", "oneOf", "allOf"):
        if word in schema:
            return [shape for one in schema[word] for shape in _shapes(one, schemas)]
    if schema.get("type") == "array":
        return _shapes(schema.get("items", {}), schemas)
    return [schema] if schema.get("properties") else []


def _type(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> str:
    """The type in words: `string`, `list of objects`, `integer or null`."""
    if "$ref" in schema:
        return _type(schemas.get(schema["$ref"].rsplit("/", 1)[1], {}), schemas)
    for word in ("anyOf", "oneOf"):
        if word in schema:
            # That it may be null as well as missing helps nobody who reads.
            names = [_type(one, schemas) for one in schema[word]]
            return " or ".join(dict.fromkeys(name for name in names if name != "null")) or "null"
    if "enum" in schema:
        return " or ".join(f"`{one}`" for one in schema["enum"])
    kind = schema.get("type")
    if kind == "array":
        inner = _type(schema.get("items", {}), schemas)
        return "list" if inner == "any" else f"list of {inner}s"
    if kind == "string" and schema.get("format") == "date-time":
        return "time"
    return str(kind or "any")


def _pretty(example: Any) -> str:
    if example is None:
        return ""
    text = json_text(example)
    return text if len(text) <= _LONGEST_EXAMPLE else f"{text[:_LONGEST_EXAMPLE]}\n…"


def _anchor(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def count_of(sections: Sequence[Section]) -> int:
    """How many operations there are."""
    return sum(len(section.operations) for section in sections)
