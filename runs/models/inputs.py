"""Inputs by content, named ones, and uploads on their way."""

from __future__ import annotations

from django.db import models
from django.utils import timezone

from runs.models.accounts import Account, ApiKey, User
from runs.models.applications import FORMAT_CHOICES, Application


class InputData(models.Model):
    """The bytes of one input, stored once per account, format and content.

    `size_bytes` is the run's input size: the text as kept, or the sum of the files. `sha256` is
    over the text, or over the sorted list of names and hashes for the folder formats.
    """

    account = models.ForeignKey(Account, models.CASCADE, related_name="inputs")
    input_key = models.CharField(max_length=32, unique=True, help_text="Names it in the store.")
    content_format = models.CharField(max_length=16, choices=FORMAT_CHOICES)
    sha256 = models.CharField(max_length=64)
    size_bytes = models.BigIntegerField()
    file_count = models.PositiveIntegerField(default=1)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["account", "content_format", "sha256"], name="input_once_by_content"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.content_format}, {self.size_bytes} bytes"


class InputFile(models.Model):
    """One file of an input; `json` and `text` have one, named as it was uploaded."""

    input_data = models.ForeignKey(InputData, models.CASCADE, related_name="files")
    number = models.PositiveIntegerField()
    path = models.CharField(max_length=1024)
    size_bytes = models.BigIntegerField()
    key = models.CharField(max_length=300)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["input_data", "number"], name="input_file_number"),
        ]

    def __str__(self) -> str:
        return self.path


class ManagedInput(models.Model):
    """A named stored input of an application."""

    application = models.ForeignKey(Application, models.CASCADE, related_name="managed_inputs")
    input_id = models.CharField(max_length=128)
    name = models.CharField(max_length=200, blank=True)
    description = models.TextField(blank=True)
    input_data = models.ForeignKey(InputData, models.PROTECT, related_name="managed_inputs")
    output_format = models.CharField(max_length=16, blank=True, default="", db_default="")
    from_run = models.CharField(
        max_length=32, blank=True, default="", db_default="", help_text="The run it was copied of."
    )
    from_upload = models.CharField(
        max_length=32, blank=True, default="", db_default="", help_text="The upload it came by."
    )
    created_by = models.ForeignKey(User, models.SET_NULL, null=True, blank=True, related_name="+")
    created_at = models.DateTimeField(default=timezone.now)
    updated_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["application", "input_id"], name="managed_input_once_in_application"
            ),
        ]

    def __str__(self) -> str:
        return self.name or self.input_id


class Upload(models.Model):
    """Bytes that somebody sent and that may still become an input or an executable.

    A ticket makes the row, the bytes follow. A store that takes them itself tells nobody: then
    `completed_at` is set by the first who asks the store.
    """

    DATA, EXECUTABLE = "data", "executable"
    PURPOSES = [(name, name) for name in (DATA, EXECUTABLE)]

    account = models.ForeignKey(Account, models.CASCADE, related_name="uploads")
    application = models.ForeignKey(
        Application, models.CASCADE, null=True, blank=True, related_name="uploads"
    )
    purpose = models.CharField(max_length=16, choices=PURPOSES, default=DATA, db_default=DATA)
    upload_id = models.CharField(max_length=32, unique=True)
    file_name = models.CharField(max_length=300, blank=True)
    key = models.CharField(max_length=300)
    size_bytes = models.BigIntegerField(null=True, blank=True)
    sha256 = models.CharField(max_length=64, blank=True)
    created_by = models.ForeignKey(User, models.SET_NULL, null=True, blank=True, related_name="+")
    api_key = models.ForeignKey(ApiKey, models.SET_NULL, null=True, blank=True, related_name="+")
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField(null=True, blank=True, help_text="Of its ticket.")
    completed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        indexes = [models.Index(fields=["created_at"], name="upload_age")]

    def __str__(self) -> str:
        return self.file_name or self.upload_id
