"""Reads a request to submit a run: what it names is looked up, what it leaves out is filled in."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

from runs.actions.applications import LATEST
from runs.actions.inputs import store_json_input, store_text_input
from runs.actions.run_targets import resolve_target
from runs.actions.tracked_inputs import input_of_tracked
from runs.actions.tracked_results import Source, TrackedResult
from runs.actions.upload_inputs import input_of_upload, open_upload
from runs.api.auth import ApiRequest
from runs.api.v1.finding import find_instance, named_run, named_upload
from runs.api.v1.schemas.runs import ConfigurationIn, RunIn, TrackedIn
from runs.domain.content import FORMATS, is_folder_format
from runs.domain.errors import FieldsInvalid, InputRejected, OptionsInvalid
from runs.domain.options import LONGEST_NAME, MOST_OPTIONS, to_wire, visible_to
from runs.models import Application, InputData, Instance, ManagedInput, Run

LONGEST_EXPERIMENT_ID = 128
_TYPES = ("standard", "external")
_LATER = ("ensemble", "ensemble-child")
_SOURCES = ("input", "upload_id", "input_id")


@dataclass
class Wanted:
    """What a request asks for.

    `input_format` and `output_format` are as it says, empty where it says nothing; the other two
    formats are those in force. `instance` is None with `use_latest`, and where there is no default.
    """

    request: ApiRequest
    application: Application
    body: RunIn
    configuration: ConfigurationIn
    instance: Instance | None
    use_latest: bool
    options: dict[str, object]
    input_format: str
    output_format: str
    cloned_from: Run | None
    batch_experiment_id: str

    @property
    def tracked(self) -> TrackedIn:
        """What came of a run that was executed elsewhere."""
        return self.body.result or TrackedIn()

    @cached_property
    def content_format(self) -> str:
        """The format of the input: of the request, the instance, the executable, else json."""
        if self.input_format:
            return self.input_format
        if self.body.result is None:
            target = resolve_target(
                application=self.application, instance=self.instance, use_latest=self.use_latest
            )
            return target.content_format
        # What was executed elsewhere needs no executable.
        instance = self.instance
        if instance is not None and instance.content_format:
            return instance.content_format
        version = instance.version if instance else None
        executable = version.executable if version else self.application.executable
        return executable.content_format if executable else "json"

    @property
    def content_of_output(self) -> str:
        """The format of the result of a tracked run; one that is missing equals the input's."""
        if self.output_format:
            return self.output_format
        instance = self.instance
        if not self.input_format and instance is not None and instance.output_format:
            return instance.output_format
        return "json" if self.content_format == "text" else self.content_format

    @property
    def original(self) -> Run | None:
        """The run whose input is taken: a clone that brings none has that of the run it names.

        The client brings none, and says json, when the original read text.
        """
        run = self.cloned_from
        if self.body.result is not None or run is None or run.input_data is None:
            return None
        brings = any(getattr(self.body, name) not in (None, "") for name in _SOURCES)
        return None if brings else run

    def check_visible(self) -> None:
        """Raise `OptionsInvalid` for options that the manifest hides from the role of the key.

        As on the form: who does not see an option may not set it.
        """
        if not self.options:
            return
        role = self.request.actor.role
        target = resolve_target(
            application=self.application, instance=self.instance, use_latest=self.use_latest
        )
        hidden = {item.name for item in target.manifest.options.items if not visible_to(item, role)}
        text = "`{}` cannot be set by the role {}; leave it out."
        if errors := {name: [text.format(name, role)] for name in self.options if name in hidden}:
            raise OptionsInvalid(errors)

    def take_input(self) -> tuple[InputData | None, ManagedInput | None]:
        """The input, stored; and the managed one that it is. Raises what the actions raise."""
        body = self.body
        given = [name for name in _SOURCES if getattr(body, name) not in (None, "")]
        if len(given) > 1:
            raise FieldsInvalid({given[1]: [f"Give one of {', '.join(given)}, not several."]})
        if body.input_id:
            managed = self._managed_input(body.input_id)
            return managed.input_data, managed
        if body.upload_id:
            upload = named_upload(self.request, body.upload_id)
            take = input_of_upload if body.result is None else input_of_tracked
            return take(upload=upload, content_format=self.content_format), None
        if not given:
            return (self.original.input_data if self.original else None), None
        account = self.request.account
        if self.content_format == "json" and isinstance(body.input, dict):
            return store_json_input(account=account, value=body.input), None
        data = _inline(body.input, self.content_format)
        stored = store_text_input(account=account, content_format=self.content_format, data=data)
        return stored, None

    def take_result(self) -> TrackedResult:
        """What was uploaded of a run that was executed elsewhere."""
        sent = self.tracked
        return TrackedResult(
            output=self._upload(sent.output_upload_id),
            log=self._upload(sent.error_upload_id),
            metrics=self._upload(sent.metrics_upload_id),
            statistics=self._upload(sent.statistics_upload_id),
            assets=self._upload(sent.assets_upload_id),
        )

    def _upload(self, upload_id: str | None) -> Source | None:
        if not upload_id:
            return None
        return partial(open_upload, named_upload(self.request, upload_id))

    def _managed_input(self, input_id: str) -> ManagedInput:
        rows = self.application.managed_inputs.select_related("input_data")
        managed = rows.filter(input_id=input_id).first()
        if managed is None:
            text = (
                f"Managed input '{input_id[:128]}' does not exist in application"
                f" '{self.application.application_id}'."
            )
            raise FieldsInvalid({"input_id": [text]})
        return managed


