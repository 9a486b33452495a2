"""The form of a launch: a field for each declared option, and what every run has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django import forms
from django.forms.boundfield import BoundField

from runs.domain.manifest import OptionDefinition
from runs.domain.option_values import as_number
from runs.domain.options import parse_form, to_wire, typed_value, visible_to
from runs.models.waits import CONTINUE, FAIL, SKIP
from runs.templatetags.human import coded
from runs.web.forms.applications import collection_choices
from runs.web.forms.limits import LimitFields

VALUE, BASE = "o:", "b:"
"""Prefixes of fields: the value of an option, and what would hold if nobody changed it."""
FREE_NAME, FREE_VALUE = "free-name", "free-value"
EMPTY_ROWS = 3
WAIT_POLICIES = (
    (FAIL, "this run fails, too"),
    (SKIP, "this run is skipped"),
    (CONTINUE, "this run starts all the same"),
)
"""What a run does when one that it waits for does not succeed."""
_MOST_BOXES = 12
_LONG_TEXT = 300


# --- Options ----------------------------------------------------------------------------------


class _OptionField(forms.Field):
    """Takes what was sent; the rules of options are `runs.domain.options`' business."""

    def validate(self, value: Any) -> None:
        """Everything passes here."""


class OptionsForm(forms.Form):
    """A field for each of `definitions`, filled with `shown`: texts by option name."""

    def __init__(
        self, definitions: Sequence[OptionDefinition], shown: Mapping[str, str], prefix_id: str
    ) -> None:
        data: dict[str, Any] = {}
        for definition in definitions:
            text = shown.get(definition.name, "")
            if definition.effective_control == "toggle":
                if typed_value("bool", text) is True:
                    data[VALUE + definition.name] = "true"
            elif definition.effective_control == "multiselect":
                data[VALUE + definition.name] = split_choices(definition, text)
            else:
                data[VALUE + definition.name] = text
        super().__init__(data, auto_id=f"{prefix_id}%s", use_required_attribute=False)
        for definition in definitions:
            self.fields[VALUE + definition.name] = _OptionField(
                label=definition.label,
                help_text=definition.description,
                required=definition.required or definition.default is not None,
                widget=_widget(definition, shown.get(definition.name, "")),
            )


@dataclass(frozen=True)
class OptionRow:
    """A field of the form with what is told beside it.

    `base` is the text that holds if nobody changes it; `original` is that of the run that is run
    again, None without one.
    """

    definition: OptionDefinition
    field: BoundField
    base: str
    hint: str
    original: str | None
    changed: str

    @property
    def name(self) -> str:
        """The option's own name, where its label says something else."""
        return "" if self.definition.label == self.definition.name else self.definition.name


def option_rows(
    definitions: Sequence[OptionDefinition],
    *,
    shown: Mapping[str, str],
    base: Mapping[str, str],
    errors: Mapping[str, Sequence[str]],
    original: Mapping[str, str] | None,
    of_instance: Iterable[str] = (),
) -> list[OptionRow]:
    """The fields in the order of the manifest."""
    form = OptionsForm(definitions, shown, "option-")
    form.full_clean()
    rows = []
    set_by_instance = set(of_instance)
    for definition in definitions:
        name = definition.name
        for text in errors.get(name, ()):
            form.add_error(VALUE + name, coded(text))
        before = None if original is None else original.get(name, "")
        differs = before is not None and not same_text(before, shown.get(name, ""))
        rows.append(
            OptionRow(
                definition=definition,
                field=form[VALUE + name],
                base=base.get(name, ""),
                hint=_hint(definition, base.get(name, ""), name in set_by_instance),
                original=before,
                changed=was_words(before or "") if differs else "",
            )
        )
    return rows


def was_words(before: str) -> str:
    """How a value of the original run is shown beside a field that differs from it."""
    return f"was {before[:60]}" if before else "was empty"


def same_text(one: str, other: str) -> bool:
    """Whether two texts say the same value: `1`, `1.0` and `01` do."""
    if one == other:
        return True
    first, second = as_number(one), as_number(other)
    return first is not None and first == second


def shown_text(definition: OptionDefinition, value: object) -> str:
    """A value as the text of its field, written as the field's choices are."""
    if value is None:
        return ""
    if isinstance(value, list) and definition.effective_control == "multiselect":
        return ",".join(str(item) for item in value)
    typed = typed_value(definition.type, value)
    return to_wire(value if typed is None or isinstance(value, list | dict) else typed)


