"""Input and output formats: what each needs, and what is wrong with an input."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from types import MappingProxyType
from typing import NoReturn

FORMATS = ("json", "text", "multi-file", "csv-archive")
"""The formats, in the words of the wire. The models take their choices from here: keep the name."""

FOLDER_FORMATS = frozenset({"multi-file", "csv-archive"})


@dataclass(frozen=True)
class FormatRules:
    """What a format means for a run.

    `input_kind` is what a caller gives: `object`, `text` or `folder`. The folders are those of the
    working directory where the manifest says nothing; empty where stdin and stdout serve.
    `accepts` are the ends of file names that a form offers.
    """

    name: str
    label: str
    input_kind: str
    input_folder: str
    output_folder: str
    stdout_is_log: bool
    help_text: str
    accepts: tuple[str, ...]


_ARCHIVES = (".zip", ".tar.gz", ".tgz")

RULES: MappingProxyType[str, FormatRules] = MappingProxyType(
    {
        rules.name: rules
        for rules in (
            FormatRules(
                "json",
                "JSON",
                "object",
                "",
                "",
                False,
                "One JSON object; the program reads it from stdin.",
                (".json",),
            ),
            FormatRules(
                "text",
                "Text",
                "text",
                "",
                "",
                False,
                "Any text; the program reads it from stdin unchanged.",
                (),
            ),
            FormatRules(
                "multi-file",
                "Files",
                "folder",
                "inputs",
                "outputs/solutions",
                True,
                "One or more files, a folder, or an archive (.zip, .tar.gz).",
                (),
            ),
            FormatRules(
                "csv-archive",
                "CSV files",
                "folder",
                "input",
                "output",
                False,
                "CSV files, a folder of them, or an archive (.zip, .tar.gz).",
                (".csv", *_ARCHIVES),
            ),
        )
    }
)
"""The rules of each format, by its name."""


@dataclass(frozen=True)
class JsonProblem:
    """Why a text is no input for a JSON application; line and column count from 1."""

    line: int
    column: int
    message: str

    def __str__(self) -> str:
        return f"Line {self.line}, column {self.column}: {self.message}"


def is_folder_format(name: str) -> bool:
    """Whether inputs of this format are folders of files."""
    return name in FOLDER_FORMATS


def input_problem(format_name: str, given: str) -> str:
    """Why an input of the kind `given` (`object`, `text`, `folder`) does not fit; empty if it does.

    The words after the colon are those that callers of the library know.
    """
    rules = RULES[format_name]
    if given == rules.input_kind:
        return ""
    if rules.input_kind == "folder":
        reason = "input data must be None for csv-archive or multi-file format"
        return f"{reason}. Send files, a folder or an archive instead."
    wanted = "a JSON object" if rules.input_kind == "object" else "a text"
    return f"invalid input data for format {format_name}. Send {wanted} instead."


def guess_format(file_name: str) -> str | None:
    """The format an input file of this name is likely meant for; None when the name says nothing.

    Archives and CSV are taken for `multi-file`: `csv-archive` is legacy and never guessed.
    """
    name = file_name.lower()
    if name.endswith(".json"):
        return "json"
    if name.endswith((*_ARCHIVES, ".csv", ".xlsx", ".parquet")):
        return "multi-file"
    if name.endswith((".txt", ".md", ".lp", ".mps", ".log")):
        return "text"
    return None


def size_words(size_bytes: int) -> str:
    """A size for people, `1.4 MiB`; exact below 1 KiB."""
    if size_bytes < 1024:
        return "1 byte" if size_bytes == 1 else f"{size_bytes} bytes"
    size = float(size_bytes)
    for unit in ("KiB", "MiB", "GiB", "TiB"):
        size /= 1024
        # 1023.95 KiB would be rounded to 1024.0 KiB.
        if size < 1023.95 or unit == "TiB":
            break
    return f"{size:.1f} {unit}"


def check_json_input(text: str) -> JsonProblem | None:
    """What is wrong with `text` as input of a JSON application; None when nothing is.

    It must be strict JSON (no NaN, no infinities) and an object at the top: lists and numbers are
    refused, as the run contract says. The whole text is parsed in memory; look at its size first.
    """
    if text.startswith("\ufeff"):
        return JsonProblem(1, 1, "The text begins with a byte order mark. Save it without one.")
    start = len(text) - len(text.lstrip(" \t\r\n"))
    if start == len(text):
        return JsonProblem(1, 1, "The input is empty. An object is needed, at least `{}`.")
    try:
        value = _load(text)
    except json.JSONDecodeError as error:
        return JsonProblem(error.lineno, error.colno, _json_words(error, text))
    except _NotJson as error:
        line, column = _find_constant(text, str(error))
        return JsonProblem(
            line, column, f"`{error}` is not JSON. Write `null`, or leave the value out."
        )
    except RecursionError:
        return JsonProblem(1, 1, "The text is nested too deeply. Flatten it.")
    if isinstance(value, dict):
        return None
    line, column = _line_and_column(text, start)
    kind = _kind_words(value)
    return JsonProblem(
        line,
        column,
        f"The input is {kind}, but must be an object. "
        'Put it under a name, for example `{"items": …}`.',
    )


def _load(text: str) -> object:
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except (json.JSONDecodeError, _NotJson):
        raise
    except ValueError:
        # Python refuses to read integers of thousands of digits; for a check their value is
        # nothing. Not at once: a call for each integer takes as long as all the rest.
        return json.loads(text, parse_constant=_refuse_constant, parse_int=_parse_int)


class _NotJson(ValueError):
    """A constant that Python reads but JSON does not know."""


def _refuse_constant(name: str) -> NoReturn:
    raise _NotJson(name)


def _parse_int(digits: str) -> int | float:
    return int(digits) if len(digits) < 4000 else math.inf


def _find_constant(text: str, name: str) -> tuple[int, int]:
    """Where the constant stands outside of strings; the parser does not tell."""
    at, inside = 0, False
    while at < len(text):
        char = text[at]
        if inside and char == "\\":
            at += 2
            continue
        if char == '"':
            inside = not inside
        elif not inside and text.startswith(name, at):
            break
        at += 1
    return _line_and_column(text, at)


def _line_and_column(text: str, index: int) -> tuple[int, int]:
    return text.count("\n", 0, index) + 1, index - text.rfind("\n", 0, index)


def _kind_words(value: object) -> str:
    if isinstance(value, list):
        return "a list"
    if isinstance(value, str):
        return "a text in quotes"
    if value is None or isinstance(value, bool):
        return f"`{json.dumps(value)}`"
    return "a number"


def _json_words(error: json.JSONDecodeError, text: str) -> str:
    """The parser's complaint in words that say what to do."""
    here = text[error.pos : error.pos + 1]
    before = text[: error.pos].rstrip()[-1:]
    found = f"`{here}`" if here.strip() else "the end of the text" if not here else "a blank"
    if error.msg.startswith("Illegal trailing comma") or (here in {"}", "]"} and before == ","):
        return "There is a comma before the closing bracket. Remove it."
    if here == "'":
        return "Text stands in double quotes in JSON: write `\"` instead of `'`."
    if error.msg.startswith("Expecting property name"):
        return f'A name in double quotes is needed here, like `"name": 1`; there is {found}.'
    if error.msg.startswith("Expecting ':'"):
        return f"A colon is needed between name and value; there is {found}."
    if error.msg.startswith("Expecting ','"):
        return f"A comma or a closing bracket is needed here; there is {found}."
    if error.msg.startswith("Expecting value"):
        return f"A value is needed here; there is {found}."
    if error.msg.startswith("Unterminated string"):
        return 'The text that starts here has no closing `"`.'
    if error.msg.startswith("Invalid control character"):
        return "A line break or control character stands inside a text. Write it as `\\n`."
    if error.msg.startswith("Invalid \\"):
        return "There is a backslash with an unknown letter. Write two: `\\\\`."
    if error.msg.startswith("Extra data"):
        return f"The object has ended, but more follows: {found}. Only one object is read."
    return f"{error.msg}."
