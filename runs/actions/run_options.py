"""The options of a run: checked against the manifest, and written as rows."""

from __future__ import annotations

import math
from collections.abc import Mapping

from runs.domain.errors import OptionsInvalid
from runs.domain.manifest import Manifest
from runs.domain.options import ResolvedOption, check_amount, check_options, to_wire
from runs.models import Run, RunOption


def check_given(manifest: Manifest, values: Mapping[str, object], enforce: bool) -> list[str]:
    """Raise `OptionsInvalid`, or say in words what does not fit but is let through."""
    check_amount(values)
    errors = check_options(
        manifest.options.items,
        values,
        strict=manifest.options.strict,
        free_options=manifest.allows_free_options,
    )
    if not errors:
        return []
    declared = {item.name for item in manifest.options.items}
    unknown = {name for name in errors if name not in declared}
    if enforce or manifest.options.enforce == "all" or (manifest.options.strict and unknown):
        raise OptionsInvalid(errors)
    return [f"Option `{name}`: {text}" for name, texts in errors.items() for text in texts]


def write_options(run: Run, resolved: list[ResolvedOption]) -> None:
    """Write the options in force as rows, in their order."""
    rows = []
    for position, option in enumerate(resolved):
        text = "" if option.value is None else to_wire(option.value)
        rows.append(
            RunOption(
                account_id=run.account_id,
                application_id=run.application_id,
                run=run,
                name=option.name,
                position=position,
                text=text,
                short=text[:200],
                number=_number(option.value),
                source=option.source,
                passed=option.passed,
            )
        )
    RunOption.objects.bulk_create(rows)


def _number(value: object) -> float | None:
    """The number that lists sort by; numbers in strings count, as the wire has only strings."""
    if isinstance(value, bool) or value is None:
        return None
    try:
        number = float(value) if isinstance(value, int | float | str) else math.nan
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
