"""compose.yaml: valid, and of nothing that does not exist; it cannot be started here."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from runsite.store_url import parse_store_url

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "compose.yaml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: one for name, one in SERVICES.items() if one["image"] == "runsite"}


def test_there_are_two_of_each_process_and_all_they_stand_on():
    replicas = {name: one.get("deploy", {}).get("replicas", 1) for name, one in OURS.items()}
    assert replicas == {"prepare": 1, "web": 2, "worker": 2, "scheduler": 2}
    assert set(SERVICES) - set(OURS) == {"proxy", "database", "broker", "store", "bucket"}
    assert {port.split(":")[0] for port in SERVICES["proxy"]["ports"]} == {"80", "443"}
    assert [name for name, one in SERVICES.items() if "ports" in one] == ["proxy"]


def test_commands_exist():
    commands = ROOT / "runs" / "management" / "commands"
    for name, one in OURS.items():
        words = one["command"].split()
        assert words[:2] == ["python", "manage.py"], name
        assert (commands / f"{words[2]}.py").is_file(), name


def test_every_variable_is_documented():
    documented = set(
        re.findall(r"^### `(RUNSITE_\w+)`", (ROOT / "docs" / "settings.md").read_text(), re.M)
    )
    for name, one in OURS.items():
        assert set(one["environment"]) - documented == set(), name
    assert set(re.findall(r"RUNSITE_[A-Z0-9_]+", TEXT)) - documented == set()


def test_the_store_is_an_address_that_is_understood():
    address = parse_store_url("RUNSITE_STORE_URL", OURS["web"]["environment"]["RUNSITE_STORE_URL"])
    assert address is not None
    assert address["bucket"] == "runsite"
    assert address["endpoint"] == "http://store:9000"
    assert address["presign"] is False  # nobody outside of the composition reaches it
    assert "mc mb --ignore-existing store/runsite" in SERVICES["bucket"]["entrypoint"][-1]


def test_secrets_are_asked_for_and_made_by_the_first_lines():
    [made] = re.findall(r"for name in ([A-Z_ ]+); do", TEXT)
    required = set(re.findall(r"\$\{(\w+):\?", TEXT))
    assert required <= set(made.split())
    for name, value in OURS["web"]["environment"].items():
        if name.endswith(("_KEY", "_PASSWORD", "_TOKEN")) and name != "RUNSITE_S3_ACCESS_KEY":
            assert value.startswith("${"), name


def test_what_services_name_is_there():
    for name, one in SERVICES.items():
        assert set(one.get("depends_on", ())) <= set(SERVICES), name
        for volume in one.get("volumes", ()):
            assert volume.split(":")[0] in COMPOSE["volumes"], name
    hosts = {"database", "broker", "store", "web"}
    assert hosts == set(re.findall(r"(?:@|//|--to )(database|broker|store|web)\b", TEXT))


def test_processes_share_no_folder():
    assert [name for name, one in OURS.items() if "volumes" in one] == []


def test_a_worker_has_time_to_drain():
    limit_s = float(OURS["worker"]["environment"]["RUNSITE_DRAIN_LIMIT_S"])
    assert float(OURS["worker"]["stop_grace_period"].rstrip("s")) > limit_s + 10
