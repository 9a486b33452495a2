"""A YAML text read as nodes that know their lines, whatever a stranger wrote into it."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import yaml
from yaml.constructor import SafeConstructor
from yaml.events import (
    AliasEvent,
    CollectionEndEvent,
    CollectionStartEvent,
    DocumentStartEvent,
    Event,
    ScalarEvent,
)
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

LONGEST_TEXT_BYTES = 1024 * 1024
DEEPEST_NESTING = 40
MOST_NODES = 100_000
MOST_PROBLEMS = 100

_LOADER: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NULL = "tag:yaml.org,2002:null"
_BOOL = "tag:yaml.org,2002:bool"
_INT = "tag:yaml.org,2002:int"
_FLOAT = "tag:yaml.org,2002:float"
_STR = "tag:yaml.org,2002:str"
_MERGE = "tag:yaml.org,2002:merge"
_TIME = "tag:yaml.org,2002:timestamp"
_SEQUENCE = "tag:yaml.org,2002:seq"
_MAPPING = "tag:yaml.org,2002:map"
_VALUE = "tag:yaml.org,2002:value"
_KNOWN_TAGS = {_NULL, _BOOL, _INT, _FLOAT, _STR, _MERGE, _TIME, _SEQUENCE, _MAPPING, _VALUE}


@dataclass(frozen=True)
class Problem:
    """One thing in a file that is wrong or odd: where, what, and what to do.

    `line` and `column` count from 1; both are 0 when the problem has no place. `key` is the dotted
    path of the key, `configuration.options.items[2].name`.
    """

    line: int
    column: int
    key: str
    message: str
    remedy: str
    file: str = "app.yaml"

    def __str__(self) -> str:
        place = f"{self.file}, line {self.line}" if self.line else self.file
        message = self.message.rstrip(".")
        return f"{place}: {message}. {self.remedy}".rstrip()


class Problems:
    """Collects what is wrong and what is odd while a document is read; bounded."""

    def __init__(self, filename: str) -> None:
        self.filename = filename
        self.errors: list[Problem] = []
        self.warnings: list[Problem] = []

    def error(self, node: Node | None, key: str, message: str, remedy: str) -> None:
        """Note something that makes the document unusable."""
        self._note(self.errors, node, key, message, remedy)

    def warn(self, node: Node | None, key: str, message: str, remedy: str) -> None:
        """Note something odd that does no harm."""
        self._note(self.warnings, node, key, message, remedy)

    def _note(
        self, into: list[Problem], node: Node | None, key: str, message: str, remedy: str
    ) -> None:
        if len(into) >= MOST_PROBLEMS:
            return
        line, column = position(node)
        into.append(Problem(line, column, shortened(key, 200), message, remedy, self.filename))


class Unreadable(Exception):
    """The text is no YAML document that we are willing to read; `problem` says why."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


def position(node: Node | None) -> tuple[int, int]:
    """Line and column of `node`, from 1; zeros without a node."""
    if node is None or node.start_mark is None:
        return 0, 0
    return node.start_mark.line + 1, node.start_mark.column + 1


def compose_document(text: str, *, filename: str) -> Node | None:
    """The root node of the one document in `text`, None when it is empty.

    Raises `Unreadable` for broken YAML, more than one document, texts above 1 MiB, nesting deeper
    than 40, and aliases that unfold to more than 100,000 nodes. Aliases and merge keys are fine
    otherwise. The events are looked at first, because the composer of libyaml overflows the stack
    on deep nesting.
    """
    text = text.removeprefix("\ufeff")
    _check_text(text, filename)
    loader = None
    try:
        _check_events(yaml.parse(text, Loader=_LOADER), filename)
        loader = _LOADER(text)
        return loader.get_single_node()
    except yaml.YAMLError as error:
        raise Unreadable(_syntax_problem(error, filename)) from error
    finally:
        if loader is not None:
            loader.dispose()


def _check_text(text: str, filename: str) -> None:
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        line, column = _place(text, error.start)
        raise Unreadable(
            Problem(
                line, column, "", "a character that is no text", "Save the file as UTF-8.", filename
            )
        ) from error
    if size > LONGEST_TEXT_BYTES:
        raise Unreadable(
            Problem(
                0,
                0,
                "",
                f"the file has {size:,} bytes, above the limit of {LONGEST_TEXT_BYTES:,}",
                "Keep data out of the manifest.",
                filename,
            )
        )
    found = yaml.reader.Reader.NON_PRINTABLE.search(text)
    if found:
        line, column = _place(text, found.start())
        raise Unreadable(
            Problem(
                line,
                column,
                "",
                f"the control character U+{ord(found.group()):04X} is not allowed in YAML",
                "Remove it.",
                filename,
            )
        )


def _place(text: str, index: int) -> tuple[int, int]:
    return text.count("\n", 0, index) + 1, index - (text.rfind("\n", 0, index) + 1) + 1


