"""Forms of applications: new ones, settings, versions, instances, managed inputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django import forms

from runs.domain.content import FORMATS
from runs.domain.manifest import Manifest
from runs.domain.option_values import typed_value
from runs.domain.options import OptionDefinition, form_text
from runs.models import Application, Instance, SecretsCollection, Version

ID_HELP = "Letters, digits, dots, dashes and underscores; it stands in addresses and stays."
OPTION = "option-"


def _area(rows: int) -> forms.Textarea:
    return forms.Textarea(attrs={"rows": rows})


class UploadForm(forms.Form):
    """A new executable: an archive, or with script a folder. The files are read by the view."""

    upload = forms.FileField(
        label="Executable",
        required=False,
        help_text="A .zip, .tar or .tar.gz with app.yaml at its top; or a folder, dropped here.",
    )


class NewApplicationForm(forms.Form):
    """A new application from an upload."""

    upload = forms.FileField(
        label="Application",
        required=False,
        help_text="A .zip, .tar or .tar.gz with app.yaml at its top; or a folder, dropped here.",
    )
    name = forms.CharField(
        max_length=200, required=False, help_text="Empty: the name of the folder or archive."
    )
    application_id = forms.CharField(
        label="Id",
        max_length=128,
        required=False,
        help_text=f"{ID_HELP} Empty: made of the name.",
        widget=forms.TextInput(attrs={"autocapitalize": "off", "spellcheck": "false"}),
    )
    description = forms.CharField(required=False, max_length=10_000, widget=_area(3))


class FolderForm(forms.Form):
    """A new application from a folder on the server."""

    folder = forms.CharField(label="Folder on the server", max_length=1000)
    folder_name = forms.CharField(label="Name", max_length=200, required=False)
    folder_id = forms.CharField(label="Id", max_length=128, required=False)


class VersionForm(forms.Form):
    """A new version of an application."""

    version_id = forms.CharField(label="Id", max_length=128, help_text=ID_HELP)
    name = forms.CharField(max_length=200, required=False)
    description = forms.CharField(required=False, max_length=10_000, widget=_area(2))
    build = forms.TypedChoiceField(label="Build", coerce=int, required=False, empty_value=None)

    def __init__(self, *args: Any, builds: list[tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["build"]
        assert isinstance(field, forms.ChoiceField)
        field.choices = builds


class InputForm(forms.Form):
    """A new managed input: files, text, or the input of a run."""

    input_id = forms.CharField(label="Id", max_length=128, help_text=ID_HELP)
    name = forms.CharField(max_length=200, required=False)
    description = forms.CharField(required=False, max_length=10_000, widget=_area(2))
    upload = forms.FileField(label="Upload", required=False)
    text = forms.CharField(label="Or paste", required=False, widget=_area(6), strip=False)
    run_id = forms.CharField(
        label="Or the input of run",
        max_length=32,
        required=False,
        help_text="The id of a run; its input is kept once, under this name.",
    )


class InstanceForm(forms.Form):
    """An instance: its version, queue, limits, and a field for each declared option."""

    instance_id = forms.CharField(label="Id", max_length=128, help_text=ID_HELP)
    name = forms.CharField(max_length=200, required=False)
    version = forms.ChoiceField(required=False)
    description = forms.CharField(required=False, max_length=10_000, widget=_area(2))
    execution_class = forms.CharField(
        label="Queue",
        max_length=64,
        required=False,
        help_text="The execution class of its runs. Empty: default.",
    )
    content_format = forms.ChoiceField(
        label="Input format",
        required=False,
        choices=[("", "as the manifest says"), *((name, name) for name in FORMATS)],
    )
    priority = forms.IntegerField(
        required=False, min_value=1, max_value=9, help_text="1 goes first, 9 last. Empty: 6."
    )
    time_limit_s = forms.IntegerField(label="Time limit (s)", required=False, min_value=1)
    queuing_disabled = forms.BooleanField(label="Queuing disabled", required=False)
    secrets = forms.ChoiceField(
        required=False, help_text="What its runs are given, unless one names other secrets."
    )
    free_options = forms.CharField(
        label="Further options",
        required=False,
        widget=_area(3),
        help_text="One a line: name=value.",
    )
    seen_at = forms.CharField(required=False, widget=forms.HiddenInput)

    def __init__(
        self,
        *args: Any,
        application: Application,
        manifest: Manifest | None,
        instance: Instance | None = None,
        **kwargs: Any,
    ) -> None:
        if instance is not None:
            kwargs.setdefault("initial", _initial(instance, manifest))
        super().__init__(*args, **kwargs)
        self.application = application
        self.manifest = manifest
        self.versions: dict[str, Version] = {
            version.version_id: version
            for version in application.versions.select_related("executable").order_by("-id")[:500]
        }
        if instance is not None and instance.version is not None:
            self.versions.setdefault(instance.version.version_id, instance.version)
        version = self.fields["version"]
        assert isinstance(version, forms.ChoiceField)
        version.choices = [
            ("", "newest executable"),
            *((each.version_id, str(each)) for each in self.versions.values()),
        ]
        self.collections = collections_by_id(application)
        if self.collections:
            secrets = self.fields["secrets"]
            assert isinstance(secrets, forms.ChoiceField)
            named = {key: each.name for key, each in self.collections.items()}
            secrets.choices = [("", "none"), *collection_choices(named)]
        else:
            del self.fields["secrets"]
        if instance is not None:
            del self.fields["instance_id"]
        if manifest is None or not manifest.allows_free_options:
            del self.fields["free_options"]
        self._names: dict[str, OptionDefinition] = {}
        for number, definition in enumerate(manifest.options.items if manifest else ()):
            key = f"{OPTION}{number}"
            self._names[key] = definition
            self.fields[key] = _option_field(definition)

    def option_fields(self) -> list[tuple[forms.BoundField, str]]:
        """The fields of declared options, each with the option's own name."""
        return [(self[key], definition.name) for key, definition in self._names.items()]

    def plain_fields(self) -> list[forms.BoundField]:
        """All other fields that people see."""
        hidden = {"seen_at", "free_options", *self._names}
        return [self[name] for name in self.fields if name not in hidden]

    def chosen_version(self) -> Version | None:
        """The version of a valid form."""
        return self.versions.get(self.cleaned_data["version"])

    def chosen_secrets(self) -> SecretsCollection | None:
        """The collection of a valid form."""
        return self.collections.get(self.cleaned_data.get("secrets", ""))

    def chosen_options(self) -> dict[str, Any]:
        """The options that a valid form sets; empty fields set nothing."""
        options: dict[str, Any] = {}
        for key, definition in self._names.items():
            value = self.cleaned_data.get(key)
            if isinstance(value, list):
                value = ",".join(value)
            if value not in (None, ""):
                typed = typed_value(definition.type, value)
                options[definition.name] = value if typed is None else typed
        free: dict[str, str] = self.cleaned_data.get("free_options", {})
        return options | free

    def clean_free_options(self) -> dict[str, str]:
        """The lines `name=value` as options."""
        options = {}
        for number, line in enumerate(self.cleaned_data["free_options"].splitlines(), 1):
            if not line.strip():
                continue
            name, sign, value = line.partition("=")
            if not sign or not name.strip():
                raise forms.ValidationError(f"Line {number}: write name=value.")
            options[name.strip()] = value.strip()
        return options

    def show_option_errors(self, errors: Mapping[str, list[str]]) -> None:
        """Put the messages of options at their fields; those of others at the free ones."""
        keys = {definition.name: key for key, definition in self._names.items()}
        for name, texts in errors.items():
            free = "free_options" if "free_options" in self.fields else None
            for text in texts:
                self.add_error(keys.get(name, free), text)


