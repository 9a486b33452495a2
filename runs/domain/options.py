"""Option values: who sets them, whether they fit their definition, how they reach a program."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from runs.domain.errors import OptionsInvalid
from runs.domain.manifest_fields import OptionDefinition, OptionsBlock
from runs.domain.option_values import (
    TYPE_WORDS,
    OptionValue,
    as_number,
    fault_of,
    joined,
    shown_value,
    to_wire,
    typed_value,
    wire_fault,
)

__all__ = [
    "OptionDefinition",
    "OptionDifference",
    "OptionsBlock",
    "ResolvedOption",
    "check_amount",
    "check_options",
    "fault_of",
    "form_text",
    "option_differences",
    "parse_form",
    "parse_form_value",
    "resolve_options",
    "to_wire",
    "typed_value",
    "visible_to",
]

LONGEST_NAME = 128
MOST_OPTIONS = 1000
LARGEST_OPTIONS_BYTES = 256 * 1024
"""All of a run together; lists show a hundred runs with theirs."""


@dataclass(frozen=True)
class ResolvedOption:
    """An option in force for a run.

    `source` is `run`, `instance` or `manifest` (its default). `passed` says whether the program
    gets it as an argument.
    """

    name: str
    value: OptionValue
    source: str
    passed: bool


@dataclass(frozen=True)
class OptionDifference:
    """An option that two sets do not share; `kind` is `changed`, `added` or `removed`."""

    name: str
    before: OptionValue
    after: OptionValue
    kind: str


def resolve_options(
    definitions: Sequence[OptionDefinition],
    instance: Mapping[str, OptionValue],
    run: Mapping[str, OptionValue],
    *,
    strict: bool = False,
    environment: Collection[str] = (),
) -> list[ResolvedOption]:
    """The options in force: declared ones in their order, then the others as given.

    The run goes before the instance, the instance before the default. Only what run or instance
    set is passed to the program, also when it equals the default. One exception: a default whose
    upper-cased name is in `environment` (the variables that we set for programs) is passed, because
    apps would read the variable instead. With `strict` undeclared options are left out; that they
    were given is for `check_options` to say. A default of None is no option in force.
    """
    resolved = []
    declared = {definition.name for definition in definitions}
    for definition in definitions:
        name = definition.name
        if name in run:
            resolved.append(ResolvedOption(name, _normal(definition, run[name]), "run", True))
        elif name in instance:
            value = _normal(definition, instance[name])
            resolved.append(ResolvedOption(name, value, "instance", True))
        elif definition.default is not None:
            shadowed = name.upper() in environment
            resolved.append(ResolvedOption(name, definition.default, "manifest", shadowed))
    if strict:
        return resolved
    for name, value in {**instance, **run}.items():
        if name not in declared:
            source = "run" if name in run else "instance"
            resolved.append(ResolvedOption(name, value, source, True))
    return resolved


def check_amount(values: Mapping[str, OptionValue]) -> None:
    """Raise `OptionsInvalid` for more options than are kept, whatever a manifest lets through."""
    if len(values) > MOST_OPTIONS:
        raise OptionsInvalid({"options": [_too_many(len(values))]})
    size = sum(
        len(text.encode("utf-8", "replace"))
        for name, value in values.items()
        for text in (name, "" if value is None else to_wire(value))
    )
    if size > LARGEST_OPTIONS_BYTES:
        text = (
            f"All options together have at most {LARGEST_OPTIONS_BYTES:,} bytes; these have"
            f" {size:,}. Put large values into the input."
        )
        raise OptionsInvalid({"options": [text]})


def _too_many(number: int) -> str:
    return f"At most {MOST_OPTIONS} options can be given, not {number}."


def check_options(
    definitions: Sequence[OptionDefinition],
    values: Mapping[str, OptionValue],
    *,
    strict: bool,
    free_options: bool,
    role: str | None = None,
) -> dict[str, list[str]]:
    """What is wrong with `values`, as messages by option name; empty when all is well.

    `values` are those in force from instance and run. Texts are fine for numbers and truth values,
    as they arrive over the API. A required option may be left to its default. With a `role`,
    options hidden from it are refused.
    """
    errors: dict[str, list[str]] = {}
    by_name = {definition.name: definition for definition in definitions}
    if len(values) > MOST_OPTIONS:
        errors["options"] = [_too_many(len(values))]
        return errors
    for name, value in values.items():
        definition = by_name.get(name)
        if definition is None:
            message = _undeclared_fault(name, value, strict=strict or not free_options)
        elif role is not None and not visible_to(definition, role):
            message = f"`{name}` cannot be set by the role {role}; leave it out."
        else:
            message = _value_message(definition, value)
        if message:
            errors[name] = [message]
    for definition in definitions:
        if (
            definition.required
            and definition.default is None
            and definition.name not in values
            and (role is None or visible_to(definition, role))
        ):
            errors[definition.name] = [f"`{definition.name}` is required; give a value."]
    return errors


def _undeclared_fault(name: str, value: OptionValue, *, strict: bool) -> str:
    shown = name[:40]
    if strict:
        return f"`{shown}` is not an option of this application; remove it or correct its name."
    if not name or len(name) > LONGEST_NAME:
        return f"An option name has 1 to {LONGEST_NAME} characters; `{shown}…` has {len(name)}."
    if any(not char.isprintable() or char.isspace() or char == "=" for char in name):
        return f"The option name {shown!r} holds a blank, a control character or `=`; remove it."
    fault = wire_fault(value)
    return f"`{shown}` {fault}." if fault else ""


def _value_message(definition: OptionDefinition, value: OptionValue) -> str:
    if value is None:
        return f"`{definition.name}` has no value; give one or leave the option out."
    typed = typed_value(definition.type, value)
    if typed is None and definition.effective_control == "multiselect":
        typed = joined(value)
    if typed is None:
        wanted = TYPE_WORDS[definition.type]
        return f"`{definition.name}` must be {wanted}, but is {shown_value(value)}."
    fault = fault_of(definition, typed) or wire_fault(typed)
    return f"`{definition.name}` {fault}, but is {shown_value(typed)}." if fault else ""


def parse_form_value(definition: OptionDefinition, raw: str | Sequence[str]) -> OptionValue:
    """What a form field says, as value of the option; None when nothing was chosen.

    Several values of a multiselect are joined by commas; of the others the last counts, so that a
    hidden field may stand before a checkbox. Raises `OptionsInvalid` for text that is not of the
    type; limits are the business of `check_options`.
    """
    if definition.effective_control == "multiselect":
        chosen = [raw] if isinstance(raw, str) else list(raw)
        return ",".join(item for item in chosen if item) or None
    text = raw if isinstance(raw, str) else (raw[-1] if raw else "")
    if definition.type == "string":
        unset = text == "" and definition.effective_control == "select"
        return None if unset and "" not in definition.values else text
    if definition.type == "bool":
        if text.strip() == "":
            return False if definition.effective_control == "toggle" else None
    elif text.strip() == "":
        return None
    typed = typed_value(definition.type, text)
    if typed is None:
        raise OptionsInvalid(
            {
                definition.name: [
                    f"`{definition.name}` must be {TYPE_WORDS[definition.type]}, "
                    f"but is {shown_value(text)}."
                ]
            }
        )
    return typed


def parse_form(
    definitions: Sequence[OptionDefinition],
    raw: Mapping[str, Sequence[str]],
    *,
    role: str,
    base: Mapping[str, OptionValue] | None = None,
) -> tuple[dict[str, OptionValue], dict[str, list[str]]]:
    """The options that a form sets, and the messages of fields that cannot be read.

    `raw` maps option names to the texts of their fields; fields of options hidden from `role` are
    ignored. Only what differs from `base` (the options of the instance) or else from the default
    is set; a toggle that is absent is off. Limits are left to `check_options`.
    """
    values: dict[str, OptionValue] = {}
    errors: dict[str, list[str]] = {}
    for definition in definitions:
        if not visible_to(definition, role):
            continue
        sent = raw.get(definition.name)
        if sent is None and definition.effective_control not in {"toggle", "multiselect"}:
            continue
        try:
            value = parse_form_value(definition, sent or [])
        except OptionsInvalid as error:
            errors.update(error.errors)
            continue
        before = (base or {}).get(definition.name, definition.default)
        if value is None and definition.effective_control == "multiselect" and before:
            value = ""
        if _is_set(definition, value, before):
            values[definition.name] = value
    return values, errors


def _is_set(definition: OptionDefinition, value: OptionValue, before: OptionValue) -> bool:
    """Whether a field says something else than what holds anyway."""
    if value is None:
        return False
    if before is None:
        if definition.type == "bool" or value == "":
            return bool(value) or (definition.required and value is False)
        return True
    return not _same(_normal(definition, value), _normal(definition, before))


def form_text(definition: OptionDefinition, value: OptionValue) -> str:
    """The value as text of its form field; empty for none."""
    if value is None:
        return ""
    return to_wire(_normal(definition, value))


def visible_to(definition: OptionDefinition, role: str) -> bool:
    """Whether members with `role` see the option in forms."""
    return role not in definition.hidden_from


def option_differences(
    before: Mapping[str, OptionValue], after: Mapping[str, OptionValue]
) -> list[OptionDifference]:
    """What to change in `before` to get `after`; `1`, `1.0` and `"1"` are the same."""
    found = []
    for name in {**before, **after}:
        if name not in after:
            found.append(OptionDifference(name, before[name], None, "removed"))
        elif name not in before:
            found.append(OptionDifference(name, None, after[name], "added"))
        elif not _same(before[name], after[name]):
            found.append(OptionDifference(name, before[name], after[name], "changed"))
    return found


def _same(one: OptionValue, other: OptionValue) -> bool:
    left, right = to_wire(one), to_wire(other)
    if left == right:
        return True
    first, second = as_number(left), as_number(right)
    return first is not None and first == second


def _normal(definition: OptionDefinition, value: OptionValue) -> OptionValue:
    """A value that is no text in the form of its type: 3.0 of an int as 3, a list joined."""
    if isinstance(value, str):
        return value
    if definition.effective_control == "multiselect" and isinstance(value, list):
        text = joined(value)
        return value if text is None else text
    typed = typed_value(definition.type, value)
    return value if typed is None else typed
