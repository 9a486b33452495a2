"""Forms of secrets. What is typed as a value is never put into a page again."""

from __future__ import annotations

from typing import Any

from django import forms

from runs.domain.secrets import ENV, FILE
from runs.web.forms.applications import ID_HELP

KIND_CHOICES = ((ENV, "Variable of the environment"), (FILE, "File of the working directory"))


class ValueArea(forms.Textarea):
    """A text of one or more lines that stays empty when the form is shown again."""

    def format_value(self, value: Any) -> str:
        """Nothing, whatever was sent."""
        return ""


class CollectionForm(forms.Form):
    """Name and description of a collection."""

    name = forms.CharField(max_length=200, required=False)
    description = forms.CharField(
        required=False, max_length=10_000, widget=forms.Textarea(attrs={"rows": 2})
    )


class NewCollectionForm(CollectionForm):
    """A new collection, still empty."""

    collection_id = forms.CharField(label="Id", max_length=128, help_text=ID_HELP)
    field_order = ("collection_id", "name", "description")


class SecretForm(forms.Form):
    """A secret that is added, or with `replace` one that gets another value."""

    kind = forms.ChoiceField(label="Given as", choices=KIND_CHOICES)
    location = forms.CharField(
        label="Name or path",
        max_length=1024,
        help_text="As `API_KEY`, or as `keys/service.json` below the directory where the program"
        " starts.".replace("`", ""),
        widget=forms.TextInput(
            attrs={"autocapitalize": "off", "autocomplete": "off", "spellcheck": "false"}
        ),
    )
    value = forms.CharField(
        strip=False,
        help_text="Kept encrypted. Nobody can look at it again, only replace it.",
        widget=ValueArea(
            attrs={"rows": 3, "autocomplete": "off", "spellcheck": "false", "class": "mono"}
        ),
    )
    replace = forms.BooleanField(required=False, widget=forms.HiddenInput)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.use_required_attribute = False
        if self.replaced:
            for name in ("kind", "location"):
                self.fields[name].widget = forms.HiddenInput()
            self.fields["value"].label = "New value"

    @property
    def replaced(self) -> str:
        """The name of the secret that gets another value; empty for a new one."""
        return str(self["location"].value() or "") if self["replace"].value() else ""

    def clean_value(self) -> str:
        """The value with the line breaks of a file: browsers send others."""
        value: str = self.cleaned_data["value"]
        return value.replace("\r\n", "\n")
