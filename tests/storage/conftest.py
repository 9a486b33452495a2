"""The S3 server that the tests of this process share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.s3_servers import S3Server, s3_server


@pytest.fixture(scope="session")
def s3() -> Iterator[S3Server]:
    """A server that nobody stops; each test makes a bucket of its own."""
    with s3_server() as server:
        yield server
