"""A run from the browser and the same from the client differ in nothing but who started it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from runs.domain.options import to_wire
from tests.client.conftest import Live
from tests.journeys.consoles import EXAMPLES, Person

pytestmark = pytest.mark.process

OF_THE_RUN = {
    "id", "run_id", "created_at", "started_at", "ended_at", "duration_s", "execution_s", "cpu_s",
    "peak_memory_bytes", "value", "output_bytes", "log", "log_bytes", "metrics", "events", "ended",
}  # fmt: skip
WHO = {"source"}
INPUT = json.loads((EXAMPLES / "routing" / "input.json").read_text())


def comparable(found: dict[str, Any]) -> dict[str, Any]:
    """What is known of a run, without what differs between two runs of the same."""
    kept = {name: value for name, value in found.items() if name not in OF_THE_RUN | WHO}
    kept["attempts"] = [
        {"number": one["number"], "outcome": one["outcome"], "exit_code": one["exit_code"]}
        for one in found["attempts"]
    ]
    for name in ("files", "assets"):
        kept[name] = [(one.get("role"), one.get("path"), one.get("label")) for one in found[name]]
    kept["events"] = [(one["kind"], one["before"], one["after"]) for one in found["events"]]
    kept["metrics"] = sorted(found["metrics"])
    # A form has typed values, the wire has their texts; what is passed is in `options`.
    kept["requested_options"] = {
        name: to_wire(value) for name, value in found["requested_options"].items()
    }
    return kept


def test_a_run_from_the_browser_and_from_the_client_are_alike(
    embedded: Live, person: Person
) -> None:
    # As the client writes it: two texts of the same input may differ in blanks.
    text = json.dumps(INPUT, separators=(",", ":"))
    by_form = person.launch(
        "routing",
        {"vehicles": 3, "duration": 0.5},
        name="same",
        source="paste",
        text=text,
    )
    by_client = embedded.application("routing").new_run(
        input=INPUT, name="same", options={"vehicles": "3", "duration": "0.5"}
    )

    form = embedded.console.wait_for(by_form)
    client = embedded.console.wait_for(by_client)

    assert comparable(form) == comparable(client)
    assert (form["source"], client["source"]) == ("console", "api")
