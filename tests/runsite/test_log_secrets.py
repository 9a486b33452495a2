"""No log of ours holds the secret of a link that is still open."""

from __future__ import annotations

import logging

import pytest
from django.test import Client

from runsite.log_secrets import HideSecrets

SECRET = "Kq7_sEcReT-vAlUe"


def test_a_form_of_a_link_that_is_refused_leaves_no_secret(
    db: None, capsys: pytest.CaptureFixture[str]
) -> None:
    stderr = [each for each in logging.getLogger().handlers if each.get_name() == "stderr"]
    assert stderr, "the settings name one handler"
    assert any(isinstance(each, HideSecrets) for each in stderr[0].filters)
    answer = Client(enforce_csrf_checks=True).post(f"/sign-in/link/{SECRET}/")
    assert answer.status_code == 403
    assert SECRET not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("message", "args", "expected"),
    [
        ("Not Found: %s", (f"/sign-in/link/{SECRET}/",), "Not Found: /sign-in/link/…/"),
        (f"error at /sign-in/link/{SECRET}?next=/", (), "error at /sign-in/link/…?next=/"),
        (
            "Retrying /b/k?X-Amz-Credential=id%2Fus&X-Amz-Signature=abc&x=1",
            (),
            "Retrying /b/k?X-Amz-Credential=…&X-Amz-Signature=…&x=1",
        ),
        (
            "sent AWS4-HMAC-SHA256 Credential=id/s3, Signature=abc",
            (),
            "sent AWS4-HMAC-SHA256 Credential=…",
        ),
        (
            "GET /tickets/objects/runs/a/1/log?expires=1&name=x&signature=0aF1 failed",
            (),
            "GET /tickets/objects/runs/a/1/log?expires=1&name=x&signature=… failed",
        ),
        ("key rs_Kq7-sEcReT_vAlUe0123456789 and rs_short", (), "key rs_… and rs_short"),
        ("%d runs of %s", (3, "routing"), "3 runs of routing"),
    ],
)
def test_only_the_secret_is_hidden(message: str, args: tuple[object, ...], expected: str) -> None:
    record = logging.LogRecord("x", logging.WARNING, __file__, 1, message, args, None)
    assert HideSecrets().filter(record)
    assert record.getMessage() == expected