def split_choices(definition: OptionDefinition, text: str) -> list[str]:
    """The choices of a multiselect in its text; choices may hold commas themselves."""
    words = sorted((to_wire(value) for value in definition.values), key=len, reverse=True)
    found = []
    while text:
        word = next((word for word in words if text == word or text.startswith(f"{word},")), "")
        word = word or text.split(",", 1)[0]
        found.append(word)
        text = text[len(word) + 1 :]
    return found


def sent_options(
    definitions: Sequence[OptionDefinition], data: Any, *, role: str
) -> tuple[dict[str, object], dict[str, str], dict[str, list[str]]]:
    """What a form changed, the texts to show again, and what cannot be read, by option name.

    Only options that the form held count (it says so by their base), and only where they say
    something else than the base that the person saw. `data` is a `QueryDict`.
    """
    held = [
        definition
        for definition in definitions
        if visible_to(definition, role) and BASE + definition.name in data
    ]
    raw: dict[str, list[str]] = {}
    shown: dict[str, str] = {}
    for definition in held:
        name = definition.name
        sent = [text.replace("\r\n", "\n") for text in data.getlist(VALUE + name)]
        control = definition.effective_control
        if control == "multiselect":
            sent = [text for text in sent if text]
            shown[name] = ",".join(sent)
        elif control == "toggle":
            shown[name] = "true" if sent and sent[-1] not in {"", "false"} else "false"
        else:
            shown[name] = sent[-1] if sent else ""
        if sent or control in {"multiselect", "toggle"}:
            raw[name] = sent
    base = {item.name: data[BASE + item.name].replace("\r\n", "\n") or None for item in held}
    values, errors = parse_form(held, raw, role=role, base=base)
    return dict(values), shown, errors


def _widget(definition: OptionDefinition, text: str) -> forms.Widget:
    control = definition.effective_control
    if control == "toggle":
        return forms.CheckboxInput(attrs={"role": "switch", "value": "true"})
    if control in {"select", "multiselect"}:
        choices = [(to_wire(shown), to_wire(shown)) for shown in _typed_choices(definition)]
        known = {value for value, _ in choices}
        if control == "multiselect":
            choices += [
                (word, f"{word} (not offered)")
                for word in split_choices(definition, text)
                if word not in known
            ]
            if len(choices) > _MOST_BOXES:
                return forms.SelectMultiple(choices=choices, attrs={"size": 8})
            return forms.CheckboxSelectMultiple(choices=choices)
        if text and text not in known:
            choices.insert(0, (text, f"{text} (not offered)"))
        if definition.default is None and "" not in known:
            choices.insert(0, ("", "not set"))
        return forms.Select(choices=choices)
    if definition.type in {"int", "float"}:
        attrs: dict[str, Any] = {"inputmode": "decimal" if definition.type == "float" else None}
        for name, limit in (("min", definition.minimum), ("max", definition.maximum)):
            if limit is not None:
                attrs[name] = _plain(limit)
        usual = "any" if definition.type == "float" else "1"
        attrs["step"] = _plain(definition.step) if definition.step else usual
        if control == "slider":
            attrs["data-slider"] = True
        return forms.NumberInput(attrs={key: value for key, value in attrs.items() if value})
    if "\n" in text or (definition.max_length or 0) > _LONG_TEXT or len(text) > _LONG_TEXT:
        return forms.Textarea(attrs={"rows": 4})
    return forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"})


def _typed_choices(definition: OptionDefinition) -> list[str | int | float | bool]:
    """The choices in the type of the option: 1 of a float is 1.0, as its default is."""
    typed = ((value, typed_value(definition.type, value)) for value in definition.values)
    return [value if wanted is None else wanted for value, wanted in typed]


def _hint(definition: OptionDefinition, base: str, of_instance: bool) -> str:
    low, high = definition.minimum, definition.maximum
    parts = []
    if low is not None and high is not None:
        parts.append(f"{_plain(low)} to {_plain(high)}")
    elif low is not None:
        parts.append(f"at least {_plain(low)}")
    elif high is not None:
        parts.append(f"at most {_plain(high)}")
    if definition.step is not None and not (definition.type == "int" and definition.step == 1):
        parts.append(f"in steps of {_plain(definition.step)}")
    if definition.min_length:
        parts.append(f"at least {definition.min_length} characters")
    if definition.max_length is not None:
        parts.append(f"at most {definition.max_length} characters")
    if base and len(base) <= 60 and definition.effective_control != "toggle":
        parts.append(f"the instance sets {base}" if of_instance else f"default {base}")
    text = ", ".join(parts)
    return f"{text[:1].upper()}{text[1:]}." if text else ""


