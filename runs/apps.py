"""The app's configuration."""

from __future__ import annotations

from django.apps import AppConfig


class RunsConfig(AppConfig):
    """The one app; its system checks are registered when it is ready."""

    name = "runs"
    default_auto_field = "django.db.models.BigAutoField"
    verbose_name = "Runsite"

    def ready(self) -> None:
        """Register the system checks."""
        from runs import checks  # noqa: F401
