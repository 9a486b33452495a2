"""The MCP server of the published client, by stdio and by HTTP, asked by the `mcp` library."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

from tests.client.conftest import PROBE, Live
from tests.journeys.consoles import free_port
from tests.processes import until

pytestmark = pytest.mark.process

SERVE = [str(Path(sys.executable).with_name("nextmv")), "mcp", "serve"]
LIMIT_S = 180.0


class Assistant:
    """Calls tools, as an assistant does; `said` is what the MCP server wrote for its own people."""

    def __init__(self, client: Client, log: Path) -> None:
        self.client = client
        self.log = log

    async def call(self, tool: str, **words: Any) -> Any:
        """What a tool answers; it must not fail."""
        answer = await self.client.call_tool(tool, words)
        assert not answer.is_error, f"{tool}: {answer.content}\n{self.said[-4000:]}"
        content = answer.structured_content
        assert content is not None, tool
        return content["result"] if set(content) == {"result"} else content

    async def failing(self, tool: str, **words: Any) -> str:
        """The text of a tool that fails."""
        answer = await self.client.call_tool(tool, words)
        assert answer.is_error, f"{tool}: {answer.structured_content}"
        return " ".join(getattr(part, "text", "") for part in answer.content)

    async def file(self, tool: str, **words: Any) -> Path:
        """The file that a tool has written; the answer is `Downloaded: …` or `Cached: …`."""
        answer = await self.call(tool, **words)
        return Path(answer.partition(": ")[2])

    @property
    def said(self) -> str:
        """The standard error of the MCP server, with its boxes taken off and in one line."""
        lines = self.log.read_text().splitlines()
        return " ".join(" ".join(line.replace("│", " ").split()) for line in lines)


@contextlib.asynccontextmanager
async def by_stdio(live: Live, folder: Path) -> AsyncIterator[Assistant]:
    """An assistant whose program starts the MCP server itself."""
    server = StdioServerParameters(
        command=SERVE[0], args=SERVE[1:], env=_environment(live, folder), cwd=folder
    )
    log = folder / "stderr.txt"
    with log.open("w") as errors:
        async with Client(
            stdio_client(server, errlog=errors), read_timeout_seconds=LIMIT_S
        ) as client:
            yield Assistant(client, log)


@contextlib.asynccontextmanager
async def by_http(live: Live, folder: Path) -> AsyncIterator[Assistant]:
    """An assistant that talks to an MCP server that runs already."""
    port = free_port()
    log = folder / "stderr.txt"
    with log.open("w") as errors:
        process = subprocess.Popen(
            [*SERVE, "--transport", "streamable-http", "--port", str(port)],
            env=_environment(live, folder),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=errors,
            stderr=errors,
        )
    try:
        await asyncio.to_thread(until, lambda: "running on" in log.read_text(), 120)
        async with Client(f"http://127.0.0.1:{port}/mcp", read_timeout_seconds=LIMIT_S) as client:
            yield Assistant(client, log)
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(20)


def _environment(live: Live, folder: Path) -> dict[str, str]:
    return live.environment(
        HOME=str(folder),
        NEXTMV_API_KEY=live.secret,
        NEXTMV_ENDPOINT=live.base,
        # Its messages are drawn in boxes: wide ones, so that no sentence is broken.
        COLUMNS="400",
        NO_COLOR="1",
    )


Way = Callable[[Live, Path], contextlib.AbstractAsyncContextManager[Assistant]]
Story = Callable[[Assistant], Awaitable[None]]


def tell(way: Way, live: Live, folder: Path, story: Story) -> None:
    """Run a story with an assistant."""

    async def whole() -> None:
        async with way(live, folder) as assistant:
            await story(assistant)

    asyncio.run(asyncio.wait_for(whole(), 400))


@pytest.mark.parametrize("way", [by_stdio, by_http], ids=["stdio", "http"])
def test_an_assistant_pushes_runs_and_reads(embedded: Live, tmp_path: Path, way: Way) -> None:
    async def story(assistant: Assistant) -> None:
        tools = {tool.name for tool in (await assistant.client.list_tools()).tools}
        assert {"cloud_push_app", "cloud_run", "cloud_run_result", "cloud_run_logs"} <= tools
        assert len(tools) > 80
        call, app = assistant.call, {"app_id": "assistant"}

        assert await call("cloud_app_exists", **app) is False
        made = await call("cloud_create_app", name="Assistant", **app)
        assert (made["id"], made["name"]) == ("assistant", "Assistant")
        assert await call("cloud_app_exists", **app) is True
        pushed = await call("cloud_push_app", app_dir=str(PROBE), **app)
        assert "application assistant" in pushed

        saved = await assistant.file(
            "cloud_run", input={"a": 1}, run_options={"label": "x", "lines": "2"}, **app
        )
        result = json.loads(saved.read_text())
        assert result["output"]["solution"]["given"] == {"a": 1}
        assert result["output"]["solution"]["arguments"] == ["-lines", "2", "-label", "x"]
        run = {"run_id": result["id"], **app}
        status = await call("cloud_run_status", **run)
        assert status["metadata"]["status_v2"] == "succeeded"
        assert await assistant.file("cloud_run_result", **run) == saved
        given = await assistant.file("cloud_run_input", **run)
        assert json.loads(given.read_text()) == {"a": 1}
        log = await assistant.file("cloud_run_logs", **run)
        assert log.read_text() == "begin echo\nline 0\nline 1\nend\n"
        [listed] = await call("cloud_list_runs", status="succeeded", **app)
        assert listed["id"] == run["run_id"]

        sleeping = await call("cloud_run_submit", input={}, run_options={"sleep": "600"}, **app)
        assert "Cancelled" in await call("cloud_cancel_run", run_id=sleeping, **app)
        canceled = await call("cloud_run_status", run_id=sleeping, **app)
        assert canceled["metadata"]["status_v2"] in {"running", "canceled"}
        for _ in range(200):
            canceled = await call("cloud_run_status", run_id=sleeping, **app)
            if canceled["metadata"]["status_v2"] == "canceled":
                break
            await asyncio.sleep(0.2)
        assert canceled["metadata"]["status_v2"] == "canceled"
        await call("cloud_delete_app", **app)

    tell(way, embedded, tmp_path, story)


def test_an_assistant_manages_and_tracks(embedded: Live, tmp_path: Path) -> None:
    folder = tmp_path / "program"
    shutil.copytree(PROBE, folder)

    async def story(assistant: Assistant) -> None:
        call, app = assistant.call, {"app_id": "managed"}
        await call("cloud_create_app", name="Managed", **app)
        await call("cloud_push_app", app_dir=str(folder), **app)
        version = await call("cloud_create_version", version_id="v1", name="First", **app)
        assert version["executable"]["requirements"]["executable_type"] == "python"
        instance = await call(
            "cloud_create_instance", version_id="v1", instance_id="main", name="Main", **app
        )
        assert instance["version_id"] == "v1"
        renamed = await call("cloud_update_instance", instance_id="main", name="Other", **app)
        assert renamed["name"] == "Other"
        [listed] = await call("cloud_list_instances", **app)
        assert listed["id"] == "main"
        await call("cloud_create_managed_input", managed_input_id="m", input={"q": 1}, **app)
        saved = await assistant.file("cloud_run", managed_input_id="m", instance_id="main", **app)
        result = json.loads(saved.read_text())
        assert result["output"]["solution"]["given"] == {"q": 1}
        assert result["metadata"]["application_instance_id"] == "main"

        # What it ran on its own machine is tracked here.
        await call("local_run", app_dir=str(folder), input={"here": 1})
        await call("local_sync", app_dir=str(folder), cloud_app_id="managed", instance_id="latest")
        [tracked] = [
            run
            for run in await call("cloud_list_runs", **app)
            if run["run_type"]["type"] == "external"
        ]
        assert tracked["status_v2"] == "succeeded"
        saved = await assistant.file("cloud_run_result", run_id=tracked["id"], **app)
        result = json.loads(saved.read_text())
        assert result["output"]["solution"]["given"] == {"here": 1}

        account = await call("cloud_get_account", account_id="demo")
        assert account["id"] == "demo"
        for tool in (
            *("cloud_list_batches", "cloud_list_scenario_tests", "cloud_list_acceptance_tests"),
            *("cloud_list_input_sets", "cloud_list_ensembles", "cloud_list_shadow_tests"),
            *("cloud_list_switchback_tests", "cloud_list_secrets_collections"),
        ):
            assert await call(tool, **app) == [], tool
        await call("cloud_delete_app", **app)

    tell(by_stdio, embedded, tmp_path, story)


def test_tools_that_are_broken_in_the_client_itself(embedded: Live, tmp_path: Path) -> None:
    """Section 7 of the contract, and docs/api.md: we learn it when a release mends one."""

    async def story(assistant: Assistant) -> None:
        app = {"app_id": "broken-tools"}
        await assistant.call("cloud_create_app", name="Broken tools", **app)
        await assistant.call("cloud_push_app", app_dir=str(PROBE), **app)
        saved = await assistant.file("cloud_run", input={}, **app)
        run = {"run_id": json.loads(saved.read_text())["id"], **app}
        secret = {"type": "env", "location": "A", "value": "hidden-mcp"}

        for tool, words, cause in (
            ("cloud_get_queue", {"account_id": "demo"}, "'module' object is not callable"),
            ("cloud_poll_run_logs", run, "no attribute 'poll_logs'"),
            ("cloud_create_secrets_collection", {"secrets": [secret], **app}, "to_dict"),
        ):
            # The text of an error never reaches the assistant, whatever the cause.
            assert await assistant.failing(tool, **words) == f"Error executing tool {tool}"
            assert cause in assistant.said, f"{tool}: {assistant.said[-3000:]}"

        # So our sentences are in the log of the MCP server only.
        text = await assistant.failing("cloud_run", input={}, instance_id="nowhere", **app)
        assert text == "Error executing tool cloud_run"
        assert "Instance 'nowhere' does not exist" in assistant.said
        await assistant.call("cloud_delete_app", **app)

    tell(by_stdio, embedded, tmp_path, story)
