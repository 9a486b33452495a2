"""Run folders for tests, as the published local tool writes them."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

OLD = time.time() - 3600
CREATED = "2026-05-01T10:00:00Z"


def information(run_id: str, **metadata: Any) -> dict[str, Any]:
    """What the information file of a run says; `metadata` goes over the usual values."""
    return {
        "id": run_id,
        "name": f"local run {run_id}",
        "description": "made by hand",
        "user_email": "",
        "console_url": "",
        "metadata": {
            "application_id": "routing",
            "application_instance_id": "",
            "application_version_id": "",
            "created_at": CREATED,
            "duration": 2500.0,
            "error": "",
            "execution_duration": 2500.0,
            "format": {"input": {"type": "json"}, "output": {"type": "json"}},
            "input_size": 0,
            "output_size": 0,
            "status_v2": "succeeded",
            "options": {
                "active_options": {"vehicles": "3"},
                "request_options": {"vehicles": "3"},
                "options_summary": [{"name": "vehicles", "source": "run", "value": "3"}],
            },
            **metadata,
        },
    }


def make_folder(
    runs: Path,
    run_id: str,
    files: dict[str, str | bytes | dict[str, Any]] | None = None,
    *,
    changed_at: float = OLD,
    document: Any = None,
    **metadata: Any,
) -> Path:
    """A run folder in `runs`; `files` by their paths in it, objects as JSON."""
    folder = runs / run_id
    told = {
        f"{run_id}.json": document if document is not None else information(run_id, **metadata),
        "inputs/input.json": {"stops": 3},
        "outputs/solutions/solution.json": {"solution": {"km": 9}},
        "logs/logs.log": "one\ntwo\n",
        **(files or {}),
    }
    for name, content in told.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, str | bytes):
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        else:
            path.write_text(json.dumps(content))
        os.utime(path, (changed_at, changed_at))
    return folder
