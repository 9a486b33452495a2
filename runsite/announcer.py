"""Says where to open the console, as soon as it answers, and then ends."""

from __future__ import annotations

import http.client
import os
import signal
import ssl
import sys
import time
from datetime import timedelta
from types import ModuleType

LIMIT_S = 120.0
PATIENCE_S = 15.0
LINK_HOURS = 24


def leave_behind(settings: ModuleType, notes: list[str], *, lock: int) -> None:
    """Fork the announcer; this process goes on (and becomes the manager).

    `notes` are lines to repeat below the address, `lock` is the open lock of the data directory.
    """
    parent = os.getpid()
    sys.stdout.flush()
    sys.stderr.flush()
    if os.fork():
        return
    code = 1
    try:
        # The manager may be stopped while we wait for the database: the next start must not find
        # the data directory in use because of us.
        os.close(lock)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.nice(5)  # web and worker come first
        code = _announce(settings, notes, parent)
    except BrokenPipeError:
        pass
    except Exception as error:
        print(f"runsite: {type(error).__name__}: {error}", file=sys.stderr)
    finally:
        os._exit(code)  # nothing of the parent's clean-up belongs here


def _announce(settings: ModuleType, notes: list[str], parent: int) -> int:
    link = sign_in_link(settings)
    begin = time.monotonic()
    patient = True
    while os.getppid() == parent:
        ready, reason = _ready(
            settings.RUNSITE_HOST, settings.RUNSITE_PORT, context=_trusting(settings.RUNSITE_TLS)
        )
        if ready:
            lines = [
                "",
                f"  Runsite answers at {settings.RUNSITE_PUBLIC_URL}",
                f"  Sign in (once, within {LINK_HOURS} hours): {link}",
                *(f"  {note}" for note in notes),
                *(f"  {line}" for line in _client_lines(settings)),
                f"  Data and logs: {settings.RUNSITE_DATA_DIR}",
                "  Stop: Ctrl-C",
                "",
            ]
            print("\n".join(lines), flush=True)
            return 0
        waited_s = time.monotonic() - begin
        if (patient and waited_s > PATIENCE_S) or waited_s > LIMIT_S:
            patient = False
            logs = settings.RUNSITE_DATA_DIR / "log"
            print(
                f"runsite: The console is not ready after {waited_s:.0f} s ({reason}). "
                f"Look at web.log and worker.log in {logs}; Ctrl-C stops.",
                file=sys.stderr,
                flush=True,
            )
        if waited_s > LIMIT_S:
            return 1
        time.sleep(0.05)
    return 0


def sign_in_link(settings: ModuleType) -> str:
    """A link that signs the administrator in once."""
    import django

    django.setup()
    from django.db import connection
    from django.utils import timezone

    from runs.actions.accounts import make_sign_in_link, sign_in_address
    from runs.models import User

    user = (
        User.objects.filter(email=settings.RUNSITE_ADMIN_EMAIL.lower(), is_active=True).first()
        or User.objects.filter(is_superuser=True, is_active=True).order_by("pk").first()
    )
    if user is None:
        return f"{settings.RUNSITE_PUBLIC_URL}/sign-in/"
    lifetime = timedelta(hours=LINK_HOURS)
    secret = make_sign_in_link(user=user, lifetime=lifetime, now=timezone.now())
    connection.close()
    return sign_in_address(secret)


def _client_lines(settings: ModuleType) -> list[str]:
    """How the published command line, which speaks nothing but TLS, gets to know the console."""
    if settings.RUNSITE_TLS == "off":
        return []
    from django.db import connection

    from runs.models import Account
    from runsite import tls

    slug = Account.objects.order_by("pk").values_list("slug", flat=True).first()
    connection.close()
    return tls.client_lines(settings, account=slug or "ACCOUNT")


def _trusting(tls: str) -> ssl.SSLContext | None:
    """TLS that looks at no certificate: we ask our own process on this machine, and tell nothing.

    A certificate that was given need not hold the address on which we ask.
    """
    if tls == "off":
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _ready(host: str, port: int, *, context: ssl.SSLContext | None = None) -> tuple[bool, str]:
    """Whether /readyz says yes, and what it says otherwise; over TLS with a `context`."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    connection = (
        http.client.HTTPConnection(host, port, timeout=5)
        if context is None
        else http.client.HTTPSConnection(host, port, timeout=5, context=context)
    )
    try:
        connection.request("GET", "/readyz", headers={"Host": f"localhost:{port}"})
        answer = connection.getresponse()
        text = " ".join(answer.read(2000).decode(errors="replace").split())
        plain = answer.headers.get_content_type() == "text/plain"
        if not (plain and text):  # a page, of ours or of another program on this port
            return False, f"/readyz answers with status {answer.status}"
        return answer.status == 200, text[:300]
    except (OSError, http.client.HTTPException):
        return False, "the web process does not answer"
    finally:
        connection.close()
