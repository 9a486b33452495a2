"""Counts of the installation."""

from __future__ import annotations

import pytest
from django.db import DatabaseError, connection

from runs.models import Counter

pytestmark = pytest.mark.django_db


def test_counts_add_up_by_name_and_label():
    Counter.add("reaped", "ended")
    Counter.add("reaped", "ended", by=3)
    Counter.add("reaped", "canceled")
    assert set(Counter.objects.values_list("name", "label", "value")) == {
        ("reaped", "ended", 4),
        ("reaped", "canceled", 1),
    }


def test_a_count_that_cannot_be_written_breaks_nothing(caplog):
    def refuse(*_):
        raise DatabaseError("the disk is full")

    with connection.execute_wrapper(refuse):
        Counter.add("reaped", "ended")
    assert "could not be counted" in caplog.text
    assert not Counter.objects.exists()
