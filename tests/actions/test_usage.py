"""The use of resources is read from rows while a run runs, and from its object afterwards."""

from __future__ import annotations

import json

import pytest

from runs.actions.usage import Sample, last_usage, read_usage
from runs.models import UsageSample
from runs.storage import keys, object_store
from tests.factories import make_attempt


@pytest.fixture(autouse=True)
def store(db: None, settings, tmp_path):
    settings.RUNSITE_DATA_DIR = tmp_path


def test_rows_are_read_oldest_first():
    attempt = make_attempt()
    for at_s in (4.0, 0.0, 2.0):
        UsageSample.objects.create(attempt=attempt, at_s=at_s, cpu_s=at_s, memory_bytes=10)
    assert [sample.at_s for sample in read_usage(attempt=attempt)] == [0.0, 2.0, 4.0]
    assert last_usage(attempt=attempt) == Sample(4.0, 4.0, 10, 1)


def test_a_run_without_samples_has_none():
    attempt = make_attempt()
    assert read_usage(attempt=attempt) == []
    assert last_usage(attempt=attempt) is None


def test_an_ended_run_has_them_in_its_object():
    attempt = make_attempt()
    attempt.usage_key = keys.usage(attempt.run.run_id, 1)
    object_store().put_bytes(attempt.usage_key, json.dumps([[0.5, 0.25, 1024, 2]]).encode())
    assert read_usage(attempt=attempt) == [Sample(0.5, 0.25, 1024, 2)]


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'[["a", 1, 2, 3]]', b"{}"])
def test_a_broken_object_is_no_samples(content: bytes):
    attempt = make_attempt()
    attempt.usage_key = keys.usage(attempt.run.run_id, 1)
    object_store().put_bytes(attempt.usage_key, content)
    assert read_usage(attempt=attempt) == []


def test_an_object_that_is_gone_is_no_samples():
    attempt = make_attempt(usage_key="runs/gone/1/usage")
    assert read_usage(attempt=attempt) == []
