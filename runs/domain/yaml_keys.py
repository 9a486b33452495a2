"""One mapping of a YAML document, read key by key; what is wrong is noted with its line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from runs.domain.yaml_text import (
    MOST_PROBLEMS,
    Problems,
    did_you_mean,
    is_merge_key,
    is_null,
    is_written_as_text,
    kind_of,
    listed,
    plain_value,
    position,
    shortened,
)


class Reader:
    """One mapping of a document, read key by key; what is wrong goes to `problems`.

    Each `take_…` answers the value or the default: absent and null are the same. After the last
    one, `finish` warns about the keys that nobody asked for.
    """

    def __init__(self, node: MappingNode | None, path: str, problems: Problems) -> None:
        self.node = node
        self.path = path
        self.problems = problems
        self._values: dict[str, Node] = {}
        self._keys: dict[str, Node] = {}
        self._asked: list[str] = []
        if node is not None:
            self._collect(node)

    def __contains__(self, key: str) -> bool:
        return key in self._values and not is_null(self._values[key])

    def path_of(self, key: str) -> str:
        """The dotted path of `key`."""
        return f"{self.path}.{key}" if self.path else key

    def node_of(self, key: str) -> Node | None:
        """The value's node, else the key's mapping: where to point at."""
        return self._values.get(key, self.node)

    def take(self, *names: str) -> Node | None:
        """The node of the first of `names` (spellings of one key) that is there and not null."""
        self._asked.extend(names)
        present = [name for name in names if name in self]
        if len(present) > 1:
            self.problems.warn(
                self._keys[present[1]],
                self.path_of(present[1]),
                f"`{present[0]}` and `{present[1]}` are the same key; the second is ignored",
                "Keep one of them.",
            )
        return self._values[present[0]] if present else None

    def skip(self, name: str) -> None:
        """Count `name` as known without reading it."""
        self._asked.append(name)

    def take_text(self, *names: str, default: str = "") -> str:
        """A string; numbers and the like are taken as they are written."""
        node = self.take(*names)
        if node is None:
            return default
        if isinstance(node, ScalarNode):
            return str(node.value)
        self._mistyped(node, names[0], "a text")
        return default

    def take_choice(self, *names: str, choices: Iterable[str], default: str) -> str:
        """One of `choices`; something else is an error with a hint."""
        choices = tuple(choices)
        node = self.take(*names)
        if node is None:
            return default
        value = node.value if isinstance(node, ScalarNode) else None
        if value in choices:
            return str(value)
        shown = f"`{shortened(value)}`" if isinstance(value, str) else f"{kind_of(node)}"
        self.problems.error(
            node,
            self.path_of(names[0]),
            f"`{self.path_of(names[0])}` cannot be {shown}",
            did_you_mean(value, choices) + f"Use one of {listed(choices)}.",
        )
        return default

    def take_bool(self, *names: str, default: bool) -> bool:
        """True or false, as YAML spells them."""
        node = self.take(*names)
        if node is None:
            return default
        value = plain_value(node)
        if isinstance(value, bool):
            return value
        self._mistyped(node, names[0], "`true` or `false`")
        return default

    def take_number(self, *names: str) -> int | float | None:
        """A finite number."""
        node = self.take(*names)
        if node is None:
            return None
        value = plain_value(node)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return value
        self._mistyped(node, names[0], "a number")
        return None

    def take_texts(self, *names: str) -> tuple[str, ...] | None:
        """A list of strings; None when the key is absent or no list."""
        node = self.take(*names)
        if node is None:
            return None
        if not isinstance(node, SequenceNode):
            self._mistyped(node, names[0], "a list of texts, one per line, each after `- `")
            return None
        texts = []
        for item in node.value:
            if is_written_as_text(item):
                texts.append(str(item.value))
            else:
                self.problems.error(
                    item,
                    self.path_of(names[0]),
                    f"`{self.path_of(names[0])}` holds {kind_of(item)} where a text belongs",
                    'Put it in quotes: `- "…"`.',
                )
        return tuple(texts)

    def take_mapping(self, *names: str) -> Reader:
        """A nested mapping; an empty one when it is absent or something else."""
        node = self.take(*names)
        if node is not None and not isinstance(node, MappingNode):
            self._mistyped(node, names[0], "a block of keys")
            node = None
        return Reader(node, self.path_of(names[0]), self.problems)

    def items(self) -> Iterator[tuple[str, Node]]:
        """Every key with its node, as given; they all count as asked for."""
        self._asked.extend(self._values)
        yield from self._values.items()

    def finish(self, elsewhere: Mapping[str, str] | None = None, hint: str = "") -> None:
        """Warn about each key nobody asked for; `elsewhere` knows where such keys belong."""
        known = set(self._asked)
        for key, node in self._keys.items():
            if key in known:
                continue
            where = (elsewhere or {}).get(key)
            if where:
                remedy = f"It belongs to `{where}`; move it there."
            else:
                remedy = did_you_mean(key, known) + (hint or "Remove it, or correct its name.")
            self.problems.warn(
                node,
                self.path_of(key),
                f"the key `{shortened(self.path_of(key))}` is unknown and has no effect",
                remedy,
            )
            if len(self.problems.warnings) >= MOST_PROBLEMS:
                return

    def _mistyped(self, node: Node, name: str, wanted: str) -> None:
        path = self.path_of(name)
        self.problems.error(
            node, path, f"`{path}` is {kind_of(node)}, but must be {wanted}", "Correct the value."
        )

    def _collect(self, node: MappingNode) -> None:
        merged: list[MappingNode] = []
        for key, value in node.value:
            if is_merge_key(key):
                merged.extend(self._merge_sources(value))
                continue
            if not isinstance(key, ScalarNode):
                self.problems.error(
                    key,
                    self.path,
                    f"a key is {kind_of(key)}, but must be a text",
                    "Put text with braces or brackets in quotes.",
                )
                continue
            name = str(key.value)
            if name in self._keys:
                first = position(self._keys[name])[0]
                self.problems.error(
                    key,
                    self.path_of(name),
                    f"the key `{shortened(self.path_of(name))}` is given twice, "
                    f"first in line {first}",
                    "Keep one of them.",
                )
                continue
            self._keys[name], self._values[name] = key, value
        for source in merged:
            reader = Reader(source, self.path, self.problems)
            for name, key in reader._keys.items():
                if name not in self._keys:
                    self._keys[name], self._values[name] = key, reader._values[name]

    def _merge_sources(self, node: Node) -> list[MappingNode]:
        nodes = node.value if isinstance(node, SequenceNode) else [node]
        sources = [source for source in nodes if isinstance(source, MappingNode)]
        if len(sources) != len(nodes):
            self.problems.error(
                node, self.path, "`<<` takes a block of keys or a list of them", "Correct it."
            )
        return sources
