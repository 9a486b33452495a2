"""The admin panel: every table, searchable, with safe actions."""

from __future__ import annotations

from runs.admin import accounts, applications, attempts, inputs, queues, runs, secrets, workers

__all__ = ["accounts", "applications", "attempts", "inputs", "queues", "runs", "secrets", "workers"]
