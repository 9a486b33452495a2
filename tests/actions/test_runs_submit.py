"""Submitting a run: what is written, what is refused, and that nothing is half made."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import transaction

from runs.actions.actors import key_holder, person
from runs.actions.runs import resolve_target, set_priority, submit_run
from runs.domain.errors import (
    Conflict,
    FieldsInvalid,
    InputRejected,
    NotAllowed,
    OptionsInvalid,
)
from runs.domain.manifest import manifest_to_json, parse_manifest
from runs.domain.status import Status
from runs.models import ApiKey, Application, Executable, Lane, Queue, Run, RunEvent, RunOption
from runs.queue.dispatch import sent_through
from tests.factories import (
    make_application,
    make_environment,
    make_executable,
    make_input,
    make_instance,
    make_managed_input,
    make_run,
    make_user,
    make_version,
    make_worker,
)

pytestmark = pytest.mark.django_db

MANIFEST = """
files: [main.py]
configuration:
  content: {format: FORMAT}
  options:
    strict: STRICT
    validation: {enforce: ENFORCE}
    items:
      - {name: vehicles, option_type: int, default: 4,
         ui: {control_type: slider}, additional_attributes: {min: 1, max: 12, step: 1}}
      - {name: path, option_type: string, default: here}
      - {name: area, option_type: string, required: REQUIRED}
