"""Consoles for journey tests: one that most share, and own ones for tests that stop or kill."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.journeys.consoles import EXAMPLES, Console, Person, serving

# Variables of the server, named like options of the sample apps: none may reach a run.
HOSTILE = {
    "OUTPUT": "/nonexistent/x",
    "DURATION": "zz",
    "N": "99",
    "VEHICLES": "zz",
    "HORIZON": "zz",
    "MAX_PER_GROUP": "zz",
    "SLEEP": "zz",
    "END": "kill",
}


@pytest.fixture(scope="session")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    """A console on its first start, with the demo account; nobody stops it or pauses its queue.

    It is started under hostile variables: no test may be able to tell.
    """
    folder = tmp_path_factory.mktemp("console")
    with serving(folder, demo=True, **HOSTILE) as found:
        yield found
        # The promise is 15 s; a busy machine may be late.
        assert found.stop() <= 30


@pytest.fixture(scope="session")
def person(console: Console) -> Person:
    """The administrator, signed in by the printed link."""
    return console.sign_in()


@pytest.fixture
def own_console(tmp_path: Path) -> Iterator[Callable[..., Console]]:
    """Start consoles that this test may stop and kill; they have the stress app only."""
    with ExitStack() as stack:

        def start(**words: Any) -> Console:
            number = len(list(tmp_path.glob("console-*")))
            words.setdefault("applications", {"stress": EXAMPLES / "stress"})
            return stack.enter_context(serving(tmp_path / f"console-{number}", **words))

        yield start
