"""The settings of an application, in sections; each field says what holds while it is empty."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django import forms
from django.http import QueryDict

from runs.actions.application_settings import RunSettings, settings_of_manifest
from runs.actions.run_limits import MOST_SLOTS, most_allowed
from runs.domain.manifest import Manifest
from runs.domain.retry import LONGEST_DELAY_S, MOST_RETRIES, REASONS, USUAL_RETRY_ON
from runs.domain.status import WORDS, EndReason
from runs.models import Application
from runs.models.limits import DEFAULT_RETRY_DELAY_S
from runs.web.forms.limits import LimitFields, initial_limits

SEEN = "seen"
EXIT_CODE = f"{EndReason.EXIT_CODE}:"
POLICIES = (
    (Application.QUEUE, "Wait: it starts when one of the others has ended."),
    (Application.DROP, "Drop it: it is recorded as superseded, and not run."),
    (Application.REPLACE, "Replace: the others are canceled, and it starts after them."),
    (Application.REUSE, "Reuse: no run is made; the one under way is the answer."),
)
PLAIN = ("name", "description", "main_metric", "running_limit", "repeatable")


@dataclass(frozen=True)
class Section:
    """Fields that belong together."""

    id: str
    title: str
    words: str
    names: tuple[str, ...]

    @property
    def quiet(self) -> bool:
        """Whether no field says that it is optional, as all are."""
        return self.id != "general"


SECTIONS = (
    Section("general", "General", "", ("name", "description", "main_metric")),
    Section(
        "limits",
        "Limits",
        "Of each run; a run may ask for others in its launch form. What stands in an empty field"
        " in grey holds.",
        (
            *("time_limit_s", "queue_limit_s", "memory_limit_mib", "process_limit"),
            *("log_limit_mib", "log_limit_action", "output_limit_mib", "output_limit_action"),
        ),
    ),
    Section(
        "stops",
        "Stop and keep the result",
        "For programs that can end early with what they have.",
        ("stop_signal", "stop_grace_s", "keep_at_time_limit"),
    ),
    Section(
        "order",
        "Slots and runs at once",
        "",
        ("slots", "running_limit"),
    ),
    Section(
        "concurrency",
        "Concurrency by key",
        "Runs with the same key are held back when too many of them are under way.",
        ("concurrency_expression", "concurrency_limit", "concurrency_policy"),
    ),
    Section(
        "retries",
        "Further attempts",
        "After a failure by this rule; after a lost worker as the installation says.",
        ("retries", "retry_delay_s", "retry_exit_codes", "retry_causes", "repeatable"),
    ),
)
WIDE = frozenset({"description", "concurrency_policy", "retry_causes", "repeatable"})


class SettingsForm(LimitFields):
    """Settings of an application."""

    stop_signal = forms.ChoiceField(
        label="Stop signal",
        required=False,
        help_text="What asks it to end now and keep its result.",
    )
    stop_grace_s = forms.FloatField(
        label="Grace after it (s)",
        required=False,
        min_value=0,
        max_value=3600,
        help_text="Then it is ended by force.",
        widget=forms.NumberInput(attrs={"step": "any", "inputmode": "decimal"}),
    )
    name = forms.CharField(max_length=200)
    description = forms.CharField(
        required=False, max_length=10_000, widget=forms.Textarea(attrs={"rows": 3})
    )
    main_metric = forms.CharField(
        label="Main metric", max_length=200, required=False, help_text="Shown first in lists."
    )
    running_limit = forms.IntegerField(
        label="Runs at once",
        required=False,
        min_value=1,
        help_text="Of all its runs, whatever their key.",
        widget=forms.NumberInput(attrs={"placeholder": "as many as fit"}),
    )
    slots = forms.IntegerField(
        label="Slots of a run",
        required=False,
        min_value=1,
        max_value=MOST_SLOTS,
        help_text="How much of a worker one run takes.",
    )
    concurrency_expression = forms.CharField(
        label="Key",
        required=False,
        max_length=300,
        help_text="Text with names of options in braces, such as region={region}."
        " Empty: all runs have the same key.",
        widget=forms.TextInput(
            attrs={"class": "mono", "autocomplete": "off", "spellcheck": "false"}
        ),
    )
    concurrency_limit = forms.IntegerField(
        label="Runs of one key at once",
        required=False,
        min_value=1,
        widget=forms.NumberInput(attrs={"placeholder": "no limit"}),
    )
    concurrency_policy = forms.ChoiceField(
        label="A run that comes when its key is full",
        required=False,
        choices=POLICIES,
        widget=forms.RadioSelect,
    )
    retries = forms.IntegerField(
        label="How often it is tried again", required=False, min_value=0, max_value=MOST_RETRIES
    )
    retry_delay_s = forms.FloatField(
        label="Delay (s)",
        required=False,
        min_value=0,
        max_value=LONGEST_DELAY_S,
        help_text="Before the first of them; doubled for each further one.",
        widget=forms.NumberInput(attrs={"step": "any", "inputmode": "decimal"}),
    )
    retry_causes = forms.MultipleChoiceField(
        label="After which ends",
        required=False,
        choices=[(reason, WORDS[EndReason(reason)]) for reason in REASONS],
        widget=forms.CheckboxSelectMultiple,
    )
    retry_exit_codes = forms.CharField(
        label="After these exit codes alone",
        required=False,
        max_length=200,
        help_text="Numbers from 1 to 255, separated by blanks.",
        widget=forms.TextInput(attrs={"inputmode": "numeric", "autocomplete": "off"}),
    )
    repeatable = forms.BooleanField(
        label="A run may be made again after its worker was lost",
        required=False,
        widget=forms.CheckboxInput(attrs={"role": "switch"}),
    )

    def __init__(
        self, *args: Any, application: Application, manifest: Manifest | None, **kwargs: Any
    ) -> None:
        kwargs.setdefault("initial", initial_settings(application))
        kwargs.setdefault("auto_id", "settings-%s")
        super().__init__(*args, **kwargs)
        self.use_required_attribute = False
        said = settings_of_manifest(manifest) if manifest else RunSettings()
        usual: dict[str, Any] = dict(vars(said))
        usual["time_limit_s"] = math.ceil(manifest.runsite.time_limit_s or 0) if manifest else None
        self.show_usual(usual, most_allowed())
        # A policy is always in force, and a radio group shows one as chosen.
        if not self.initial["concurrency_policy"]:
            self.initial["concurrency_policy"] = Application.QUEUE
        self._hint("slots", said.slots or 1)
        self._hint("retries", said.retries or 0)
        delay = said.retry_delay_s if said.retry_delay_s is not None else DEFAULT_RETRY_DELAY_S
        self._hint("retry_delay_s", f"{delay:g}")
        causes = said.retry_on or USUAL_RETRY_ON
        named = ", ".join(_words(word) for word in causes.split())
        self.fields["retry_causes"].help_text = f"None ticked, and no code: {named}."

    def _hint(self, name: str, value: object) -> None:
        self.fields[name].widget.attrs["placeholder"] = str(value)

    def clean_retry_exit_codes(self) -> tuple[str, ...]:
        """The codes as words of a rule."""
        codes = self.cleaned_data["retry_exit_codes"].replace(",", " ").split()
        for code in codes:
            if not (code.isascii() and code.isdecimal() and 1 <= int(code[:4]) <= 255):
                raise forms.ValidationError(
                    f"{code[:20]} is no exit code. Give numbers from 1 to 255, such as 75 99."
                )
        return tuple(f"{EXIT_CODE}{int(code)}" for code in codes)

    def sections(self) -> list[tuple[Section, list[tuple[forms.BoundField, bool]]]]:
        """The sections with their fields, and which of these take a whole line."""
        return [
            (section, [(self[name], name in WIDE) for name in section.names])
            for section in SECTIONS
        ]

    def plain(self) -> dict[str, Any]:
        """The settings of a valid form that are not about single runs, and the time limit."""
        return {name: self.cleaned_data[name] for name in (*PLAIN, "time_limit_s")}

    def run_settings(self) -> RunSettings:
        """What a valid form says about runs."""
        clean = self.cleaned_data
        limits = {name: value for name, value in self.limits().items() if name != "time_limit_s"}
        limit = clean["concurrency_limit"]
        return RunSettings(
            **limits,
            slots=clean["slots"],
            concurrency_expression=clean["concurrency_expression"],
            concurrency_limit=limit,
            # The group of choices has no empty one: without a limit it says nothing.
            concurrency_policy=clean["concurrency_policy"] if limit else "",
            retries=clean["retries"],
            retry_on=" ".join((*clean["retry_causes"], *clean["retry_exit_codes"])),
            retry_delay_s=clean["retry_delay_s"],
        )


def initial_settings(application: Application) -> dict[str, Any]:
    """The fields as the application fills them."""
    words = application.retry_on.split()
    return {
        **{name: getattr(application, name) for name in PLAIN},
        **initial_limits(application),
        "slots": application.slots,
        "concurrency_expression": application.concurrency_expression,
        "concurrency_limit": application.concurrency_limit,
        "concurrency_policy": application.concurrency_policy,
        "retries": application.retries,
        "retry_delay_s": application.retry_delay_s,
        "retry_causes": [word for word in words if not word.startswith(EXIT_CODE)],
        "retry_exit_codes": " ".join(
            word.removeprefix(EXIT_CODE) for word in words if word.startswith(EXIT_CODE)
        ),
    }


def stamp(application: Application) -> str:
    """What a form has seen, to notice what was changed since by others."""
    return json.dumps(initial_settings(application), sort_keys=True)


def changed_since(seen: str, application: Application) -> list[str]:
    """The fields that were changed since a form saw `seen`; none for what cannot be read."""
    now, before = initial_settings(application), _read(seen)
    return [name for name in now if name in before and before[name] != _plain(now[name])]


def taken_over(data: QueryDict, seen: str, application: Application) -> QueryDict:
    """What was sent, with the present value in each field that its sender left alone."""
    now, before = initial_settings(application), _read(seen)
    merged = data.copy()
    for name in changed_since(seen, application):
        if not _left_alone(data, name, before[name]):
            continue
        value = now[name]
        if isinstance(value, bool | list):
            merged.setlist(name, ["on"] * value if isinstance(value, bool) else value)
        else:
            merged[name] = "" if value is None else str(value)
    return merged


def what_changed(form: SettingsForm, names: list[str]) -> str:
    """The fields in words."""
    return ", ".join(str(form.fields[name].label or name.capitalize()) for name in names)


def _left_alone(data: QueryDict, name: str, before: Any) -> bool:
    if isinstance(before, bool):
        return (name in data) is before
    if isinstance(before, list):
        return sorted(data.getlist(name)) == sorted(map(str, before))
    sent = data.get(name, "").replace("\r\n", "\n").strip()
    if name == "concurrency_policy" and not before:
        return sent in {"", Application.QUEUE}
    return sent == ("" if before is None else str(before))


def _read(seen: str) -> Mapping[str, Any]:
    try:
        found = json.loads(seen[:100_000])
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value))


def _words(word: str) -> str:
    if word.startswith(EXIT_CODE):
        return f"exit code {word.removeprefix(EXIT_CODE)}"
    return WORDS[EndReason(word)]
