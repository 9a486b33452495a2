"""Fields of limits: typed in seconds and MiB, kept in seconds and bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django import forms
from django.conf import settings
from django.core.validators import MaxValueValidator

from runs.domain.limits import NUMBERS, YEAR_S
from runs.domain.manifest_blocks import STOP_SIGNALS
from runs.models.limits import FAIL, TRUNCATE
from runs.templatetags.human import duration, filesize

MIB = 1024 * 1024
MOST_MIB = MIB * 1024
"""A pebibyte, as `runs.domain.limits` has it."""

COLUMNS: Mapping[str, str] = {
    "time_limit_s": "time_limit_s",
    "keep_at_time_limit": "keep_at_time_limit",
    "queue_limit_s": "queue_limit_s",
    "memory_limit_mib": "memory_limit_bytes",
    "process_limit": "process_limit",
    "log_limit_mib": "log_limit_bytes",
    "log_limit_action": "log_limit_action",
    "output_limit_mib": "output_limit_bytes",
    "output_limit_action": "output_limit_action",
    "stop_signal": "stop_signal",
    "stop_grace_s": "stop_grace_s",
}
"""The fields, and the column that each is about."""
FIELDS: Mapping[str, str] = {column: name for name, column in COLUMNS.items()}
"""The columns, and the field of each: what an action says of one belongs to the other."""

LOG_ACTIONS = {TRUNCATE: "cut the middle out and warn", FAIL: "end the run as failed"}
OUTPUT_ACTIONS = {FAIL: "end the run as failed", TRUNCATE: "cut it off and warn"}
YES_NO = {True: "stop and keep the result", False: "end the run as failed"}


def seconds_field(label: str, help_text: str = "") -> forms.IntegerField:
    """A whole number of seconds."""
    return forms.IntegerField(
        label=f"{label} (s)",
        required=False,
        min_value=1,
        max_value=YEAR_S,
        help_text=help_text,
    )


def mib_field(label: str, help_text: str = "", least: float = 0.001) -> forms.FloatField:
    """A size in MiB, also a part of one."""
    return forms.FloatField(
        label=f"{label} (MiB)",
        required=False,
        min_value=least,
        max_value=MOST_MIB,
        help_text=help_text,
        widget=forms.NumberInput(attrs={"step": "any", "inputmode": "decimal"}),
    )


def choice_field(label: str, help_text: str = "") -> forms.ChoiceField:
    """One of a few words; `set_choices` fills them in."""
    return forms.ChoiceField(label=label, required=False, help_text=help_text)


class LimitFields(forms.Form):
    """What a run may use. Empty fields leave it to what `show_usual` names."""

    time_limit_s = seconds_field("Time limit", "How long it may run, without the time it waits.")
    keep_at_time_limit = choice_field("At the time limit")
    queue_limit_s = seconds_field("Queue limit", "How long it may wait before it gives up.")
    memory_limit_mib = mib_field("Memory limit", "Of all its processes together.", 1)
    process_limit = forms.IntegerField(
        label="Processes at once",
        required=False,
        min_value=1,
        max_value=int(NUMBERS["process_limit"].most),
    )
    log_limit_mib = mib_field("Log limit")
    log_limit_action = choice_field("A log above its limit")
    output_limit_mib = mib_field("Output limit")
    output_limit_action = choice_field("Output above its limit")

    def show_usual(self, usual: Mapping[str, Any], most: Mapping[str, float]) -> None:
        """Say in each field what holds while it is empty; both are by column.

        What the installation allows at `most` holds where nothing else does.
        """
        for name, column in COLUMNS.items():
            if name not in self.fields:
                continue
            field, value = self.fields[name], usual.get(column)
            if isinstance(field, forms.ChoiceField):
                _set_choices(field, column, value)
            else:
                highest = most.get(column)
                field.widget.attrs["placeholder"] = placeholder(column, value or highest)
                if highest is not None:
                    _set_most(field, column, highest)

    def clean_keep_at_time_limit(self) -> bool | None:
        """As the column has it."""
        return {"yes": True, "no": False}.get(self.cleaned_data["keep_at_time_limit"])

    def limits(self) -> dict[str, Any]:
        """The columns of a valid form; None and empty texts where nothing was chosen."""
        values: dict[str, Any] = {}
        for name, column in COLUMNS.items():
            if name not in self.fields:
                continue
            value = self.cleaned_data[name]
            if name.endswith("_mib") and value is not None:
                value = max(1, round(value * MIB))
            values[column] = value
        return values


def initial_limits(source: Any) -> dict[str, Any]:
    """The fields as the columns of an application or a run fill them."""
    return {name: typed(column, getattr(source, column)) for name, column in COLUMNS.items()}


def typed(column: str, value: Any) -> Any:
    """The value of a column as it stands in its field."""
    if value is None or value == "":
        return "" if column.endswith("_action") or column == "stop_signal" else None
    if column == "keep_at_time_limit":
        return "yes" if value else "no"
    if column.endswith("_bytes"):
        # No more digits than bytes need, and none for a whole number.
        size = round(value / MIB, 6)
        return int(size) if size == int(size) else size
    if column == "stop_grace_s":
        return int(value) if value == int(value) else value
    return value


def placeholder(column: str, value: Any) -> str:
    """What holds for a column while its field is empty, as short as a field is wide."""
    if column == "stop_grace_s" and value is None:
        value = settings.RUNSITE_GRACE_S
    if value is None or value == "":
        return "no limit"
    shown = str(typed(column, value))
    words = ""
    if column.endswith("_bytes") and value >= 1024 * MIB:
        words = filesize(value)
    elif column.endswith("_s") and value >= 120:
        words = duration(value)
    return f"{shown} ({words})" if words else shown


def words_of(column: str, value: Any) -> str:
    """The value of a column as pages say it."""
    if column == "log_limit_action":
        return LOG_ACTIONS.get(value, "")
    if column == "output_limit_action":
        return OUTPUT_ACTIONS.get(value, "")
    if column == "keep_at_time_limit":
        return YES_NO[bool(value)]
    if column.endswith("_bytes"):
        return filesize(value)
    return duration(value) if column.endswith("_s") else str(value)


def _set_most(field: forms.Field, column: str, highest: float) -> None:
    shown = typed(column, highest)
    message = f"The installation allows at most {words_of(column, highest)}: give {shown} or less."
    others = [each for each in field.validators if not isinstance(each, MaxValueValidator)]
    field.validators = [*others, MaxValueValidator(shown, message)]
    field.widget.attrs["max"] = shown


def _set_choices(field: forms.ChoiceField, column: str, usual: Any) -> None:
    if column == "keep_at_time_limit":
        listed = [("yes", YES_NO[True]), ("no", YES_NO[False])]
        words = YES_NO[bool(usual)]
    elif column == "stop_signal":
        listed = [(name, name) for name in STOP_SIGNALS]
        words = usual or "SIGINT"
    else:
        known = LOG_ACTIONS if column == "log_limit_action" else OUTPUT_ACTIONS
        listed = list(known.items())
        words = known.get(usual) or next(iter(known.values()))
    field.choices = [("", f"{words} (usual)"), *listed]