"""


class Sent:
    """A sender that remembers."""

    def __init__(self) -> None:
        self.queues: list[str] = []

    def send(self, queue_name: str, target: str) -> None:
        self.queues.append(queue_name)


def make_build(application: Application | None = None, more: str = "", **words: str) -> Executable:
    words = {"FORMAT": "json", "STRICT": "false", "ENFORCE": "none", "REQUIRED": "false", **words}
    text = MANIFEST
    for word, value in words.items():
        text = text.replace(word, value)
    return make_executable(application, manifest=manifest_to_json(parse_manifest(text + more)))


def submit(executable: Executable, *, role: str = "operator", **fields: Any) -> Run:
    application = executable.application
    fields.setdefault("actor", person(make_user(), role=role))
    return submit_run(account=application.account, application=application, **fields)


def rows() -> list[int]:
    return [model.objects.count() for model in (Run, RunEvent, RunOption, Lane)]


def test_the_run_its_options_and_its_event_are_written_and_the_queue_is_nudged(
    django_capture_on_commit_callbacks: Any,
):
    environment = make_environment()
    build = make_build()
    build.environment = environment
    build.save(update_fields=["environment"])
    make_worker()
    sent = Sent()
    actor = person(make_user("ann@example.org"), role="operator")
    data = make_input(build.application.account, size_bytes=17)
    with sent_through(sent), django_capture_on_commit_callbacks(execute=True):
        run = submit(build, actor=actor, options={"vehicles": 9, "own": [1]}, input_data=data)
        assert sent.queues == []
    assert sent.queues == ["default"]
    assert (run.status, run.priority, run.input_bytes) == (Status.QUEUED, 6, 17)
    assert (run.environment, run.lane.environment) == (environment, environment)
    assert (run.input_format, run.output_format, run.run_type) == ("json", "json", "standard")
    assert run.requested_options == {"vehicles": 9, "own": [1]}
    event = run.events.get()
    assert (event.kind, event.after, event.actor) == ("submitted", "queued", "ann@example.org")
    written = [
        (each.name, each.text, each.number, each.source, each.passed)
        for each in run.options.order_by("position")
    ]
    assert written == [
        ("vehicles", "9", 9.0, "run", True),
        # An app would read the variable PATH of its process instead of its own default.
        ("path", "here", None, "manifest", True),
        ("own", "[1]", None, "run", True),
    ]


def test_nothing_is_written_when_the_transaction_around_fails():
    build = make_build()
    before = rows()

    def fail() -> None:
        with transaction.atomic():
            submit(build)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert rows() == before


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"role": "viewer"}, NotAllowed),
        ({"role": ""}, NotAllowed),
        ({"options": {"vehicles": 13}}, OptionsInvalid),
        ({"options": {"vehicles": "x"}}, OptionsInvalid),
        ({"priority": 0}, FieldsInvalid),
        ({"priority": 10}, FieldsInvalid),
        ({"time_limit_s": 0}, FieldsInvalid),
        ({"time_limit_s": 10**9}, FieldsInvalid),
        ({"name": "x" * 201}, FieldsInvalid),
        ({"description": "x" * 10_001}, FieldsInvalid),
        ({"execution_class": "nowhere"}, FieldsInvalid),
        ({"input_format": "multi-file"}, InputRejected),
    ],
)
def test_what_cannot_run_is_refused_and_nothing_is_written(
    fields: dict[str, Any], error: type[Exception]
):
    build = make_build()
    before = rows()
    with pytest.raises(error):
        submit(build, **fields)
    assert rows() == before


def test_an_application_without_executable_is_refused():
    application = make_application()
    with pytest.raises(Conflict, match="no executable"):
        resolve_target(application=application)


def test_a_required_option_must_be_given():
    build = make_build(REQUIRED="true")
    with pytest.raises(OptionsInvalid) as caught:
        submit(build)
    assert list(caught.value.errors) == ["area"]
    assert submit(build, options={"area": "north"}).requested_options == {"area": "north"}


def test_without_enforcement_the_run_starts_with_a_warning():
    run = submit(make_build(), options={"vehicles": 99}, enforce=False)
    assert run.warnings == [
        "Option `vehicles`: `vehicles` must be at most 12, but is `99`.",
    ]
    assert run.options.get(name="vehicles").text == "99"


def test_the_manifest_can_enforce_over_the_wire_too():
    with pytest.raises(OptionsInvalid):
        submit(make_build(ENFORCE="all"), options={"vehicles": 99}, enforce=False)
    with pytest.raises(OptionsInvalid):
        submit(make_build(STRICT="true"), options={"other": 1}, enforce=False)


def test_the_instance_gives_version_options_queue_priority_and_time_limit():
    build = make_build()
    application = build.application
    newer = make_build(application)
    Queue.objects.create(account=application.account, name="gpu")
    make_worker(queues=["gpu", "default"])
    instance = make_instance(
        application,
        version=make_version(build),
        options={"vehicles": 2},
        execution_class="gpu",
        priority=3,
        time_limit_s=40,
        queuing_disabled=True,
    )
    run = submit(newer, instance=instance, options={"area": "x"})
    assert (run.executable, run.version, run.instance) == (build, instance.version, instance)
    assert (run.execution_class, run.queue.name, run.priority) == ("gpu", "gpu", 3)
    assert (run.time_limit_s, run.queuing_disabled) == (40, True)
    assert run.options.get(name="vehicles").source == "instance"
    assert run.requested_options == {"area": "x"}
    own = submit(newer, instance=instance, priority=9, time_limit_s=5, execution_class="default")
    assert (own.priority, own.time_limit_s, own.execution_class) == (9, 5, "")


def test_the_default_instance_is_taken_when_none_is_named():
    build = make_build()
    instance = make_instance(build.application)
    build.application.default_instance = instance
    assert submit(build).instance == instance


def test_the_time_limit_of_the_manifest_holds_and_never_exceeds_the_installations(settings):
    build = make_build(more="runsite: {time_limit_s: 12.5, repeatable: false}")
    run = submit(build)
    assert (run.time_limit_s, run.max_attempts) == (13, 1)
    settings.RUNSITE_TIME_LIMIT_S = 10
    assert submit(build).time_limit_s == 10


def test_a_lost_run_of_an_application_that_is_not_repeatable_has_one_attempt(settings):
    build = make_build()
    assert submit(build).max_attempts == settings.RUNSITE_MAX_ATTEMPTS == 2
    build.application.repeatable = False
    assert submit(build).max_attempts == 1


def test_a_managed_input_is_recorded_beside_its_data():
    build = make_build()
    managed = make_managed_input(build.application)
    run = submit(build, managed_input=managed)
    assert (run.managed_input, run.input_data) == (managed, managed.input_data)


@pytest.mark.parametrize(
    ("app", "given", "fine"),
    [
        ("json", "json", True),
        ("json", "text", False),
        ("text", "json", True),
        ("text", "text", True),
        ("json", "multi-file", False),
        ("multi-file", "multi-file", True),
        ("multi-file", "json", False),
        ("csv-archive", "multi-file", False),
        ("csv-archive", "csv-archive", True),
    ],
)
def test_the_input_must_be_of_the_format_that_the_app_reads(app: str, given: str, fine: bool):
    build = make_build(FORMAT=app)
    data = make_input(build.application.account, content_format=given)
    if fine:
        assert submit(build, input_data=data).input_format == app
    else:
        with pytest.raises(InputRejected, match=f"reads {app}, the input is {given}"):
            submit(build, input_data=data)


def test_a_key_submits_in_the_name_of_the_person_who_made_it():
    build = make_build()
    maker = make_user("maker@example.org")
    key = ApiKey.objects.create(
        account=build.application.account,
        name="nightly",
        role="developer",
        hint="rs_x",
        hashed="0" * 64,
        created_by=maker,
    )
    run = submit(build, actor=key_holder(key), source="api")
    assert (run.submitted_by, run.api_key, run.source) == (maker, key, "api")
    assert run.events.get().actor == "key nightly"


def test_a_run_again_names_the_run_it_came_from():
    build = make_build()
    first = submit(build)
    second = submit(build, cloned_from=first)
    assert second.cloned_from == first
    assert second.run_id != first.run_id
    assert second.lane == first.lane


def test_priority_is_changed_by_developers_while_the_run_is_queued():
    run = make_run()
    actor = person(make_user(), role="developer")
    assert set_priority(run=run, priority=1, actor=actor)
    run.refresh_from_db()
    assert (run.priority, run.events.last().text) == (1, "Priority 6 → 1")
    with pytest.raises(FieldsInvalid):
        set_priority(run=run, priority=0, actor=actor)
    with pytest.raises(NotAllowed):
        set_priority(run=run, priority=2, actor=person(make_user(), role="operator"))
    assert not set_priority(run=make_run(status=Status.RUNNING), priority=2, actor=actor)
