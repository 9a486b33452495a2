"""The published client's own models: they refuse an answer that lacks what the client needs."""

from __future__ import annotations

from typing import Any

from nextmv.cloud import Application, Client


def read_application(answer: dict[str, Any]) -> Application:
    """An application as the client makes it of our answer; it asks nothing of a server."""
    client = Client(api_key="none", url="http://127.0.0.1:9")
    return Application.from_dict({"client": client, **answer})
