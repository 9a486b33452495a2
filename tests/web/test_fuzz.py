"""Thousands of requests that no browser would send: no error of ours, nothing of others told."""

from __future__ import annotations

import json
import os
import random
import re
import traceback
from pathlib import Path
from typing import Any
from urllib.parse import quote_from_bytes, urlencode

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import transaction
from django.test import Client
from django.urls import reverse

from runs.domain.roles import ROLES
from tests.factories import make_member, make_user, make_worker
from tests.web.test_matrix import PAGES
from tests.web.world import World, make_world, text_of

REQUESTS = int(os.environ.get("RUNSITE_TEST_FUZZ_REQUESTS", "600"))
"""Of each seed."""
OURS, THEIRS = "Quokka7731", "Numbat5540"
SCRIPT = "<script>alert(1)</script>"
MAY_BE_BUSY = {"readyz", "run-live"}
"""Pages whose 503 is an answer: not ready, all streams in use."""

WEB = Path(__file__).resolve().parents[2] / "runs" / "web"
SOURCE = "\n".join(path.read_text(encoding="utf-8") for path in sorted(WEB.rglob("*.py")))
QUERY_NAMES = sorted(
    set(re.findall(r"""(?:GET|asked)\.get(?:list)?\("([^"]+)""", SOURCE))
    | {"q", "status", "reason", "application", "instance", "version", "who", "source", "from"}
    | {"to", "sort", "next", "x"}
)
FIELD_NAMES = sorted(
    set(re.findall(r"""POST\.get(?:list)?\(f?"([^"{]+)""", SOURCE))
    | set(re.findall(r"^    (\w+) = forms\.", SOURCE, re.MULTILINE))
    | {"o:vehicles", "o:gap", "o:verbose", "o:label", "b:vehicles", "o:none", "free-name"}
    | {"free-value", "upload_paths", "files_paths", "source", "text", "instance", "earlier"}
    | {"managed", "kept", "as_is", "reload", "way", "next", "limit-default"}
)
FILE_NAMES = ("upload", "files", "text", "x")
HEADER_NAMES = (
    *("Range", "If-Range", "If-None-Match", "If-Modified-Since", "Last-Event-ID", "Accept"),
    *("HX-Request", "HX-Boosted", "HX-Target", "HX-Trigger", "HX-Trigger-Name", "HX-Prompt"),
    *("HX-Current-URL", "HX-Current-URL-URI-AutoEncoded", "HX-History-Restore-Request"),
    *("X-Runsite-Upload", "X-Forwarded-For", "Referer", "Sec-Fetch-Dest", "Accept-Language"),
)
WORDS: tuple[str, ...] = (
    *("", " ", "\x00", "a\x00b", "\x1b[31m", "\r\nX-Evil: 1", "\u202egnp.exe", "\ufeff", "😀" * 20),
    *("0", "1", "-1", "+1", " 1 ", "1.5", "1e3", "1e999", "-1e-999", "nan", "inf", "0x10", "1_0"),
    *("9" * 9, "2147483648", "9223372036854775808", "9" * 30, "9" * 5000, "\u0661\u0662", "\u00b2"),
    *("true", "None", "null", "[]", "{}", "[1,2", '{"a": {"b": [1, NaN]}}', "[" * 3000, '"\\ud800"'),
    *("../../etc/passwd", "/etc/passwd", "..", ".", "C:\\x", "a/b", "a//b", "%00", "%", "%zz", "//"),
    *(SCRIPT, f'">{SCRIPT}', "' OR 1=1 --", "{{ 7 }}", "{% now %}", "${x}", "*", "?", "&", "=", "#"),
    *("x" * 200, "x" * 3000, "é" * 129, "a b c", "a:b", "status:failed", 'name:"x', "-x", "value>"),
    *("2026-11-21", "2026-11-21T10:00Z", "0000-00-00T00:00Z", "9999-12-31T23:59:59+14:00"),
    *("0001-01-01", "2026-02-30", "24:00", "1.0.", "1.99999.00000000", "0.0.", "-1.0.", "1.40.x"),
    *("bytes=0-", "bytes=5-2", "bytes=-0", "bytes=999999999999999999-", "bytes=0-1,3-4", "bytes=-5"),
    *("queued", "running", "failed", "succeeded", "stdout", "solution", "asset-0", "stdout-0"),
    *("paste", "upload", "managed", "earlier", "sample", "kept", "none", "log", "summary", "output"),
    *("settings", "preview", "note", "next", "previous", "plain", "admin", "root", "default"),
    *("text/html", "application/json", "text/event-stream", "http://evil.example/", "javascript:x"),
)
BYTES = (b"\xff\xfe", b"\xed\xa0\x80", b"\xc3(", b"\xf4\x90\x80\x80", b"\x80" * 50, b"caf\xe9")


