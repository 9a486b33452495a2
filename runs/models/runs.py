"""Runs: one version on one input with options, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, TypedDict, Unpack

from django.db import models, transaction
from django.db.models import Q
from django.utils import timezone

from runs.domain.status import (
    ACTIVE,
    CANCELABLE,
    END_REASONS,
    FINAL,
    EndReason,
    Phase,
    Status,
    check_move,
)
from runs.models.accounts import Account, ApiKey, User
from runs.models.applications import (
    FORMAT_CHOICES,
    Application,
    Environment,
    Executable,
    Instance,
    Version,
)
from runs.models.inputs import InputData, ManagedInput
from runs.models.limits import Limits
from runs.models.queues import Lane, Queue
from runs.models.secrets import SecretsCollection
from runs.models.waits import FAIL, POLICIES, release_waiting

STATUS_CHOICES = [(status.value, status.value) for status in Status]
DEFAULT_PRIORITY = 6


def rank_of(priority: int, *, awaited: bool = False) -> int:
    """The place of a run in the order of its queue: by priority, then those others wait for."""
    return 2 * priority - awaited


class Told(TypedDict, total=False):
    """What is told of a move besides its status and time, see `Run.move_to`."""

    reason: EndReason
    actor: str
    user: User | None
    text: str
    token: str | None
    changes: Mapping[str, Any] | None


class RunQuerySet(models.QuerySet["Run"]):
    """Questions asked of many runs."""

    def active(self) -> RunQuerySet:
        """Runs that have not ended."""
        return self.filter(status__in=ACTIVE)

    def final(self) -> RunQuerySet:
        """Runs that have ended."""
        return self.filter(status__in=FINAL)

    def waiting(self) -> RunQuerySet:
        """Queued runs, first in order first: priority 1 before 9, then those that others wait
        for, then age."""
        return self.filter(status=Status.QUEUED).order_by("rank", "id")

    def claimable(self) -> RunQuerySet:
        """Queued runs that wait for nothing of their own, first in order first."""
        return self.waiting().filter(hold=Run.NO_HOLD)


class Run(Limits):
    """One run. `move_to` alone changes `status`; `token` is the fencing token of its attempt.

    Sizes are bytes, durations seconds. `error` is one short line, `detail` a sentence of cause and
    remedy. `hold` says what a queued run waits for besides its turn; `rank` follows `priority`.
    """

    NO_HOLD, WAITS_FOR_RUNS, WAITS_FOR_KEY, WAITS_FOR_RETRY = "", "runs", "key", "retry"
    WAITS_FOR_EXECUTABLE = "executable"
    STANDARD, EXTERNAL = "standard", "external"
    HOLDS = [
        (name, name)
        for name in (WAITS_FOR_RUNS, WAITS_FOR_KEY, WAITS_FOR_RETRY, WAITS_FOR_EXECUTABLE)
    ]

    account = models.ForeignKey(Account, models.CASCADE, related_name="runs")
    run_id = models.CharField(max_length=32, unique=True)
    application = models.ForeignKey(Application, models.CASCADE, related_name="runs")
    instance = models.ForeignKey(
        Instance, models.SET_NULL, null=True, blank=True, related_name="runs"
    )
    version = models.ForeignKey(Version, models.PROTECT, null=True, blank=True, related_name="runs")
    executable = models.ForeignKey(
        Executable, models.PROTECT, null=True, blank=True, related_name="runs"
    )
    environment = models.ForeignKey(
        Environment, models.PROTECT, null=True, blank=True, related_name="runs"
    )
    former_instance_id = models.CharField(
        max_length=128, blank=True, default="", db_default="", help_text="Of one that was deleted."
    )
    former_version_id = models.CharField(
        max_length=128, blank=True, default="", db_default="", help_text="Of one that was deleted."
    )
    name = models.CharField(max_length=200, blank=True)
    description = models.TextField(blank=True)

    status = models.CharField(max_length=16, choices=STATUS_CHOICES, default=Status.QUEUED)
    phase = models.CharField(max_length=16, blank=True, default=Phase.NONE)
    end_reason = models.CharField(max_length=32, blank=True, default=EndReason.NONE)
    error = models.CharField(max_length=500, blank=True)
    detail = models.TextField(blank=True)
    warnings = models.JSONField(default=list, blank=True)

    queue = models.ForeignKey(Queue, models.PROTECT, related_name="runs")
    lane = models.ForeignKey(Lane, models.PROTECT, related_name="runs")
    execution_class = models.CharField(max_length=64, blank=True)
    priority = models.PositiveSmallIntegerField(default=DEFAULT_PRIORITY)
    rank = models.PositiveSmallIntegerField(
        default=rank_of(DEFAULT_PRIORITY), db_default=rank_of(DEFAULT_PRIORITY)
    )
    slots = models.PositiveSmallIntegerField(default=1, db_default=1)
    hold = models.CharField(max_length=16, choices=HOLDS, blank=True, default="", db_default="")
    held_until = models.DateTimeField(null=True, blank=True)
    open_waits = models.PositiveIntegerField(default=0, db_default=0)
    wait_policy = models.CharField(max_length=16, choices=POLICIES, default=FAIL, db_default=FAIL)
    expires_at = models.DateTimeField(
        null=True, blank=True, help_text="When it has waited too long."
    )
    concurrency_key = models.CharField(max_length=200, blank=True, default="", db_default="")
    queuing_disabled = models.BooleanField(default=False)
    run_type = models.CharField(max_length=32, default="standard")
    runtime = models.CharField(max_length=200, blank=True)
    input_format = models.CharField(max_length=16, choices=FORMAT_CHOICES, default="json")
    output_format = models.CharField(max_length=16, choices=FORMAT_CHOICES, default="json")
    requested_options = models.JSONField(default=dict, blank=True)
    input_data = models.ForeignKey(
        InputData, models.PROTECT, null=True, blank=True, related_name="runs"
    )
    managed_input = models.ForeignKey(
        ManagedInput, models.SET_NULL, null=True, blank=True, related_name="runs"
    )
    cloned_from = models.ForeignKey(
        "self", models.SET_NULL, null=True, blank=True, related_name="clones"
    )
    secrets = models.ForeignKey(
        SecretsCollection, models.SET_NULL, null=True, blank=True, related_name="runs"
    )
    batch_experiment_id = models.CharField(max_length=128, blank=True, default="", db_default="")
    external_id = models.CharField(
        max_length=200,
        blank=True,
        default="",
        db_default="",
        help_text="Its id where it was executed, for a run that was imported.",
    )

    submitted_by = models.ForeignKey(User, models.SET_NULL, null=True, blank=True, related_name="+")
    api_key = models.ForeignKey(ApiKey, models.SET_NULL, null=True, blank=True, related_name="+")
    source = models.CharField(max_length=16, default="console", help_text="console, api, demo …")

    created_at = models.DateTimeField(default=timezone.now)
    started_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    duration_s = models.FloatField(null=True, blank=True, help_text="Submitted to ended.")
    execution_s = models.FloatField(null=True, blank=True, help_text="The program itself.")

    input_bytes = models.BigIntegerField(default=0)
    output_bytes = models.BigIntegerField(null=True, blank=True)
    log_bytes = models.BigIntegerField(default=0)
    exit_code = models.IntegerField(null=True, blank=True)
    signal = models.IntegerField(null=True, blank=True)
    cpu_s = models.FloatField(null=True, blank=True)
    peak_memory_bytes = models.BigIntegerField(null=True, blank=True)
    value = models.FloatField(null=True, blank=True, help_text="The objective.")
    result_kind = models.CharField(max_length=16, blank=True)

    cancel_requested_at = models.DateTimeField(null=True, blank=True)
    cancel_actor = models.CharField(max_length=200, blank=True)
    stop_requested_at = models.DateTimeField(null=True, blank=True)
    stop_actor = models.CharField(max_length=200, blank=True, default="", db_default="")
    attempt_number = models.PositiveSmallIntegerField(default=0)
    max_attempts = models.PositiveSmallIntegerField(default=2)
    retries = models.PositiveSmallIntegerField(default=0, db_default=0)
    retries_made = models.PositiveSmallIntegerField(default=0, db_default=0)
    retry_on = models.CharField(max_length=300, blank=True, default="", db_default="")
    retry_delay_s = models.FloatField(default=0, db_default=0)
    token = models.CharField(max_length=32, blank=True)

    objects = RunQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(status__in=[status.value for status in Status]),
                name="run_status_known",
            ),
            models.CheckConstraint(
                condition=Q(status__in=sorted(FINAL), ended_at__isnull=False)
                | Q(status__in=sorted(ACTIVE), ended_at__isnull=True),
                name="run_ended_at_when_final",
            ),
            models.CheckConstraint(
                condition=Q(status=Status.RUNNING) & ~Q(token="")
                | ~Q(status=Status.RUNNING) & Q(token=""),
                name="run_token_while_running",
            ),
            models.CheckConstraint(
                condition=Q(status=Status.QUEUED, end_reason__in=sorted(END_REASONS[Status.QUEUED]))
                | Q(status=Status.RUNNING, end_reason__in=sorted(END_REASONS[Status.RUNNING]))
                | Q(status=Status.SUCCEEDED, end_reason__in=sorted(END_REASONS[Status.SUCCEEDED]))
                | Q(status=Status.FAILED, end_reason__in=sorted(END_REASONS[Status.FAILED]))
                | Q(status=Status.CANCELED, end_reason__in=sorted(END_REASONS[Status.CANCELED])),
                name="run_end_reason_fits_status",
            ),
            models.CheckConstraint(
                condition=Q(priority__gte=1, priority__lte=9), name="run_priority_1_to_9"
            ),
            models.CheckConstraint(
                condition=Q(hold="") | Q(status=Status.QUEUED), name="run_hold_while_queued"
            ),
            models.UniqueConstraint(
                fields=["application", "external_id"],
                condition=~Q(external_id=""),
                name="run_imported_once",
            ),
        ]
        indexes = [
            models.Index(
                fields=["lane", "hold", "rank", "id"],
                condition=Q(status="queued"),
                name="run_waiting_by_lane",
            ),
            models.Index(
                fields=["account", "rank", "id"],
                condition=Q(status="queued"),
                name="run_waiting_by_rank",
            ),
            models.Index(
                fields=["held_until"],
                condition=Q(status="queued", hold="retry"),
                name="run_held_until",
            ),
            models.Index(
                fields=["expires_at"],
                condition=Q(status="queued", expires_at__isnull=False),
                name="run_expires",
            ),
            models.Index(
                fields=["application", "concurrency_key", "rank", "id"],
                condition=Q(status__in=["queued", "running"]) & ~Q(concurrency_key=""),
                name="run_of_key",
            ),
            models.Index(
                fields=["application", "concurrency_key", "rank", "id"],
                condition=Q(status="queued", hold="key"),
                name="run_held_by_key",
            ),
            models.Index(
                fields=["executable"],
                condition=Q(status="queued", hold="executable"),
                name="run_held_by_executable",
            ),
            models.Index(
                fields=["queue", "application"],
                condition=Q(status="running"),
                name="run_running_in_queue",
            ),
            models.Index(
                fields=["account", "-id"],
                condition=Q(status="running"),
                name="run_running_in_account",
            ),
            models.Index(fields=["account", "-id"], name="run_newest"),
            models.Index(fields=["account", "status", "-id"], name="run_by_status"),
            models.Index(fields=["account", "application", "-id"], name="run_by_application"),
            models.Index(
                fields=["account", "application", "status", "-id"],
                name="run_by_application_status",
            ),
            # With the status, so that outcomes of the last hours are counted in the index alone.
            models.Index(fields=["account", "ended_at", "status"], name="run_by_end"),
            models.Index(fields=["account", "created_at", "id"], name="run_by_creation"),
        ]

    def __str__(self) -> str:
        return self.name or self.run_id

    @property
    def is_final(self) -> bool:
        """Whether the run has ended for good."""
        return Status(self.status) in FINAL

    @property
    def is_cancelable(self) -> bool:
        """Whether asking to cancel it changes anything."""
        return Status(self.status) in CANCELABLE and self.cancel_requested_at is None

    @property
    def is_tracked(self) -> bool:
        """Whether it was executed elsewhere and only recorded here."""
        return self.run_type == self.EXTERNAL

    @property
    def end_words(self) -> str:
        """The end reason as people say it; empty while it runs and when it succeeded."""
        from runs.domain.status import WORDS

        reason = EndReason(self.end_reason)
        return "" if reason is EndReason.EXITED else WORDS[reason]

    def move_to(self, after: Status, *, now: datetime, **told: Unpack[Told]) -> bool:
        """Move the run to `after` if it still is where this row says; the only writer of status.

        One guarded update, and its `RunEvent` in the same transaction. With `token` it happens
        only while that attempt holds the run. `changes` are further columns set by the same
        update. A run that ends lets those start that waited for it or for its key. Returns whether
        it happened; this object is then up to date. Raises `IllegalMove`.
        """
        check_move(Status(self.status), after)
        with transaction.atomic(savepoint=False):
            moved = self.write_move(after, now=now, **told)
            if moved and after in FINAL:
                release_waiting(self, now)
        return moved

    def write_move(
        self,
        after: Status,
        *,
        now: datetime,
        reason: EndReason = EndReason.NONE,
        actor: str = "",
        user: User | None = None,
        text: str = "",
        token: str | None = None,
        changes: Mapping[str, Any] | None = None,
    ) -> bool:
        """The half of `move_to` that writes this run and its event, and releases nobody."""
        before = Status(self.status)
        check_move(before, after)
        columns: dict[str, Any] = {
            "status": after,
            "end_reason": reason,
            "phase": Phase.NONE,
            "token": "",
            **(changes or {}),
        }
        if after is not Status.QUEUED:
            columns |= {"hold": self.NO_HOLD, "held_until": None, "expires_at": None}
        if after in FINAL:
            columns.setdefault("ended_at", now)
            columns.setdefault("duration_s", max(0.0, (now - self.created_at).total_seconds()))
        guard = Run.objects.filter(pk=self.pk, status=before)
        if token is not None:
            guard = guard.filter(token=token)
        with transaction.atomic(savepoint=False):
            if not guard.update(**columns):
                return False
            RunEvent.objects.create(
                run=self,
                kind=RunEvent.MOVED,
                at=now,
                before=before,
                after=after,
                end_reason=reason,
                attempt_number=columns.get("attempt_number", self.attempt_number),
                user=user,
                actor=actor,
                text=text,
            )
        for name, value in columns.items():
            setattr(self, name, value)
        return True


class RunEvent(models.Model):
    """Something that happened to a run: a status change, a request to cancel, a warning."""

    SUBMITTED, MOVED, CANCEL_REQUESTED, NOTED = "submitted", "moved", "cancel requested", "noted"
    STOP_REQUESTED, RECORDED = "stop requested", "recorded"
    KINDS = [
        (kind, kind)
        for kind in (SUBMITTED, RECORDED, MOVED, CANCEL_REQUESTED, STOP_REQUESTED, NOTED)
    ]

    run = models.ForeignKey(Run, models.CASCADE, related_name="events")
    kind = models.CharField(max_length=24, choices=KINDS, default=MOVED)
    at = models.DateTimeField(default=timezone.now)
    before = models.CharField(max_length=16, blank=True)
    after = models.CharField(max_length=16, blank=True)
    end_reason = models.CharField(max_length=32, blank=True)
    attempt_number = models.PositiveSmallIntegerField(default=0)
    user = models.ForeignKey(User, models.SET_NULL, null=True, blank=True, related_name="+")
    actor = models.CharField(max_length=200, blank=True, help_text="Who, in words.")
    text = models.TextField(blank=True)

    class Meta:
        indexes = [models.Index(fields=["run", "id"], name="event_of_run")]

    def __str__(self) -> str:
        return f"{self.kind} {self.after}".strip()


class RunOption(models.Model):
    """An option in force for a run; narrow, so that lists sort and filter by any of them."""

    account = models.ForeignKey(Account, models.CASCADE, related_name="+")
    application = models.ForeignKey(Application, models.CASCADE, related_name="+")
    run = models.ForeignKey(Run, models.CASCADE, related_name="options")
    name = models.CharField(max_length=200)
    position = models.PositiveSmallIntegerField(default=0)
    text = models.TextField(blank=True, help_text="The value as it is passed.")
    short = models.CharField(max_length=200, blank=True, help_text="Its first 200 characters.")
    number = models.FloatField(null=True, blank=True)
    source = models.CharField(max_length=16, help_text="manifest, instance, run")
    passed = models.BooleanField(default=False)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["run", "name"], name="option_once_in_run")]
        indexes = [
            models.Index(
                fields=["account", "application", "name", "short", "-run"], name="option_by_text"
            ),
            models.Index(
                fields=["account", "application", "name", "number", "-run"],
                name="option_by_number",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name}={self.short}"


class RunMetric(models.Model):
    """A metric of a run, flattened; from its metrics or its statistics."""

    account = models.ForeignKey(Account, models.CASCADE, related_name="+")
    application = models.ForeignKey(Application, models.CASCADE, related_name="+")
    run = models.ForeignKey(Run, models.CASCADE, related_name="metrics")
    name = models.CharField(max_length=200)
    position = models.PositiveSmallIntegerField(default=0)
    text = models.CharField(max_length=500, blank=True)
    number = models.FloatField(null=True, blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["run", "name"], name="metric_once_in_run")]
        indexes = [
            models.Index(
                fields=["account", "application", "name", "number", "-run"],
                name="metric_by_number",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name}={self.text}"


class RunFile(models.Model):
    """A stored part of what a run produced: its result, its files, its documents.

    `role` says which part: `stdout` (as the program wrote it), `cleaned` (the JSON result with null
    for NaN and infinities, where there were any), `solution` (a file of the folder formats),
    `metrics` and `statistics` (strict JSON documents).
    """

    STDOUT, CLEANED, SOLUTION = "stdout", "cleaned", "solution"
    METRICS, STATISTICS = "metrics", "statistics"
    ROLES = [(role, role) for role in (STDOUT, CLEANED, SOLUTION, METRICS, STATISTICS)]

    run = models.ForeignKey(Run, models.CASCADE, related_name="files")
    role = models.CharField(max_length=16, choices=ROLES)
    number = models.PositiveIntegerField(default=0)
    path = models.CharField(max_length=1024)
    size_bytes = models.BigIntegerField()
    key = models.CharField(max_length=300)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["run", "role", "number"], name="run_file_number"),
        ]

    def __str__(self) -> str:
        return self.path


class Asset(models.Model):
    """Something a run declares to be shown or downloaded; its content is in the store.

    It is JSON, but for a `PAGE` that was drawn where an imported run comes from: a download only.
    """

    PAGE = "html"

    run = models.ForeignKey(Run, models.CASCADE, related_name="assets")
    asset_id = models.CharField(max_length=32, unique=True)
    number = models.PositiveIntegerField()
    name = models.CharField(max_length=300, blank=True)
    description = models.TextField(blank=True)
    content_type = models.CharField(max_length=64, blank=True)
    schema = models.CharField(max_length=16, blank=True, help_text="Empty: a download only.")
    visual_type = models.CharField(max_length=64, blank=True)
    label = models.CharField(max_length=300, blank=True)
    figures = models.PositiveIntegerField(default=0, help_text="How many its content holds.")
    warning = models.TextField(blank=True)
    size_bytes = models.BigIntegerField()
    key = models.CharField(max_length=300)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["run", "number"], name="asset_number")]

    def __str__(self) -> str:
        return self.label or self.name