def _plain(number: int | float) -> str:
    return to_wire(int(number) if number == int(number) and abs(number) < 1e15 else number)


# --- Free options -----------------------------------------------------------------------------


@dataclass(frozen=True)
class FreeRow:
    """An option that is not declared: its name and value as typed, and what is wrong with it."""

    name: str = ""
    value: str = ""
    errors: tuple[str, ...] = ()


def sent_free_options(
    definitions: Sequence[OptionDefinition], data: Any
) -> tuple[dict[str, str], list[FreeRow]]:
    """The undeclared options of a form, and its rows with the faults that only a form can have."""
    declared = {definition.name for definition in definitions}
    values: dict[str, str] = {}
    rows = []
    for name, value in zip(data.getlist(FREE_NAME), data.getlist(FREE_VALUE), strict=False):
        name, value = name.strip(), value.replace("\r\n", "\n")
        if not name and not value:
            continue
        errors = []
        if not name:
            errors.append("Give this option a name, or clear its value.")
        elif name in declared:
            errors.append(f"`{name}` is declared by the application. Set it in its own field.")
        elif name in values:
            errors.append(f"`{name}` stands here twice. Remove one.")
        else:
            values[name] = value
        rows.append(FreeRow(name, value, tuple(errors)))
    return values, rows


def padded(rows: Sequence[FreeRow]) -> list[FreeRow]:
    """The rows and some empty ones, for pages without script."""
    return [*rows, *(FreeRow() for _ in range(EMPTY_ROWS))]


# --- What every run has -----------------------------------------------------------------------


class LaunchForm(LimitFields):
    """Instance, name, limits, order and the advanced settings; empty ones leave it to the usual."""

    instance = _OptionField(widget=forms.Select)  # looked up by the view
    name = forms.CharField(
        max_length=200,
        required=False,
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )
    description = forms.CharField(
        max_length=10_000, required=False, widget=forms.Textarea(attrs={"rows": 3})
    )
    priority = forms.TypedChoiceField(
        coerce=int,
        empty_value=None,
        required=False,
        help_text="Runs with a smaller number start first.",
    )
    execution_class = forms.CharField(label="Queue", required=False, widget=forms.Select)
    secrets = forms.ChoiceField(
        required=False, help_text="Variables and files that this run finds; see the page Secrets."
    )
    waits_for = forms.CharField(
        label="Other runs, by their ids",
        required=False,
        max_length=4000,
        help_text="Separated by blanks. It takes no slot while it waits.",
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )
    wait_policy = forms.ChoiceField(
        label="When one of them does not succeed", required=False, choices=WAIT_POLICIES
    )

    def __init__(
        self,
        data: Any = None,
        *,
        initial: Mapping[str, Any] | None = None,
        instances: Sequence[tuple[str, str]],
        queues: Sequence[str],
        usual: Mapping[str, Any],
        most: Mapping[str, float],
        reload_url: str,
        collections: Mapping[str, str],
    ) -> None:
        super().__init__(data, initial=dict(initial or {}), auto_id="launch-%s")
        self.made_with: dict[str, Any] = {
            "instances": instances,
            "queues": queues,
            "usual": usual,
            "most": most,
            "reload_url": reload_url,
            "collections": collections,
        }
        self.use_required_attribute = False
        self.fields["instance"].widget.choices = list(instances)
        self.fields["instance"].widget.attrs |= {
            "hx-post": reload_url,
            "hx-target": "#launch-settings",
            "hx-swap": "outerHTML",
            "hx-params": "not text,files,files_paths",
        }
        self.fields["execution_class"].widget.choices = [
            ("", f"{usual['queue']} (usual)"),
            *((name, name) for name in queues if name != usual["queue"]),
        ]
        if collections:
            of_instance = usual.get("secrets", "")
            self.fields["secrets"].choices = [  # type: ignore[attr-defined] # ChoiceField
                ("", f"{of_instance} (usual)" if of_instance else "none"),
                *(each for each in collection_choices(collections) if each[0] != of_instance),
            ]
        else:
            del self.fields["secrets"]
        ends = {1: "1, first", 9: "9, last"}
        self.fields["priority"].choices = [  # type: ignore[attr-defined] # TypedChoiceField
            ("", f"{usual['priority']} (usual)"),
            *((number, ends.get(number, str(number))) for number in range(1, 10)),
        ]
        self.show_usual(usual["limits"], most)