def collections_by_id(application: Application) -> dict[str, SecretsCollection]:
    """The collections of secrets that may be chosen, in the order of their names; one query."""
    rows = application.secrets_collections.order_by("name", "pk")[:500]
    return {each.collection_id: each for each in rows}


def collection_choices(names: Mapping[str, str]) -> list[tuple[str, str]]:
    """The ids of collections with the texts of a select; `names` by id."""
    return [(key, key if name in {"", key} else f"{name} · {key}") for key, name in names.items()]


def _option_field(definition: OptionDefinition) -> forms.Field:
    unset = "as the application says"
    if definition.default is not None:
        unset = f"default: {form_text(definition, definition.default)[:60]}"
    help_text = definition.description
    words: dict[str, Any] = {
        "label": definition.label,
        "required": False,
        "help_text": help_text,
    }
    if definition.values and definition.effective_control == "multiselect":
        listed = [(str(value), str(value)) for value in definition.values]
        return forms.MultipleChoiceField(
            choices=listed, widget=forms.CheckboxSelectMultiple, **words
        )
    if definition.type == "bool":
        choices = [("", unset), ("true", "true"), ("false", "false")]
        return forms.ChoiceField(choices=choices, **words)
    if definition.values:
        listed = [
            (form_text(definition, value), form_text(definition, value))
            for value in definition.values
        ]
        return forms.ChoiceField(choices=[("", unset), *listed], **words)
    attrs: dict[str, Any] = {"placeholder": unset}
    if definition.type in {"int", "float"}:
        attrs["inputmode"] = "decimal"
    return forms.CharField(widget=forms.TextInput(attrs=attrs), max_length=100_000, **words)


def _initial(instance: Instance, manifest: Manifest | None) -> dict[str, Any]:
    values: dict[str, Any] = {
        name: getattr(instance, name)
        for name in (
            "name",
            "description",
            "execution_class",
            "content_format",
            "priority",
            "time_limit_s",
            "queuing_disabled",
        )
    }
    values["version"] = instance.version.version_id if instance.version else ""
    values["secrets"] = instance.secrets.collection_id if instance.secrets else ""
    values["seen_at"] = instance.updated_at.isoformat()
    options = dict(instance.options)
    for number, definition in enumerate(manifest.options.items if manifest else ()):
        if definition.name in options:
            text = form_text(definition, options.pop(definition.name))
            many = definition.values and definition.effective_control == "multiselect"
            values[f"{OPTION}{number}"] = text.split(",") if many else text
    values["free_options"] = "\n".join(f"{name}={value}" for name, value in options.items())
    return values
