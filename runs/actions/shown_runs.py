"""Runs with what is told of them again and again, and no more."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, cast

from django.db.models import Field, Model

from runs.models import Account, Run

RELATED: dict[str, tuple[str]] = {
    "instance": ("instance_id",),
    "version": ("version_id",),
    "managed_input": ("input_id",),
    "cloned_from": ("run_id",),
    "submitted_by": ("email",),
    "secrets": ("collection_id",),
}
_OWN = (
    *("run_id", "name", "description", "status", "phase", "end_reason", "error", "detail"),
    *("warnings", "execution_class", "priority", "queuing_disabled", "run_type", "runtime"),
    *("input_format", "output_format", "requested_options", "batch_experiment_id", "source"),
    *("former_instance_id", "former_version_id", "created_at", "started_at", "ended_at"),
    *("duration_s", "execution_s", "input_bytes", "output_bytes", "result_kind", "account"),
    *("application", "attempt_number"),
)
COLUMNS = (
    *_OWN,
    *RELATED,
    *(f"{relation}__{name}" for relation, names in RELATED.items() for name in names),
)
"""What is told of a run. It has twice as many columns."""


def find_shown(account: Account, application_id: str, run_id: str) -> Run | None:
    """The run of this application with `COLUMNS`, the related ones included. One query."""
    rows = Run.objects.raw(_statement(), [run_id, account.pk, application_id])
    run = next(iter(rows), None)
    if run is None:
        return None
    for relation, (name,) in RELATED.items():
        value = vars(run).pop(f"shown_{relation}")
        known = None
        if value is not None:
            values = (getattr(run, f"{relation}_id"), value)
            known = _model(relation).from_db(run._state.db, ("id", name), values)
        run._state.fields_cache[relation] = known
    return run


@lru_cache(maxsize=1)
def _statement() -> str:
    """The question for one run, in words of our own and kept.

    Programs ask it again and again, and putting it into words takes Django several times as long as
    the database takes to answer.
    """
    names = ("id", *_OWN, *(f"{relation}_id" for relation in RELATED))
    columns = [f"run.{_column(name)}" for name in names]
    joins = []
    for relation, (name,) in RELATED.items():
        table = _model(relation)._meta.db_table
        columns.append(f"{relation}.{name} AS shown_{relation}")
        joins.append(f"LEFT JOIN {table} {relation} ON {relation}.id = run.{relation}_id")
    return f"""
        SELECT {", ".join(columns)} FROM runs_run run
        JOIN runs_application application ON application.id = run.application_id
        {" ".join(joins)}
        WHERE run.run_id = %s AND run.account_id = %s AND application.application_id = %s
    """


def _column(name: str) -> str:
    return str(cast("Field[Any, Any]", Run._meta.get_field(name)).column)


def _model(relation: str) -> type[Model]:
    return cast("type[Model]", Run._meta.get_field(relation).related_model)