def read_request(
    request: ApiRequest, application: Application, body: RunIn, instance_id: str
) -> Wanted:
    """What the request asks for; nothing is written yet. Two queries at most.

    Raises `NotFound` for an unknown instance, `FieldsInvalid` for what cannot be used.
    """
    configuration = body.configuration or ConfigurationIn()
    _check_type(configuration)
    use_latest = instance_id == LATEST
    instance = find_instance(application, instance_id) if instance_id and not use_latest else None
    if instance is None and not use_latest:
        instance = application.default_instance
    options = _texts_of(body.options or {})
    told = (body.name, body.description, body.batch_experiment_id)
    sent = body.result.error_message if body.result else None
    _check_texts(*told, *options, *options.values(), (sent or "").replace("\0", ""))
    formats = configuration.format
    wanted = Wanted(
        request=request,
        application=application,
        body=body,
        configuration=configuration,
        instance=instance,
        use_latest=use_latest,
        options=dict(options),
        input_format=_format(formats.input_type if formats else "", "input"),
        output_format=_format(formats.output_type if formats else "", "output"),
        cloned_from=_cloned(request, body),
        batch_experiment_id=(body.batch_experiment_id or "").strip(),
    )
    if wanted.original is not None:
        wanted.input_format = wanted.original.input_format
        wanted.output_format = wanted.original.output_format
    if len(wanted.batch_experiment_id) > LONGEST_EXPERIMENT_ID:
        text = f"An id has at most {LONGEST_EXPERIMENT_ID} characters."
        raise FieldsInvalid({"batch_experiment_id": [text]})
    duration = wanted.tracked.execution_duration
    if duration is not None and not math.isfinite(duration):
        raise FieldsInvalid({"execution_duration": ["Give a number of milliseconds."]})
    return wanted


def _check_type(configuration: ConfigurationIn) -> None:
    """A clone sends the type of its original: that one was executed elsewhere, this one is not."""
    name = (configuration.run_type.type if configuration.run_type else "") or "standard"
    if name in _LATER:
        text = "Ensemble runs are not part of this release of Runsite. docs/api.md lists what is."
        raise FieldsInvalid({"run_type": [text]})
    if name not in _TYPES:
        text = f"`{name[:40]}` is no type of run. Give one of {', '.join(_TYPES)}."
        raise FieldsInvalid({"run_type": [text]})
    if configuration.integration_id:
        text = "Integrations are not part of this release of Runsite. Leave `integration_id` out."
        raise FieldsInvalid({"integration_id": [text]})


def _texts_of(options: Mapping[str, Any]) -> dict[str, str]:
    """Options as texts; what is none becomes JSON.

    Here what no run can have is refused; whether they fit the manifest is for it to say.
    """
    if len(options) > MOST_OPTIONS:
        text = f"At most {MOST_OPTIONS} options can be given, not {len(options)}."
        raise FieldsInvalid({"options": [text]})
    if wrong := next((name for name in options if len(name) > LONGEST_NAME), None):
        text = f"An option name has 1 to {LONGEST_NAME} characters; `{wrong[:40]}…` has more."
        raise FieldsInvalid({"options": [text]})
    if "" in options:
        raise FieldsInvalid({"options": ["An option has no name. Give it one."]})
    try:
        return {name: to_wire(value) for name, value in options.items()}
    except RecursionError as error:
        raise FieldsInvalid({"options": ["An option is nested too deeply. Flatten it."]}) from error


def _check_texts(*texts: str | None) -> None:
    """Raise `FieldsInvalid` for what no database keeps; each would say so in another way."""
    try:
        data = "".join(text for text in texts if text).encode()
    except UnicodeEncodeError:
        raise FieldsInvalid({}, "A text of the request holds half a character. Mend it.") from None
    if b"\0" in data:
        raise FieldsInvalid({}, "A text of the request holds a zero byte. Remove it.")


def _format(name: str, part: str) -> str:
    if name not in {"", *FORMATS}:
        text = f"`{name[:40]}` is no format. Give one of {', '.join(FORMATS)}."
        raise FieldsInvalid({f"format.{part}": [text]})
    return name


def _cloned(request: ApiRequest, body: RunIn) -> Run | None:
    run_id = body.tracking.cloned_run_id if body.tracking else ""
    return named_run(request, run_id) if run_id else None


def _inline(value: object, content_format: str) -> bytes:
    """A value of the request as the bytes that the program reads."""
    if is_folder_format(content_format):
        raise InputRejected(
            f"This run reads {content_format}, which cannot be sent as `input`. Upload a .tar.gz of"
            " the files and give its `upload_id`, or say another format."
        )
    if content_format == "text" and isinstance(value, str):
        return value.encode("utf-8", "replace")
    try:
        return json.dumps(value, separators=(",", ":")).encode("ascii")
    except RecursionError as error:
        raise InputRejected("The input is nested too deeply. Flatten it.") from error
