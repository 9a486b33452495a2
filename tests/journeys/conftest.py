"""The console that most journey tests share, and the person who uses it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.journeys.consoles import HOSTILE, Console, Person, serving


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
