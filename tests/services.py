"""Services that tests use when they answer: required where CI=true, else skipped."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote, urlsplit
from uuid import uuid4

import pytest

_POSTGRES = "postgresql://postgres@127.0.0.1:5432/postgres"
_REDIS = "redis://127.0.0.1:6379/0"
_AMQP = "amqp://guest:guest@127.0.0.1:5672//"


def postgres_url() -> str:
    """The address of a PostgreSQL server on which databases may be made; skips without one."""
    return _answering("PostgreSQL", "RUNSITE_TEST_POSTGRES_URL", _POSTGRES, 5432)


def redis_url() -> str:
    """The address of a Redis server; skips without one."""
    return _answering("Redis", "RUNSITE_TEST_REDIS_URL", _REDIS, 6379)


def amqp_url() -> str:
    """The address of a RabbitMQ server; skips without one."""
    return _answering("RabbitMQ", "RUNSITE_TEST_AMQP_URL", _AMQP, 5672)


@contextmanager
def new_postgres_database() -> Iterator[str]:
    """The address of an empty database of this test alone, dropped afterwards."""
    import psycopg

    server = postgres_url()
    name = f"runsite_test_{uuid4().hex[:12]}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
        try:
            yield urlsplit(server)._replace(path=f"/{quote(name)}").geturl()
        finally:
            connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


def _answering(service: str, variable: str, default: str, port: int) -> str:
    url = os.environ.get(variable) or default
    parts = urlsplit(url)
    try:
        socket.create_connection((parts.hostname or "127.0.0.1", parts.port or port), 5).close()
    except OSError as error:
        message = f"{service} does not answer ({error}); set {variable} to another address."
        if os.environ.get("CI") == "true":
            pytest.fail(f"{message} With CI=true it is required.")
        pytest.skip(message)
    return url