def _check_events(events: Iterator[Event], filename: str) -> None:
    """Refuse what would cost too much to unfold; raises `Unreadable`.

    Sizes are those of the tree with every alias replaced by what it stands for.
    """
    sizes: dict[str, int] = {}
    open_collections: list[tuple[str | None, int]] = []
    documents = total = 0
    for event in events:
        if isinstance(event, DocumentStartEvent):
            documents += 1
            if documents > 1:
                raise _refused(event, filename, "a second document starts here", "Keep only one.")
        elif isinstance(event, CollectionStartEvent):
            if len(open_collections) >= DEEPEST_NESTING:
                raise _refused(
                    event,
                    filename,
                    f"nested more than {DEEPEST_NESTING} levels deep",
                    "Flatten the document.",
                )
            open_collections.append((event.anchor, total))
            total += 1
        elif isinstance(event, CollectionEndEvent):
            anchor, before = open_collections.pop()
            if anchor:
                sizes[anchor] = total - before
        elif isinstance(event, AliasEvent):
            if event.anchor not in sizes:
                raise _refused(
                    event,
                    filename,
                    f"`*{shortened(event.anchor)}` stands for itself or for nothing",
                    "Put an anchor of this name before it, or write the value out.",
                )
            total += sizes[event.anchor]
        elif isinstance(event, ScalarEvent):
            total += 1
            if event.anchor:
                sizes[event.anchor] = 1
            if "\0" in event.value or any("\ud800" <= char <= "\udfff" for char in event.value):
                raise _refused(
                    event, filename, "a value holds a zero byte or half a character", "Remove it."
                )
        if total > MOST_NODES:
            raise _refused(
                event,
                filename,
                f"more than {MOST_NODES:,} values, aliases unfolded",
                "Shorten the document; use aliases (`*name`) sparingly.",
            )


def _refused(event: Event, filename: str, message: str, remedy: str) -> Unreadable:
    mark = event.start_mark
    line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
    return Unreadable(Problem(line, column, "", message, remedy, filename))


def _syntax_problem(error: yaml.YAMLError, filename: str) -> Problem:
    """What the parser stumbled over, in the words of the parser and a remedy in ours."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
    words = getattr(error, "problem", None) or "this is not YAML"
    words = shortened(str(words).replace("\t", "\\t").replace("'\\t'", "a tab"), 200)
    remedy = "Check the indentation, colons, quotes and brackets of this line and the one before."
    if "\\t" in words or "a tab" in words or "character that cannot start any token" in words:
        remedy = (
            "Indent with spaces, never with tabs, and put values that start with a special "
            "character in quotes."
        )
    elif "mapping values are not allowed" in words:
        remedy = "Put the value in quotes if it holds a colon, or check the indentation."
    place = f" (column {column})" if column else ""
    return Problem(line, column, "", f"not valid YAML: {words}{place}", remedy, filename)


def is_merge_key(node: Node) -> bool:
    """Whether the node is the key `<<`, which takes in other mappings."""
    return isinstance(node, ScalarNode) and node.tag == _MERGE


def is_null(node: Node) -> bool:
    """Whether the node is YAML's null: nothing, `~` or `null`."""
    return isinstance(node, ScalarNode) and node.tag == _NULL


def is_written_as_text(node: Node) -> bool:
    """Whether the node is a scalar that YAML takes for a string."""
    return isinstance(node, ScalarNode) and node.tag in {_STR, _TIME, _VALUE}


def kind_of(node: Node) -> str:
    """What the node is, in words."""
    if isinstance(node, MappingNode):
        return "a block of keys"
    if isinstance(node, SequenceNode):
        return "a list"
    words = {
        _NULL: "nothing",
        _BOOL: f"the truth value `{shortened(node.value)}`",
        _INT: f"the number `{shortened(node.value)}`",
        _FLOAT: f"the number `{shortened(node.value)}`",
    }
    return words.get(node.tag, f"the text `{shortened(node.value)}`")


def plain_value(node: Node) -> object:
    """The node as JSON value; dates stay text, NaN, infinities and endless numbers become None."""
    if isinstance(node, MappingNode):
        return {
            str(key.value): plain_value(value)
            for key, value in node.value
            if isinstance(key, ScalarNode) and not is_merge_key(key)
        }
    if isinstance(node, SequenceNode):
        return [plain_value(item) for item in node.value]
    return _scalar_value(node) if isinstance(node, ScalarNode) else None


def _scalar_value(node: ScalarNode) -> bool | int | float | str | None:
    constructor = SafeConstructor()
    try:
        if node.tag == _NULL:
            return None
        if node.tag == _BOOL:
            return bool(constructor.construct_yaml_bool(node))
        if node.tag == _INT:
            number = int(constructor.construct_yaml_int(node))
            return number if abs(number) < 2**63 else None
        if node.tag == _FLOAT:
            real = float(constructor.construct_yaml_float(node))
            return real if math.isfinite(real) else None
    except (ValueError, KeyError, IndexError, OverflowError, yaml.YAMLError):
        return str(node.value)
    return str(node.value)


def check_tags(root: Node, problems: Problems) -> None:
    """Report tags that are not plain YAML (`!!python/object…`): we construct nothing from them."""
    waiting, seen = [root], set[int]()
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if node.tag not in _KNOWN_TAGS:
            problems.error(
                node, "", f"the tag `{shortened(node.tag)}` is not supported", "Remove the tag."
            )
        if isinstance(node, SequenceNode):
            waiting.extend(node.value)
        elif isinstance(node, MappingNode):
            for key, value in node.value:
                waiting += [key, value]


def did_you_mean(word: object, known: Iterable[str]) -> str:
    """`Did you mean `x`? ` when a known word is close, else nothing."""
    if not isinstance(word, str) or len(word) > 60:
        return ""
    close = difflib.get_close_matches(word.lower(), sorted(known), n=1, cutoff=0.6)
    return f"Did you mean `{close[0]}`? " if close else ""


def shortened(text: object, length: int = 80) -> str:
    """`text` on one line of at most `length` characters."""
    shown = str(text).replace("\n", " ")
    return shown if len(shown) <= length else shown[: length - 1] + "…"


def listed(words: Iterable[str]) -> str:
    """The words in backticks, with commas."""
    return ", ".join(f"`{word}`" for word in words)