class Fuzzer:
    """Makes requests from one seed."""

    def __init__(self, seed: int, worlds: list[World]) -> None:
        self.random = random.Random(seed)
        self.names = [value for world in worlds for value in world.names.values()]
        self.worlds = worlds

    def word(self) -> str:
        chosen = self.random
        if chosen.random() < 0.25:
            return chosen.choice(self.names)
        word = chosen.choice(WORDS)
        if chosen.random() < 0.15:
            word += chosen.choice(WORDS)
        if chosen.random() < 0.05:
            word = "".join(chr(chosen.choice((chosen.randrange(256), 0x2603))) for _ in range(9))
        return word

    def data(self) -> bytes:
        if self.random.random() < 0.1:
            return self.random.choice(BYTES)
        return self.word().encode()

    def path(self, name: str) -> str:
        page = PAGES[name]
        world = self.random.choice(self.worlds)
        parts: dict[str, str] = {}
        strange: dict[str, str] = {}
        for place, (part, told) in enumerate(page.names.items()):
            value = told[1:] if told.startswith("=") else world.names[told]
            if self.random.random() < 0.3:
                # A number that stands nowhere else: also where the address takes digits only.
                value = f"77310{place}"
                strange[value] = quote_from_bytes(self.data(), safe="")
            elif part == "run_id" and self.random.random() < 0.5:
                value = world.names[self.random.choice(("running", "queued"))]
            parts[part] = value
        address = reverse(name, kwargs=parts)
        for placeholder, value in strange.items():
            address = address.replace(placeholder, value)
        return address

    def query(self) -> str:
        pairs = []
        for _ in range(self.random.choice((0, 0, 1, 1, 2, 3, 8))):
            name = self.random.choice(QUERY_NAMES) if self.random.random() < 0.95 else self.word()
            pairs.append((name.encode(), self.data()))
        text = urlencode(pairs)
        return text + self.random.choice(("&&", "&=", "&a", "%", ";")) * (len(pairs) == 8)

    def headers(self) -> dict[str, str]:
        chosen = {}
        for _ in range(self.random.choice((0, 0, 0, 1, 2, 4))):
            name = self.random.choice(HEADER_NAMES)
            value = "true" if name == "HX-Request" else self.word()
            # As servers pass them on: no line ends, each byte a character.
            value = value.translate({0: None, 10: None, 13: None})[:4000]
            chosen[name] = value.encode().decode("latin-1")
        return chosen

    def fields(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for _ in range(self.random.choice((0, 1, 3, 6, 12))):
            found[self.random.choice(FIELD_NAMES)] = self.word()
        return found

    def body(self) -> dict[str, Any]:
        """Arguments of `Client.generic` and `Client.post`."""
        kind = self.random.random()
        if kind < 0.55:
            fields = {name: value.encode() for name, value in self.fields().items()}
            if self.random.random() < 0.1:
                fields["name"] = self.random.choice(BYTES)
            return {
                "data": urlencode(fields).encode(),
                "content_type": "application/x-www-form-urlencoded"
                + self.random.choice(("", "", "", "; charset=latin-1", "; charset=none")),
            }
        if kind < 0.85:
            fields = self.fields()
            for _ in range(self.random.choice((0, 1, 2))):
                name = re.sub(r"[\r\n\x00]", "", self.word())[:300] or "file"
                content = self.random.choice((self.data(), b"PK\x03\x04" + self.data(), b"{}"))
                fields[self.random.choice(FILE_NAMES)] = SimpleUploadedFile(name, content)
            return {"data": fields}
        if kind < 0.93:
            return {"data": json.dumps(self.fields()), "content_type": "application/json"}
        broken = self.random.choice(("multipart/form-data", "multipart/form-data; boundary=x", "x"))
        return {"data": b"--x\r\n" + self.data(), "content_type": broken}


@pytest.fixture
def worlds(db: None, settings: Any, tmp_path: Path) -> list[World]:
    settings.RUNSITE_DATA_DIR = tmp_path
    make_worker(name="north")
    return [make_world("demo", OURS), make_world("elsewhere", THEIRS)]


def browsers(worlds: list[World]) -> list[tuple[str, Client, tuple[str, ...]]]:
    """Everybody, with the markers that they must never see."""
    here, there = worlds
    found: list[tuple[str, Client, tuple[str, ...]]] = [("anonymous", Client(), (OURS, THEIRS))]
    for role in ROLES:
        email = f"{role}@roles.example"
        is_root = role == "root"
        user = (
            make_user(email, is_superuser=True)
            if is_root
            else make_member(here.account, role, email)
        )
        client = Client()
        client.force_login(user)
        found.append((role, client, () if is_root else (THEIRS,)))
    outsider = Client()
    outsider.force_login(make_member(there.account, "admin", "outsider@roles.example"))
    found.append(("outsider", outsider, (OURS,)))
    return found


@pytest.mark.parametrize("seed", range(4))
def test_no_request_breaks_anything_or_learns_of_others(seed: int, worlds: list[World]) -> None:
    fuzzer = Fuzzer(seed, worlds)
    everybody = browsers(worlds)
    cookies = [client.cookies.output() for _, client, _ in everybody]
    names = list(PAGES)
    wrong: list[str] = []
    answers = set()
    for number in range(REQUESTS):
        who, client, hidden = fuzzer.random.choice(everybody)
        name = fuzzer.random.choice(names)
        page = PAGES[name]
        usual = "POST" if page.post and (not page.get or fuzzer.random.random() < 0.5) else "GET"
        rare = fuzzer.random.choice(("HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "POST", "GET"))
        method = rare if fuzzer.random.random() < 0.1 else usual
        query, more = fuzzer.query(), {"headers": fuzzer.headers()}
        address = fuzzer.path(name) + (f"?{query}" if query else "")
        case = f"seed {seed} request {number}: {method} {address[:300]!r} as {who}"
        kept = client.cookies.copy()
        try:
            with transaction.atomic():
                if method == "POST":
                    more |= fuzzer.body()
                    response: Any = client.post(address, **more)
                else:
                    response = client.generic(method, address, **more)
                text = text_of(response)
                transaction.set_rollback(True)
        except Exception:
            wrong.append(f"{case} {more}\n{traceback.format_exc(limit=-3)}"[:4000])
            continue
        finally:
            client.cookies = kept  # who signed out or switched the account is back
        answers.add(response.status_code)
        busy = response.status_code == 503 and name in MAY_BE_BUSY
        if response.status_code >= 500 and not busy:
            wrong.append(f"{case} {more}: {response.status_code}"[:2000])
        if "Traceback (most" in text:
            wrong.append(f"{case}: shows a traceback")
        if any(marker in text or marker in str(response.headers) for marker in hidden):
            wrong.append(f"{case} {more}: tells what belongs to others"[:2000])
        if SCRIPT in text and "html" in response.headers.get("Content-Type", ""):
            wrong.append(f"{case} {more}: writes what was sent as markup"[:2000])
    assert wrong == [], "\n".join([f"{len(wrong)} of {REQUESTS}:", *wrong[:8]])
    assert {200, 302, 403, 404, 405, 422} <= answers, "the requests do not reach the pages"
    assert [client.cookies.output() for _, client, _ in everybody] == cookies
