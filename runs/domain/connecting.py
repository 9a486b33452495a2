"""The lines that lead the published client to this console."""

from __future__ import annotations

import json
import shlex

from runs.domain.requests import Language, Snippet

CLIENT = "nextmv==1.13.0"
"""The release of the client that we are tried with."""
KEY = "$NEXTMV_API_KEY"


def connect_languages(base: str, key: str = "") -> tuple[Language, ...]:
    """How the Python client, the command line, an MCP server and curl are told of this console.

    `base` is its address; `key` is a key to write into the lines, without one they name a variable.
    """
    scheme, _, host = base.partition("://")
    secure = scheme == "https"
    said = shlex.quote(key) if key else "YOUR_KEY"
    in_shell = shlex.quote(key) if key else f'"{KEY}"'
    server = {
        "command": "nextmv",
        "args": ["mcp", "serve"],
        "env": {"NEXTMV_ENDPOINT": base, "NEXTMV_API_KEY": key or "YOUR_KEY"},
    }
    environment = f"export NEXTMV_ENDPOINT={shlex.quote(base)}\nexport NEXTMV_API_KEY={said}"
    return (
        Language(
            "python",
            "Python",
            (Snippet("", f"pip install {CLIENT}\n{environment}"),),
            note=_trust(secure, "The client finds both variables by itself."),
        ),
        Language(
            "cli",
            "Command line",
            (
                Snippet(
                    "",
                    f"pip install {CLIENT}\nunset NEXTMV_ENDPOINT\nnextmv configuration create"
                    f" --api-key {in_shell} --endpoint {shlex.quote(host)}",
                ),
            ),
            note=_trust(
                secure,
                ""
                if secure
                else "The command line speaks https only, and this address is http. Start the"
                " console with `./script/server --tls`, or put a proxy with TLS in front.",
            ),
        ),
        Language(
            "mcp",
            "MCP server",
            (
                Snippet("", f'pip install "nextmv[mcp]=={CLIENT.partition("==")[2]}"'),
                Snippet(
                    "For the settings of your assistant",
                    json.dumps({"mcpServers": {"runsite": server}}, indent=2),
                ),
            ),
            note=_trust(secure, ""),
        ),
        Language(
            "curl",
            "curl",
            (
                Snippet(
                    "",
                    f"export NEXTMV_API_KEY={said}\n"
                    f"curl -sS {shlex.quote(base + '/v1/applications')}"
                    ' -H "Authorization: Bearer $NEXTMV_API_KEY"',
                ),
            ),
        ),
    )


def _trust(secure: bool, words: str) -> str:
    if not secure:
        return words
    own = (
        "With a certificate of the console's own, also set `REQUESTS_CA_BUNDLE` to the file that it"
        " names when it starts."
    )
    return f"{words} {own}".strip()
