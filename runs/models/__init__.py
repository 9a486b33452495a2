"""The tables of the product and the questions asked of them."""

from __future__ import annotations

from runs.models.accounts import Account, ApiKey, AuditEvent, Membership, SignInLink, User
from runs.models.applications import (
    Application,
    Environment,
    EnvironmentBuild,
    Executable,
    Instance,
    Version,
)
from runs.models.attempts import Attempt, EndedProcess, LogChunk, UsageSample
from runs.models.counters import Counter
from runs.models.inputs import InputData, InputFile, ManagedInput, Upload
from runs.models.queues import Lane, Queue
from runs.models.runs import Asset, Run, RunEvent, RunFile, RunMetric, RunOption
from runs.models.secrets import Secret, SecretsCollection
from runs.models.submissions import Submission
from runs.models.waits import RunWait
from runs.models.workers import LoopLease, Worker, WorkerBoot

__all__ = [
    "Account",
    "ApiKey",
    "Application",
    "Asset",
    "Attempt",
    "AuditEvent",
    "Counter",
    "EndedProcess",
    "Environment",
    "EnvironmentBuild",
    "Executable",
    "InputData",
    "InputFile",
    "Instance",
    "Lane",
    "LogChunk",
    "LoopLease",
    "ManagedInput",
    "Membership",
    "Queue",
    "Run",
    "RunEvent",
    "RunFile",
    "RunMetric",
    "RunOption",
    "RunWait",
    "Secret",
    "SecretsCollection",
    "SignInLink",
    "Submission",
    "Upload",
    "UsageSample",
    "User",
    "Version",
    "Worker",
    "WorkerBoot",
]
