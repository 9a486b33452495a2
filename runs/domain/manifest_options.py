"""The options block of a manifest: read from its nodes and checked against the rules."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from runs.domain.manifest_fields import (
    CONTROLS,
    DEFAULT_OPTION_FORMAT,
    OPTION_TYPES,
    OptionDefinition,
    OptionsBlock,
)
from runs.domain.option_values import TYPE_WORDS, fault_of, typed_value
from runs.domain.roles import ROLES
from runs.domain.yaml_keys import Reader
from runs.domain.yaml_text import (
    did_you_mean,
    is_null,
    kind_of,
    listed,
    plain_value,
    position,
    shortened,
)

RESERVED_NAMES = frozenset({"f", "fff", "PARSED"})
LONGEST_NAME = 128
_LIMITS = ("min", "max", "step")
_LENGTHS = ("min_length", "max_length")
_ATTRIBUTES = (*_LIMITS, *_LENGTHS, "values")

# (type, control) → the attributes it must have, and those it may have besides.
CONTROL_RULES: MappingProxyType[tuple[str, str], tuple[tuple[str, ...], tuple[str, ...]]] = (
    MappingProxyType(
        {
            ("string", "input"): ((), _LENGTHS),
            ("string", "select"): (("values",), ()),
            ("string", "multiselect"): (("values",), ()),
            ("int", "input"): ((), _LIMITS),
            ("int", "select"): (("values",), ()),
            ("int", "slider"): (_LIMITS, ()),
            ("float", "input"): ((), _LIMITS),
            ("float", "select"): (("values",), ()),
            ("float", "slider"): (_LIMITS, ()),
            ("bool", "toggle"): ((), ()),
        }
    )
)
"""Which control goes with which type; a pair that is missing does not exist."""

_TYPE_SPELLINGS = {
    "str": "string",
    "text": "string",
    "boolean": "bool",
    "integer": "int",
    "number": "float",
    "double": "float",
}


def read_options(block: Reader) -> OptionsBlock:
    """The block as declared; what is wrong goes to the problems of the reader."""
    strict = block.take_bool("strict", default=False)
    validation = block.take_mapping("validation")
    enforce = validation.take_choice("enforce", choices=("none", "all"), default="none")
    validation.finish()
    template = _read_format(block)
    items = _read_items(block)
    block.finish(hint="Options are declared in the list `items`. ")
    return OptionsBlock(items, strict, enforce, template)


def _read_format(block: Reader) -> tuple[str, ...]:
    node = block.take("format")
    if isinstance(node, MappingNode):
        nested = block.take_mapping("format")
        texts = nested.take_texts("template")
        nested.finish()
    else:
        texts = block.take_texts("format")
    if texts is None:
        return DEFAULT_OPTION_FORMAT
    if not any("{{name}}" in text for text in texts) or not any(
        "{{value}}" in text for text in texts
    ):
        block.problems.warn(
            node,
            block.path_of("format"),
            "the option format lacks `{{name}}` or `{{value}}`",
            'Write it like the default: `["-{{name}}", "{{value}}"]`.',
        )
    return texts


def _read_items(block: Reader) -> tuple[OptionDefinition, ...]:
    node = block.take("items")
    if node is None:
        return ()
    if not isinstance(node, SequenceNode):
        block.problems.error(
            node,
            block.path_of("items"),
            f"`{block.path_of('items')}` is {kind_of(node)}, but must be a list",
            "Start each option with `- name: …`.",
        )
        return ()
    found: dict[str, tuple[OptionDefinition, Node]] = {}
    for number, item in enumerate(node.value):
        path = f"{block.path_of('items')}[{number}]"
        if not isinstance(item, MappingNode):
            block.problems.error(
                item,
                path,
                f"an option is {kind_of(item)}, but must be a block of keys",
                "Write `- name: …` and `option_type: …` under it.",
            )
            continue
        definition = _read_item(Reader(item, path, block.problems))
        if definition is None:
            continue
        if definition.name in found:
            line, _ = position(found[definition.name][1])
            block.problems.error(
                item,
                path,
                f"option `{definition.name}` is declared twice"
                + (f", first in line {line}" if line else ""),
                "Rename one of them.",
            )
            continue
        found[definition.name] = (definition, item)
    return tuple(definition for definition, _ in found.values())


def _read_item(item: Reader) -> OptionDefinition | None:
    name = _read_name(item)
    option_type = _read_type(item, name)
    default_node = item.take("default")
    description = item.take_text("description")
    required = item.take_bool("required", default=False)
    local_only = item.take_bool("local_only", default=False)
    if required and local_only:
        item.problems.error(
            item.node_of("required"),
            item.path_of("required"),
            f"option `{name}`: `required` and `local_only` cannot both be true",
            "Set one of them to `false`.",
        )
    ui = item.take_mapping("ui")
    control = ui.take_choice("control_type", choices=CONTROLS, default="")
    display_name = ui.take_text("display_name")
    hidden_from = _read_roles(ui, name)
    ui.finish(hint="A `ui` block knows `control_type`, `display_name` and `hidden_from`.")
    attributes = item.take_mapping("additional_attributes")
    item.finish(
        dict.fromkeys(_ATTRIBUTES, f"{item.path}.additional_attributes")
        | {"choices": f"{item.path}.additional_attributes.values"}
        | dict.fromkeys(("control_type", "display_name", "hidden_from"), f"{item.path}.ui")
    )
    if not name or not option_type:
        return None
    limits = _read_attributes(attributes, name, option_type, control, ui)
    definition = OptionDefinition(
        name=name,
        type=option_type,
        description=one_line(description),
        required=required,
        local_only=local_only,
        minimum=limits.get("min"),
        maximum=limits.get("max"),
        step=limits.get("step"),
        min_length=_whole(limits.get("min_length")),
        max_length=_whole(limits.get("max_length")),
        values=_read_values(attributes, name, option_type),
        control=control,
        display_name=one_line(display_name),
        hidden_from=hidden_from,
    )
    _check_limits(definition, attributes)
    return _with_default(definition, default_node, item)


def _read_name(item: Reader) -> str:
    node = item.take("name")
    if node is None or not isinstance(node, ScalarNode) or not node.value.strip():
        item.problems.error(
            node or item.node,
            item.path_of("name"),
            f"`{item.path}` has no name",
            "Add `name: …`; it becomes the argument of the program.",
        )
        return ""
    name = str(node.value)
    if len(name) > LONGEST_NAME or any(not char.isprintable() or char.isspace() for char in name):
        item.problems.error(
            node,
            item.path_of("name"),
            f"option name `{shortened(name, 40)}` is not usable as an argument",
            f"Use at most {LONGEST_NAME} letters, digits, dots, dashes and underscores.",
        )
        return ""
    if name in RESERVED_NAMES:
        item.problems.warn(
            node,
            item.path_of("name"),
            f"option `{name}`: this name is reserved by the library that apps read options with",
            "Rename the option.",
        )
    return name


def _read_type(item: Reader, name: str) -> str:
    node = item.take("option_type", "type")
    written = node.value if isinstance(node, ScalarNode) else None
    if written in OPTION_TYPES:
        return str(written)
    path = item.path_of("option_type")
    choices = f"Use one of {listed(OPTION_TYPES)}."
    if node is None:
        item.problems.error(item.node, path, f"option `{name}` has no `option_type`", choices)
        return ""
    meant = _TYPE_SPELLINGS.get(str(written).lower(), "")
    hint = f"Did you mean `{meant}`? " if meant else did_you_mean(written, OPTION_TYPES)
    item.problems.error(
        node, path, f"option `{name}`: the type cannot be {kind_of(node)}", hint + choices
    )
    return ""


def _read_roles(ui: Reader, name: str) -> tuple[str, ...]:
    node = ui.node_of("hidden_from")
    roles = ui.take_texts("hidden_from") or ()
    for role in roles:
        if role not in ROLES:
            ui.problems.error(
                node,
                ui.path_of("hidden_from"),
                f"option `{name}`: there is no role `{shortened(role, 40)}`",
                did_you_mean(role, ROLES) + f"Use some of {listed(reversed(ROLES))}.",
            )
    return tuple(dict.fromkeys(roles))


def _read_attributes(
    attributes: Reader, name: str, option_type: str, control: str, ui: Reader
) -> dict[str, int | float]:
    """The numbers among the attributes, after the matrix of types and controls was applied."""
    numbers: dict[str, int | float] = {}
    for key, node in list(attributes.items()):
        if key not in (*_LIMITS, *_LENGTHS) or is_null(node):
            continue
        number = plain_value(node)
        path = attributes.path_of(key)
        if not isinstance(number, int | float) or isinstance(number, bool):
            note = attributes.problems.error if control else attributes.problems.warn
            note(node, path, f"option `{name}`: `{key}` is not a finite number", "Write a number.")
        elif key in _LENGTHS and (number < 0 or number != int(number)):
            note = attributes.problems.error if control else attributes.problems.warn
            note(node, path, f"option `{name}`: `{key}` is not a count", "Write 0, 1, 2 …")
        elif option_type == "int" and key in _LIMITS and number != int(number):
            attributes.problems.warn(
                node,
                path,
                f"option `{name}`: `{key}` is {number}, but the option takes whole numbers",
                "Write a whole number.",
            )
            numbers[key] = number
        else:
            numbers[key] = number
    if not control:
        return numbers
    rule = CONTROL_RULES.get((option_type, control))
    if rule is None:
        fitting = [known for of, known in CONTROL_RULES if of == option_type]
        attributes.problems.error(
            ui.node_of("control_type"),
            ui.path_of("control_type"),
            f"option `{name}`: the control `{control}` does not go with the type `{option_type}`",
            f"Use {listed(fitting)}, or leave `ui.control_type` out.",
        )
        return numbers
    must, may = rule
    given = [key for key, node in attributes.items() if not is_null(node)]
    article = "an" if control == "input" else "a"
    for key in must:
        if key not in given:
            attributes.problems.error(
                attributes.node or ui.node_of("control_type"),
                attributes.path_of(key),
                f"option `{name}`: {article} {control} needs `{key}`",
                f"Add `additional_attributes.{key}`.",
            )
    for key in given:
        if key not in (*must, *may):
            attributes.problems.error(
                attributes.node_of(key),
                attributes.path_of(key),
                f"option `{name}`: {article} {control} of type {option_type} does not take "
                f"`{shortened(key, 40)}`",
                did_you_mean(key, (*must, *may))
                + (f"It takes {listed((*must, *may))}." if must or may else "Remove it."),
            )
    return numbers


def _read_values(
    attributes: Reader, name: str, option_type: str
) -> tuple[str | int | float | bool, ...]:
    node = attributes.node_of("values") if "values" in attributes else None
    if node is None or "values" not in attributes:
        return ()
    path = attributes.path_of("values")
    if not isinstance(node, SequenceNode) or not node.value:
        attributes.problems.error(
            node,
            path,
            f"option `{name}`: `values` must be a list with at least one value",
            "Write it as `values: [a, b]`.",
        )
        return ()
    values: list[str | int | float | bool] = []
    for item in node.value:
        value = _node_value(item, option_type)
        if value is None:
            attributes.problems.error(
                item,
                path,
                f"option `{name}`: {kind_of(item)} in `values` is not of the type {option_type}",
                "Correct the value, or the type of the option.",
            )
        elif value in values:
            attributes.problems.warn(
                item,
                path,
                f"option `{name}`: `{shortened(value, 40)}` stands in `values` twice",
                "Remove one.",
            )
        else:
            values.append(value)
    return tuple(values)


def _node_value(node: Node, option_type: str) -> str | int | float | bool | None:
    """The scalar as value of the type: text as it is written (`3.10`, `yes`), else typed."""
    if not isinstance(node, ScalarNode) or is_null(node):
        return None
    return typed_value(option_type, node.value if option_type == "string" else plain_value(node))


def _check_limits(definition: OptionDefinition, attributes: Reader) -> None:
    note = attributes.problems.error if definition.control else attributes.problems.warn
    pairs = (
        ("min", definition.minimum, "max", definition.maximum),
        ("min_length", definition.min_length, "max_length", definition.max_length),
    )
    for low_name, low, high_name, high in pairs:
        if low is not None and high is not None and low > high:
            note(
                attributes.node_of(low_name),
                attributes.path_of(low_name),
                f"option `{definition.name}`: `{low_name}` {low} is above `{high_name}` {high}",
                "Swap or correct them.",
            )
    if definition.step is not None and definition.step <= 0:
        note(
            attributes.node_of("step"),
            attributes.path_of("step"),
            f"option `{definition.name}`: `step` is {definition.step}, but must be above 0",
            "Correct it.",
        )


def _with_default(
    definition: OptionDefinition, node: Node | None, item: Reader
) -> OptionDefinition:
    """The definition with its default, typed; one that does not fit is a warning only.

    The contract checks no defaults, so an application with an odd one still works; a default that
    is not even of the type is left out.
    """
    if node is None:
        return definition
    value = _node_value(node, definition.type)
    if value is None:
        fault = f"is {kind_of(node)}, not {TYPE_WORDS[definition.type]}; it is left out"
    else:
        fault = fault_of(definition, value)
        fault = f"does not fit: it {fault}" if fault else ""
    if fault:
        item.problems.warn(
            node,
            item.path_of("default"),
            f"option `{definition.name}`: the default {fault}",
            "Correct the default, or what the option allows.",
        )
    return replace(definition, default=value)


def one_line(text: str) -> str:
    """`text` with every line break, and the blanks around it, as one space."""
    return " ".join(part for line in text.splitlines() if (part := line.strip()))


def _whole(number: int | float | None) -> int | None:
    return None if number is None else int(number)
