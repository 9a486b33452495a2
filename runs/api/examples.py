"""One story told in all shapes of the API: what the application `routing` sends and is answered.

The test of examples holds each against its schema, and against answers that the API really gave.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_AT = "2026-05-04T06:00:00.125000Z"
_LATER = "2026-05-04T06:00:12.480000Z"
_RUN = "5w1xk0q8r7m3c2e9"
_HOST = "https://runs.example.org"
_SIGNED = "expires=1777875300&signature=9f2c41d0"
_JSON = {"input": {"type": "json"}, "output": {"type": "json"}}
_STANDARD = {"type": "standard", "definition_id": "", "reference_id": ""}
_SUMMARY = [
    {"name": "seconds", "value": "10", "source": "run"},
    {"name": "vehicles", "value": "4", "source": "instance"},
]
_TIMES = {"created_at": _AT, "updated_at": _LATER}

_APPLICATION = {
    "id": "routing",
    "name": "Vehicle routing",
    "description": "Vans and their stops.",
    "type": "custom",
    "default_instance": "production",
    "default_experiment_instance": "",
    "locked": False,
    **_TIMES,
}
_REQUIREMENTS = {
    "executable_type": "python",
    "runtime": "ghcr.io/nextmv-io/runtime/python:3.11",
    "io_configuration": {"format": "json"},
    "options": {
        "strict": False,
        "validation": {"enforce": "all"},
        "items": [
            {
                "name": "seconds",
                "option_type": "int",
                "default": 5,
                "description": "How long it may search.",
                "required": False,
            }
        ],
        "format": {"template": ["-{{name}}", "{{value}}"]},
    },
    "entrypoint": "main.py",
}
_EXECUTABLE = {
    "id": "8c4ma2y6jt0vqz5h",
    "user_email": "ann@example.org",
    "uploaded_at": _AT,
    "requirements": _REQUIREMENTS,
}
_VERSION = {
    "id": "v3",
    "application_id": "routing",
    "name": "Third",
    "description": "Searches twice as fast.",
    "executable": _EXECUTABLE,
    **_TIMES,
}
_CONFIGURATION = {"options": {"vehicles": "4"}, "queuing": {"priority": 3, "disabled": False}}
_INSTANCE = {
    "id": "production",
    "application_id": "routing",
    "version_id": "v3",
    "name": "Production",
    "description": "",
    "configuration": _CONFIGURATION,
    "locked": False,
    **_TIMES,
}
_INPUT = {
    "id": "monday",
    "name": "Orders of Monday",
    "description": "",
    "upload_id": "2rj7t9k1p4x6b8d0",
    "format": _JSON,
    **_TIMES,
}
_SECRETS_SUMMARY = {
    "id": "maps",
    "application_id": "routing",
    "name": "Map service",
    "description": "",
    **_TIMES,
}
_SECRETS = {
    **_SECRETS_SUMMARY,
    "secrets": [{"type": "env", "location": "MAPS_TOKEN", "value": "********"}],
}
_INFORMATION = {
    "id": _RUN,
    "name": "Monday, 10 s",
    "description": "",
    "user_email": "ann@example.org",
    "console_url": f"{_HOST}/app/routing/run/{_RUN}",
    "metadata": {
        "application_id": "routing",
        "application_instance_id": "production",
        "application_version_id": "v3",
        "created_at": _AT,
        "initiated_at": "2026-05-04T06:00:00.310000Z",
        "duration": 12355.0,
        "execution_duration": 12010.0,
        "error": "",
        "format": _JSON,
        "input_size": 4812,
        "output_size": 9310,
        "status_v2": "succeeded",
        "run_type": _STANDARD,
        "execution_class": "",
        "runtime": "ghcr.io/nextmv-io/runtime/python:3.11",
        "queuing_priority": 3,
        "queuing_disabled": False,
        "options": {
            "active_options": {"seconds": "10", "vehicles": "4"},
            "request_options": {"seconds": "10"},
            "options_summary": _SUMMARY,
        },
        "metrics": {"value": 128.4, "stops": 42},
        "tracking": {"input_id": "monday"},
    },
    "phase": "",
    "end_reason": "",
    "detail": "",
    "warnings": [],
}
_ITEM = {
    "id": _RUN,
    "user_email": "ann@example.org",
    "name": "Monday, 10 s",
    "description": "",
    "created_at": _AT,
    "application_id": "routing",
    "application_instance_id": "production",
    "application_version_id": "v3",
    "run_type": _STANDARD,
    "execution_class": "",
    "runtime": "ghcr.io/nextmv-io/runtime/python:3.11",
    "status_v2": "succeeded",
    "queuing_priority": 3,
    "queuing_disabled": False,
    "input_id": "monday",
    "options": {"seconds": "10", "vehicles": "4"},
    "request_options": {"seconds": "10"},
    "options_summary": _SUMMARY,
    "metrics": {"status": "succeeded", "indicators": [{"name": "value", "value": 128.4}]},
}
_QUEUED = {
    name: _ITEM[name]
    for name in (
        *("id", "user_email", "name", "description", "created_at", "application_id"),
        *("application_instance_id", "application_version_id", "execution_class"),
    )
} | {"status_v2": "running"}

EXAMPLES: Mapping[str, Any] = {
    # What is sent, by the name of its schema
    "ApplicationIn": {
        "id": "routing",
        "name": "Vehicle routing",
        "description": "Vans and their stops.",
    },
    "ApplicationChange": {"default_instance": "production"},
    "Activation": {"requirements": _REQUIREMENTS},
    "VersionIn": {"id": "v3", "name": "Third", "description": "Searches twice as fast."},
    "VersionChange": {"name": "Third, in use since May"},
    "InstanceIn": {
        "id": "production",
        "version_id": "v3",
        "name": "Production",
        "configuration": _CONFIGURATION,
    },
    "InstanceChange": {"version_id": "v4"},
    "Lock": {"locked": True},
    "RunIn": {
        "input": {"vehicles": [{"id": "van-1"}], "stops": [{"id": "s1", "location": [7.6, 51.9]}]},
        "name": "Monday, 10 s",
        "options": {"seconds": "10"},
        "configuration": {"queuing": {"priority": 3}},
    },
    "ManagedInputIn": {
        "id": "monday",
        "name": "Orders of Monday",
        "upload_id": "2rj7t9k1p4x6b8d0",
        "format": _JSON,
    },
    "ManagedInputChange": {"name": "Orders of Monday, corrected"},
    "SecretsIn": {
        "id": "maps",
        "name": "Map service",
        "secrets": [{"type": "env", "location": "MAPS_TOKEN", "value": "a token"}],
    },
    "SecretsChange": {
        "operations": [
            {"op": "update", "type": "env", "location": "MAPS_TOKEN", "value": "a newer token"}
        ]
    },
    # What is answered
    "ApplicationOut": _APPLICATION,
    "ApplicationPage": {"items": [_APPLICATION]},
    "PushTicket": {"upload_url": f"{_HOST}/tickets/uploads/2rj7t9k1p4x6b8d0?{_SIGNED}"},
    "ExecutableOut": _EXECUTABLE,
    "VersionOut": _VERSION,
    "VersionPage": {"items": [_VERSION]},
    "InstanceOut": _INSTANCE,
    "InstancePage": {"items": [_INSTANCE]},
    "UploadTicket": {
        "upload_id": "2rj7t9k1p4x6b8d0",
        "upload_url": f"{_HOST}/tickets/uploads/2rj7t9k1p4x6b8d0?{_SIGNED}",
    },
    "RunCreated": {"run_id": _RUN},
    "RunState": {"run_id": _RUN, "status_v2": "canceled"},
    "RunInformation": _INFORMATION,
    "RunResult": {
        **_INFORMATION,
        "waits_for": [],
        "output": {
            "solution": {"vehicles": [{"id": "van-1", "route": ["s1", "s2"]}]},
            "metrics": {"value": 128.4, "stops": 42},
        },
    },
    "RunPage": {"runs": [_ITEM], "next_page_token": "YWZ0ZXIgNDI"},
    "Waits": {
        "waits_for": [
            {
                "run_id": "0b6n8s2d4f1g3h5j",
                "name": "Orders",
                "status_v2": "running",
                "open": True,
                "outcome": "",
                "policy": "fail",
            }
        ],
        "awaited_by": [],
    },
    "Estimate": {
        "status_v2": "queued",
        "expected_start": {
            "low": "2026-05-04T06:01:00.000000Z",
            "median": "2026-05-04T06:02:10.000000Z",
            "high": "2026-05-04T06:05:30.000000Z",
        },
        "expected_duration": {"low_s": 10.8, "median_s": 12.0, "high_s": 14.9, "runs": 31},
        "reason": "",
    },
    "LogOut": {"log": "reading 42 stops\nvalue 131.0\nvalue 128.4\n"},
    "LiveLog": {
        "items": [{"timestamp": "2026-05-04T06:00:04.250000Z", "log": "value 131.0\n"}],
        "status_v2": "running",
        "next_page_token": "1.29",
        "next_available_in_seconds": 1,
    },
    "AssetPage": {
        "items": [
            {
                "id": "7q3w5e1r9t2y4u6p",
                "name": "Routes",
                "created_at": _LATER,
                "size": 18212,
                "content_type": "json",
                "visual": {"schema": "geojson", "label": "Map", "type": "custom-tab"},
                "description": "",
            }
        ]
    },
    "AssetLink": {
        "download_url": f"{_HOST}/tickets/objects/7q3w5e1r9t2y4u6p.json?{_SIGNED}",
        "type": "json",
    },
    "ManagedInputOut": _INPUT,
    "ManagedInputPage": {"items": [_INPUT]},
    "SecretsSummary": _SECRETS_SUMMARY,
    "SecretsOut": _SECRETS,
    "SecretsPage": {"items": [_SECRETS_SUMMARY]},
    "QueueOut": {"runs": [_QUEUED]},
    "OrganizationOut": {
        "id": "planning",
        "name": "Planning",
        "members": [{"email": "ann@example.org", "role": "developer", "pending_invite": False}],
    },
    "Nothing": {"items": []},
    "Failure": {
        "error": "version 'v9' does not exist in application 'routing'",
        "status": 400,
    },
}
"""An example for each schema that is a body of a request or an answer."""
