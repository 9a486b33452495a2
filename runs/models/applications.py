"""Applications, their executables and environments, versions and instances."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils import timezone

from runs.domain.content import FORMATS
from runs.models.accounts import Account, User
from runs.models.limits import Limits

FORMAT_CHOICES = [(name, name) for name in FORMATS]


class Application(Limits):
    """A program that is run. `executable` is the one in use; runs of `latest` take it.

    What its settings leave empty is what the manifest of the executable says.
    """

    QUEUE, DROP, REPLACE, REUSE = "queue", "drop", "replace", "reuse"
    POLICIES = [(name, name) for name in (QUEUE, DROP, REPLACE, REUSE)]

    account = models.ForeignKey(Account, models.CASCADE, related_name="applications")
    application_id = models.CharField(max_length=128)
    name = models.CharField(max_length=200)
    description = models.TextField(blank=True)
    executable = models.ForeignKey(
        "Executable", models.SET_NULL, null=True, blank=True, related_name="+"
    )
    default_instance = models.ForeignKey(
        "Instance", models.SET_NULL, null=True, blank=True, related_name="+"
    )
    folder = models.CharField(
        max_length=1000, blank=True, help_text="The folder on the server it was registered from."
    )
    running_limit = models.PositiveIntegerField(
        null=True, blank=True, help_text="Runs of it at once; empty means no limit."
    )
    repeatable = models.BooleanField(
        default=True, help_text="Whether a run may be made again after a worker was lost."
    )
    slots = models.PositiveSmallIntegerField(
        null=True, blank=True, help_text="How many slots a run takes."
    )
    concurrency_expression = models.CharField(
        max_length=300,
        blank=True,
        default="",
        db_default="",
        help_text="What makes the key: text with names of options in braces, as `{region}`.",
    )
    concurrency_limit = models.PositiveIntegerField(
        null=True, blank=True, help_text="Runs of one key at once; empty means no limit."
    )
    concurrency_policy = models.CharField(
        max_length=16, blank=True, default="", db_default="", choices=POLICIES
    )
    retries = models.PositiveSmallIntegerField(null=True, blank=True)
    retry_on = models.CharField(
        max_length=300,
        blank=True,
        default="",
        db_default="",
        help_text="End reasons after which it is tried again, separated by spaces.",
    )
    retry_delay_s = models.FloatField(null=True, blank=True)
    experiment_instance_id = models.CharField(
        max_length=128,
        blank=True,
        default="",
        db_default="",
        help_text="The instance that experiments take when they name none.",
    )
    main_metric = models.CharField(max_length=200, blank=True)
    pinned = models.BooleanField(default=False)
    created_by = models.ForeignKey(User, models.SET_NULL, null=True, blank=True, related_name="+")
    created_at = models.DateTimeField(default=timezone.now)
    updated_at = models.DateTimeField(null=True, blank=True)
    archived_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["account", "application_id"], name="application_once_in_account"
            ),
        ]

    def __str__(self) -> str:
        return self.name or self.application_id


class Environment(models.Model):
    """The dependencies of executables, by content; each host builds its own once."""

    key = models.CharField(max_length=64, unique=True)
    requirements = models.JSONField(default=list)
    python_version = models.CharField(max_length=32, blank=True)
    platform = models.CharField(max_length=64, blank=True)
    created_at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return self.key[:12]


class EnvironmentBuild(models.Model):
    """An environment on one host: waiting, building, ready, failed."""

    WAITING, BUILDING, READY, FAILED = "waiting", "building", "ready", "failed"
    STATES = [(name, name) for name in (WAITING, BUILDING, READY, FAILED)]

    environment = models.ForeignKey(Environment, models.CASCADE, related_name="builds")
    host = models.CharField(max_length=255, blank=True, help_text="Empty until a worker takes it.")
    state = models.CharField(max_length=16, choices=STATES, default=WAITING)
    error = models.TextField(blank=True)
    log = models.TextField(blank=True, help_text="The newest 64 KiB.")
    worker_name = models.CharField(max_length=200, blank=True)
    boot_id = models.CharField(max_length=64, blank=True)
    requested_at = models.DateTimeField(default=timezone.now)
    started_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["environment", "host"], name="build_once_on_host"),
        ]
        indexes = [
            models.Index(fields=["state"], condition=~Q(state="ready"), name="builds_to_do"),
        ]

    def __str__(self) -> str:
        return f"{self.environment} on {self.host or 'no host yet'}: {self.state}"


class Executable(models.Model):
    """An uploaded build of an application: its archive in the store and its manifest.

    One that a program pushed is checked by a worker before it can be run: until then its archive
    is the upload as it came, its manifest is what the push declared, and its runs are held.
    """

    WAITING, CHECKING, READY, FAILED = "waiting", "checking", "ready", "failed"
    STATES = [(name, name) for name in (WAITING, CHECKING, READY, FAILED)]

    application = models.ForeignKey(Application, models.CASCADE, related_name="executables")
    executable_id = models.CharField(max_length=32, unique=True)
    number = models.PositiveIntegerField()
    archive_key = models.CharField(max_length=300)
    archive_bytes = models.BigIntegerField()
    sha256 = models.CharField(max_length=64)
    unpacked_bytes = models.BigIntegerField(default=0)
    file_count = models.PositiveIntegerField(default=0)
    manifest = models.JSONField(default=dict)
    warnings = models.JSONField(default=list)
    content_format = models.CharField(max_length=16, choices=FORMAT_CHOICES, default="json")
    platform = models.CharField(max_length=64, blank=True)
    environment = models.ForeignKey(
        Environment, models.PROTECT, null=True, blank=True, related_name="executables"
    )
    uploaded_by = models.ForeignKey(User, models.SET_NULL, null=True, blank=True, related_name="+")
    created_at = models.DateTimeField(default=timezone.now)
    state = models.CharField(max_length=16, choices=STATES, default=READY, db_default=READY)
    error = models.TextField(blank=True, default="", db_default="")
    upload = models.ForeignKey(
        "Upload", models.SET_NULL, null=True, blank=True, related_name="executables"
    )
    worker_name = models.CharField(max_length=200, blank=True, default="", db_default="")
    boot_id = models.CharField(max_length=64, blank=True, default="", db_default="")
    checked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["application", "number"], name="executable_number"),
        ]
        indexes = [
            models.Index(
                fields=["state", "id"],
                condition=Q(state__in=["waiting", "checking"]),
                name="executables_to_check",
            ),
        ]

    def __str__(self) -> str:
        return f"build {self.number} of {self.application}"


class Version(models.Model):
    """An immutable name for an executable."""

    application = models.ForeignKey(Application, models.CASCADE, related_name="versions")
    version_id = models.CharField(max_length=128)
    name = models.CharField(max_length=200, blank=True)
    description = models.TextField(blank=True)
    executable = models.ForeignKey(Executable, models.PROTECT, related_name="versions")
    created_by = models.ForeignKey(User, models.SET_NULL, null=True, blank=True, related_name="+")
    created_at = models.DateTimeField(default=timezone.now)
    updated_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["application", "version_id"], name="version_once_in_application"
            ),
        ]

    def __str__(self) -> str:
        return self.name or self.version_id


class Instance(models.Model):
    """A version with default options and a queue, ready to receive runs.

    Without a version it follows the newest executable. A locked one cannot be changed or deleted.
    """

    application = models.ForeignKey(Application, models.CASCADE, related_name="instances")
    instance_id = models.CharField(max_length=128)
    name = models.CharField(max_length=200, blank=True)
    description = models.TextField(blank=True)
    version = models.ForeignKey(
        Version, models.PROTECT, null=True, blank=True, related_name="instances"
    )
    options = models.JSONField(default=dict, blank=True)
    execution_class = models.CharField(max_length=64, blank=True)
    content_format = models.CharField(max_length=16, blank=True)
    output_format = models.CharField(max_length=16, blank=True, default="", db_default="")
    secrets = models.ForeignKey(
        "SecretsCollection", models.SET_NULL, null=True, blank=True, related_name="instances"
    )
    priority = models.PositiveSmallIntegerField(null=True, blank=True)
    queuing_disabled = models.BooleanField(default=False)
    time_limit_s = models.PositiveIntegerField(null=True, blank=True)
    locked = models.BooleanField(default=False)
    created_by = models.ForeignKey(User, models.SET_NULL, null=True, blank=True, related_name="+")
    created_at = models.DateTimeField(default=timezone.now)
    updated_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["application", "instance_id"], name="instance_once_in_application"
            ),
        ]

    def __str__(self) -> str:
        return self.name or self.instance_id
