"""The command line of the published client over https: exit codes and texts."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.client.conftest import PROBE, PROBE_FILES, Live

pytestmark = pytest.mark.process

Done = subprocess.CompletedProcess[str]


@dataclass
class Shell:
    """Calls `nextmv cloud …` for one application; what it wrote is looked at without its breaks."""

    live: Live
    app: str

    def run(self, *words: str, given: str | None = None, terminal: bool = False) -> Done:
        """The command with these words and `--app-id`, whatever comes of it."""
        return self.live.cli("cloud", *words, "--app-id", self.app, given=given, terminal=terminal)

    def ok(self, *words: str, given: str | None = None, terminal: bool = False) -> Done:
        """The same; it must end with code 0."""
        done = self.run(*words, given=given, terminal=terminal)
        assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
        return done

    def json(self, *words: str, given: str | None = None, terminal: bool = False) -> Any:
        """The same; what it printed as JSON."""
        return json.loads(self.ok(*words, given=given, terminal=terminal).stdout)

    def refused(self, *words: str, given: str | None = None) -> str:
        """The same; it must end with another code. What it said."""
        done = self.run(*words, given=given)
        assert done.returncode != 0, done.stdout + done.stderr
        return said(done)


def said(done: Done) -> str:
    """What a command wrote for people, in one line."""
    return " ".join((done.stderr + done.stdout).split())


def at_once(*calls: Any) -> list[Any]:
    """The answers of calls that do not need each other; each starts a Python of its own."""
    with ThreadPoolExecutor(2) as pool:
        return [each.result() for each in [pool.submit(call) for call in calls]]


@pytest.fixture(scope="module")
def shell(tls: Live) -> Iterator[Shell]:
    """The application `shell`, made and pushed by the command line, with `v1` and `main`."""
    found = Shell(tls, "shell")
    done = found.ok(
        *("app", "push", "--app-dir", str(PROBE), "--version-id", "v1"),
        *("--create-instance-id", "main"),
    )
    # An application that is not there is made, as `app push` says.
    assert "application with ID shell does not exist" in said(done)
    assert "shell created successfully" in said(done)
    assert "Successfully pushed to application: shell" in said(done)
    assert "New version v1 created for application shell" in said(done)
    assert "New instance main created using version v1" in said(done)
    assert json.loads(done.stdout) == {
        "app_id": "shell",
        "endpoint": tls.base,
        "instance_url": "v1/applications/shell/runs?instance_id=latest",
    }
    yield found
    assert found.ok("app", "delete", "--yes")


@pytest.fixture(scope="module")
def ended(shell: Shell) -> str:
    """A run that has succeeded; its id."""
    result = shell.json(
        *("run", "create", "--wait", "--name", "Shell", "--description", "of the tests"),
        *("--options", "label=x,lines=2", "--instance-id", "main", "--priority", "3"),
        given='{"a": [1, 2]}',
    )
    assert (result["name"], result["description"]) == ("Shell", "of the tests")
    assert result["output"]["solution"]["given"] == {"a": [1, 2]}
    assert result["output"]["solution"]["arguments"] == ["-lines", "2", "-label", "x"]
    metadata = result["metadata"]
    assert metadata["status_v2"] == "succeeded"
    assert (metadata["application_instance_id"], metadata["application_version_id"]) == (
        *("main", "v1"),
    )
    assert metadata["queuing_priority"] == 3
    return str(result["id"])


def test_a_run_is_created_and_waited_for(ended: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9._-]+", ended)


def test_a_run_is_followed_while_it_is_created(shell: Shell, tmp_path: Path) -> None:
    done = shell.ok(
        *("run", "create", "--tail", "--logs", str(tmp_path / "log.txt")),
        *("--output", str(tmp_path / "out.json"), "--options", "lines=20"),
        given="{}",
    )

    wanted = ["begin echo", *(f"line {number}" for number in range(20)), "end"]
    shown = re.findall(r"\] (begin echo|line \d+|end)$", done.stderr, re.MULTILINE)
    assert shown == wanted, done.stderr
    assert (tmp_path / "log.txt").read_text().splitlines() == wanted
    saved = json.loads((tmp_path / "out.json").read_text())
    assert saved["output"]["solution"]["given"] == {}


def test_a_file_and_a_directory_are_uploaded(tls: Live, shell: Shell, tmp_path: Path) -> None:
    # Contract 5.19: no instance, no format. The CLI uploads every file.
    (tmp_path / "input.json").write_text('{"from": "a file"}')
    (tmp_path / "in" / "deep").mkdir(parents=True)
    (tmp_path / "in" / "deep" / "a.txt").write_text("a")
    files = Shell(tls, "files")
    files.ok("app", "push", "--app-dir", str(PROBE_FILES), "--version-no")

    result, done = at_once(
        lambda: shell.json("run", "create", "--wait", "--input", str(tmp_path / "input.json")),
        lambda: files.ok(
            *("run", "create", "--wait", "--input", str(tmp_path / "in")),
            *("--output", str(tmp_path / "out")),
        ),
    )

    assert result["output"]["solution"]["given"] == {"from": "a file"}
    assert "Run outputs saved to" in said(done)
    assert (tmp_path / "out" / "copy0" / "deep" / "a.txt").read_text() == "A"
    metadata = json.loads(done.stdout)["metadata"]
    assert metadata["status_v2"] == "succeeded"
    assert metadata["format"]["output"] == {"type": "multi-file"}
    # What is refused is said in our words.
    words = files.refused(
        "run", "create", "--input", str(tmp_path / "in"), "--options", "speed=3,copies=9"
    )
    assert "You made a bad request" in words
    assert "speed" in words
    files.ok("app", "delete", "--yes")


def test_a_refused_request_shows_our_sentence(shell: Shell) -> None:
    words, version = at_once(
        lambda: shell.refused("run", "create", "--execution-class", "16c90gb", given="{}"),
        lambda: shell.refused("instance", "create", "--version-id", "v9", "-i", "x"),
    )

    assert "You made a bad request" in words
    assert "16c90gb" in words
    assert "default" in words
    assert "v9" in version


def test_logs_are_shown_and_followed(shell: Shell, ended: str, tmp_path: Path) -> None:
    log, tailed, saved = at_once(
        lambda: shell.ok("run", "logs", "--run-id", ended),
        lambda: shell.ok("run", "logs", "--run-id", ended, "--tail"),
        lambda: shell.ok("run", "logs", "--run-id", ended, "--output", str(tmp_path / "log.txt")),
    )

    assert log.stderr.splitlines()[-5:-1] == ["begin echo", "line 0", "line 1", "end"]
    shown = re.findall(r"\] (begin echo|line \d|end)$", tailed.stderr, re.MULTILINE)
    assert shown == ["begin echo", "line 0", "line 1", "end"]
    assert "Run logs written to" in said(saved)
    assert (tmp_path / "log.txt").read_text() == "begin echo\nline 0\nline 1\nend\n"


def test_a_run_is_read(shell: Shell, ended: str, tmp_path: Path) -> None:
    result, information, given, listed = at_once(
        lambda: shell.json("run", "get", "--run-id", ended),
        lambda: shell.json("run", "information", "--run-id", ended),
        lambda: shell.json("run", "input", "--run-id", ended),
        lambda: shell.json("run", "list", "--status", "succeeded"),
    )

    assert result["output"]["solution"]["given"] == {"a": [1, 2]}
    assert result["metadata"]["metrics"] == result["output"]["metrics"]
    assert information["metadata"]["status_v2"] == "succeeded"
    assert information["metadata"]["options"]["request_options"] == {"label": "x", "lines": "2"}
    assert given == {"a": [1, 2]}
    assert ended in [run["id"] for run in listed]
    assert {run["status_v2"] for run in listed} == {"succeeded"}
    missing = shell.refused("run", "get", "--run-id", "none-such")
    assert "404" in missing or "not found" in missing.lower()


def tracked(shell: Shell, folder: Path, number: int) -> str:
    """Track a run that succeeded; its id."""
    for name, content in (
        ("output", {"solution": {"b": number}}),
        ("metrics", {"cost": 1.5 * number}),
        ("assets", [{"name": "table", "content_type": "json", "content": {"rows": []}}]),
    ):
        (folder / f"{name}.json").write_text(json.dumps(content))
    (folder / "log.txt").write_text("one\ntwo\n")
    # Contract 5.25: the input by stdin; with `--input` the client fails where no terminal is.
    found = shell.json(
        *("run", "track", "--status", "succeeded", "--duration", str(100 * number)),
        *("--output", str(folder / "output.json"), "--logs", str(folder / "log.txt")),
        *("--metrics", str(folder / "metrics.json"), "--assets", str(folder / "assets.json")),
        *("--name", f"Tracked {number}", "--content-format", "json"),
        given='{"a": 1}',
    )
    return str(found["run_id"])


def test_runs_are_tracked_and_compared(shell: Shell, ended: str, tmp_path: Path) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
    runs = at_once(lambda: tracked(shell, folders[0], 1), lambda: tracked(shell, folders[1], 2))
    result, log, flat, table, nested = at_once(
        lambda: shell.json("run", "get", "--run-id", runs[0]),
        lambda: shell.ok("run", "logs", "--run-id", runs[0]),
        lambda: shell.json("run", "compare", "--run-ids", ",".join(runs), "--flat"),
        lambda: shell.ok("run", "compare", "--run-ids", runs[0], "--run-ids", runs[1]),
        lambda: shell.run("run", "compare", "--run-ids", f"{runs[0]},{ended}"),
    )

    assert result["name"] == "Tracked 1"
    assert result["output"] == {"solution": {"b": 1}}
    metadata = result["metadata"]
    assert (metadata["status_v2"], metadata["duration"]) == ("succeeded", 100)
    assert metadata["run_type"]["type"] == "external"
    assert metadata["application_instance_id"] == "latest"
    assert metadata["metrics"] == {"cost": 1.5}
    assert log.stderr.splitlines()[-3:-1] == ["one", "two"] or "one\ntwo" in log.stderr
    assert "cost" in json.dumps(flat)
    for word in ("Metrics", "cost", "1.5", "3.0", "succeeded", *runs):
        assert word in table.stdout, table.stdout
    # Contract 5.8 and section 7: nested metrics cannot be compared by this client.
    assert nested.returncode != 0
    assert "unhashable" in said(nested)


def test_a_failed_run_is_tracked_with_its_message(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "output.json").write_text("{}")
    (tmp_path / "input.json").write_text("{}")
    (tmp_path / "log.txt").write_text("[info] hello\n[/end] bye\n")

    found, closed = at_once(
        lambda: shell.json(
            *("run", "track", "--status", "failed", "--error-msg", "no plan was found"),
            *("--duration", "7", "--output", str(tmp_path / "output.json")),
            *("--content-format", "json", "--logs", str(tmp_path / "log.txt")),
            given="{}",
        ),
        lambda: shell.run(
            *("run", "track", "--status", "succeeded", "--input", str(tmp_path / "input.json")),
            *("--output", str(tmp_path / "output.json"), "--content-format", "json"),
        ),
    )
    run = ("--run-id", found["run_id"])
    information, shown, _saved = at_once(
        lambda: shell.json("run", "information", *run),
        lambda: shell.run("run", "logs", *run),
        lambda: shell.ok("run", "logs", *run, "--output", str(tmp_path / "saved.txt")),
    )

    assert information["metadata"]["status_v2"] == "failed"
    assert information["metadata"]["error"] == "no plan was found"
    # docs/api.md: the command line takes words in brackets for colors; a file has all of it.
    assert shown.returncode != 0
    assert "closing tag '[/end]'" in said(shown)
    assert (tmp_path / "saved.txt").read_text() == "[info] hello\n[/end] bye\n"
    # Contract 5.25: a closed stdin is taken for the input.
    assert closed.returncode != 0
    assert "stdin" in said(closed)


def test_a_run_is_cloned(shell: Shell, ended: str) -> None:
    same, other, closed = at_once(
        lambda: shell.json("run", "clone", "--cloned-run-id", ended, "--wait", terminal=True),
        lambda: shell.json("run", "clone", "--cloned-run-id", ended, "--wait", given='{"b": 3}'),
        lambda: shell.run("run", "clone", "--cloned-run-id", ended),
    )

    assert (same["name"], other["name"]) == ("Shell clone", "Shell clone")
    assert same["output"]["solution"]["given"] == {"a": [1, 2]}
    assert other["output"]["solution"]["given"] == {"b": 3}
    assert same["metadata"]["tracking"]["cloned_run_id"] == ended
    assert same["metadata"]["application_instance_id"] == "main"
    assert same["metadata"]["options"]["request_options"]["label"] == "x"
    # docs/api.md: without a terminal and without input the client stops before it asks us.
    assert closed.returncode != 0
    assert "not NoneType" in said(closed)


def test_a_run_is_canceled_and_deleted(shell: Shell) -> None:
    run_id = shell.json("run", "create", "--options", "sleep=600", given="{}")["run_id"]

    done = shell.ok("run", "cancel", "--run-id", run_id)
    assert f"Run {run_id} canceled" in said(done)
    result = shell.json("run", "get", "--run-id", run_id, "--wait")
    assert result["metadata"]["status_v2"] == "canceled"
    listed = shell.json("run", "list", "--status", "canceled", "--no-pagination")
    assert [run["id"] for run in listed] == [run_id]
    assert f"Run {run_id} from application shell deleted" in said(
        shell.ok("run", "delete", "--run-id", run_id, "--yes")
    )
    assert shell.json("run", "list", "--status", "canceled") == []


def test_applications_versions_and_instances(tls: Live, shell: Shell) -> None:
    made = shell.json("version", "create", "--version-id", "v2", "--name", "Second")
    assert (made["id"], made["name"], made["description"]) == ("v2", "Second", "")
    updated, versions, instance = at_once(
        lambda: shell.json("version", "update", "--version-id", "v2", "--name", "Renamed"),
        lambda: shell.json("version", "list"),
        lambda: shell.json(
            *("instance", "create", "--version-id", "v2", "--instance-id", "second"),
            *("--options", "label=instance", "--priority", "2", "--execution-class", "default"),
        ),
    )
    assert updated["name"] == "Renamed"
    assert [one["id"] for one in versions] == ["v1", "v2"]
    assert instance["configuration"]["options"] == {"label": "instance"}
    assert instance["configuration"]["queuing"]["priority"] == 2
    locked = shell.json("instance", "update", "--instance-id", "second", "--locked")
    assert locked["locked"] is True
    refused = shell.refused("instance", "delete", "--instance-id", "second", "--yes")
    # 409: the sentence is ours.
    assert "locked" in refused
    assert shell.json("instance", "update", "-i", "second", "--unlocked")["locked"] is False
    instances, latest, exists, apps = at_once(
        lambda: shell.json("instance", "list"),
        lambda: shell.json("instance", "get", "--instance-id", "latest"),
        lambda: shell.run("instance", "exists", "--instance-id", "nowhere"),
        lambda: json.loads(tls.cli("cloud", "app", "list").stdout),
    )
    assert [one["id"] for one in instances] == ["main", "second"]
    assert latest["version_id"] == "latest"
    assert (exists.returncode, json.loads(exists.stdout)) == (1, {"exists": False})
    assert "shell" in [one["id"] for one in apps]
    shell.ok("instance", "delete", "--instance-id", "second", "--yes")
    shell.ok("version", "delete", "--version-id", "v2", "--yes")


def test_uploads_and_managed_inputs(shell: Shell, ended: str, tmp_path: Path) -> None:
    ticket = shell.json("upload", "create")
    assert ticket["upload_url"].startswith(shell.live.base + "/")
    done = shell.ok("data", "upload", "--upload-url", ticket["upload_url"], given='{"by": "hand"}')
    assert "Data uploaded successfully" in said(done)
    # docs/api.md: without a terminal `--input` is ignored and nothing is sent. We say so later.
    (tmp_path / "input.json").write_text('{"lost": true}')
    lost = shell.json("upload", "create")
    shell.ok(
        *("data", "upload", "--upload-url", lost["upload_url"]),
        *("--input", str(tmp_path / "input.json")),
    )
    assert "You made a bad request" in shell.refused(
        "managed-input", "create", "-m", "lost", "-u", lost["upload_id"]
    )
    of_upload, of_run = at_once(
        lambda: shell.json(
            *("managed-input", "create", "-m", "hand", "-u", ticket["upload_id"], "-n", "Hand")
        ),
        lambda: shell.json("managed-input", "create", "-m", "run", "--run-id", ended),
    )
    assert (of_upload["id"], of_upload["name"]) == ("hand", "Hand")
    assert of_run["id"] == "run"
    result, listed = at_once(
        lambda: shell.json("run", "create", "--managed-input-id", "hand", "--wait"),
        lambda: shell.json("managed-input", "list"),
    )
    assert result["output"]["solution"]["given"] == {"by": "hand"}
    assert result["metadata"]["tracking"]["input_id"] == "hand"
    assert {one["id"] for one in listed} == {"hand", "run"}
    renamed = shell.json("managed-input", "update", "-m", "hand", "--name", "Other")
    assert renamed["name"] == "Other"
    shell.ok("managed-input", "delete", "-m", "run", "--yes")


def test_secrets_and_account(tls: Live, shell: Shell) -> None:
    secret = {"type": "env", "location": "PROBE_SECRET", "value": "hidden-cli"}
    made, account = at_once(
        lambda: shell.json(
            *("secrets", "create", "-s", "keys", "--name", "Keys", "-e", json.dumps(secret))
        ),
        lambda: json.loads(tls.cli("cloud", "account", "get", "-a", "demo").stdout),
    )
    assert (made["id"], made["name"]) == ("keys", "Keys")
    assert account["id"] == "demo"
    result, listed, changed = at_once(
        lambda: shell.json("run", "create", "--wait", "--secret-collection-id", "keys", given="{}"),
        lambda: shell.ok("secrets", "list"),
        lambda: shell.json("secrets", "update", "-s", "keys", "--name", "Renamed"),
    )
    assert result["output"]["solution"]["secret"] == "hidden-cli"
    assert [one["id"] for one in json.loads(listed.stdout)] == ["keys"]
    assert "hidden-cli" not in listed.stdout
    assert changed["name"] == "Renamed"
    shell.ok("secrets", "delete", "-s", "keys", "--yes")


def test_what_the_command_line_cannot_do_is_its_own_defect(tls: Live) -> None:
    """Section 7 of the contract, and docs/api.md: we learn it when a release mends these."""
    nextmv = str(Path(sys.executable).with_name("nextmv"))

    def with_endpoint(endpoint: str) -> Done:
        return subprocess.run(
            [nextmv, "cloud", "app", "list"],
            env=tls.environment(
                NEXTMV_API_KEY=tls.secret, NEXTMV_ENDPOINT=endpoint, COLUMNS="200", NO_COLOR="1"
            ),
            cwd=tls.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
        )

    host = tls.base.partition("://")[2]
    with_scheme, without = at_once(lambda: with_endpoint(tls.base), lambda: with_endpoint(host))

    assert with_scheme.returncode != 0
    assert "endpoint" in said(with_scheme)
    assert without.returncode == 0, said(without)
    assert isinstance(json.loads(without.stdout), list)
