"""Files that nobody asked for leave nothing on disk."""

from __future__ import annotations

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from tests.factories import make_member
from tests.web.conftest import Browser


@pytest.fixture
def no_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails when Django keeps a file."""
    from django.core.files import uploadhandler

    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("a file was kept")

    monkeypatch.setattr(uploadhandler, "TemporaryUploadedFile", refuse)
    monkeypatch.setattr(uploadhandler, "InMemoryUploadedFile", refuse)


def test_a_form_without_files_keeps_none(no_files: None, account, client: Client):
    make_member(account, "viewer", "kim@example.org", password="a-long-password")
    sent = SimpleUploadedFile("big.bin", b"x" * 3_000_000)
    fields = {"email": "kim@example.org", "file": sent, "password": "a-long-password"}
    answer = client.post("/sign-in/", fields)
    assert answer.status_code == 302  # what stands behind the file was read


def test_a_form_of_a_member_keeps_none(no_files: None, ann: Browser):
    sent = SimpleUploadedFile("big.bin", b"x" * 3_000_000)
    assert ann.post("/runs/cancel/", {"run": "none", "file": sent}).status_code == 302
