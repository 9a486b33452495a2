"""Thousands of requests that no browser would send: no error of ours, nothing of others told."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import traceback
from pathlib import Path
from typing import Any
from urllib.parse import quote_from_bytes, urlencode

import pytest
from django.db import transaction
from django.urls import reverse

from tests.factories import make_worker
from tests.web.test_matrix import PAGES, people
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
    | {"to", "sort", "next", "x", "starts", "waits_for", "run"}
)
FIELD_NAMES = sorted(
    set(re.findall(r"""POST\.get(?:list)?\(f?"([^"{]+)""", SOURCE))
    | set(re.findall(r"^    (\w+) = (?:forms\.|\w+_field\()", SOURCE, re.MULTILINE))
    | {"o:vehicles", "o:gap", "o:verbose", "o:label", "b:vehicles", "o:none", "free-name"}
    | {"free-value", "upload_paths", "files_paths", "source", "text", "instance", "earlier"}
    | {"managed", "kept", "as_is", "reload", "way", "next", "limit-default", "seen"}
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
    *(
        "true",
        "None",
        "null",
        "[]",
        "{}",
        "[1,2",
        '{"a": {"b": [1, NaN]}}',
        "[" * 3000,
        '"\\ud800"',
    ),
    *(
        "../../etc/passwd",
        "/etc/passwd",
        "..",
        ".",
        "C:\\x",
        "a/b",
        "a//b",
        "%00",
        "%",
        "%zz",
        "//",
    ),
    *(
        SCRIPT,
        f'">{SCRIPT}',
        "' OR 1=1 --",
        "{{ 7 }}",
        "{% now %}",
        "${x}",
        "*",
        "?",
        "&",
        "=",
        "#",
    ),
    *("x" * 200, "x" * 3000, "é" * 129, "a b c", "a:b", "status:failed", 'name:"x', "-x", "value>"),
    *("2026-11-21", "2026-11-21T10:00Z", "0000-00-00T00:00Z", "9999-12-31T23:59:59+14:00"),
    *("0001-01-01", "2026-02-30", "24:00", "1.0.", "1.99999.00000000", "0.0.", "-1.0.", "1.40.x"),
    *(
        "bytes=0-",
        "bytes=-5",
        "bytes=5-2",
        "bytes=-0",
        "bytes=999999999999999999-",
        "bytes=0-1,3-4",
        "bytes=-5",
    ),
    *("queued", "running", "failed", "succeeded", "stdout", "solution", "asset-0", "stdout-0"),
    *(
        "paste",
        "upload",
        "managed",
        "earlier",
        "sample",
        "kept",
        "none",
        "log",
        "summary",
        "output",
    ),
    *("fail", "truncate", "skip", "continue", "replace", "reuse", "yes", "no", "SIGUSR1"),
    *("exit_code", "exit_code:75", "timed_out", "{vehicles}", "{}", "{nothing", "r={gap}}", "{{"),
    *('{"name": "x"}', '{"retries": [1], "name": null}', '{"repeatable": 5}', "75 99, 300"),
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

    def multipart(self) -> bytes:
        """A form with files; also such as no browser would write."""
        parts = [f'name="{name}"\r\n\r\n{value}'.encode() for name, value in self.fields().items()]
        for _ in range(self.random.choice((0, 1, 2))):
            content = self.random.choice((self.data(), b"PK\x03\x04" + self.data(), b"{}"))
            told = f'name="{self.random.choice(FILE_NAMES)}"; filename="{self.word()}"'
            parts.append(told.encode() + b"\r\n\r\n" + content)
        head = b"--boundary\r\nContent-Disposition: form-data; "
        return b"".join(head + part + b"\r\n" for part in parts) + b"--boundary--\r\n"

    def body(self) -> dict[str, Any]:
        """Arguments of `Client.generic`."""
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
            return {
                "data": self.multipart(),
                "content_type": "multipart/form-data; boundary=boundary",
            }
        if kind < 0.93:
            return {"data": json.dumps(self.fields()), "content_type": "application/json"}
        broken = self.random.choice(("multipart/form-data", "multipart/form-data; boundary=x", "x"))
        return {"data": b"--x\r\n" + self.data(), "content_type": broken}


@pytest.fixture
def worlds(db: None, settings: Any, tmp_path: Path) -> list[World]:
    settings.RUNSITE_DATA_DIR = tmp_path / "data"
    settings.RUNSITE_DATA_DIR.mkdir(mode=0o700)
    make_worker(name="north")
    return [make_world("demo", OURS), make_world("elsewhere", THEIRS)]


def hidden_from(who: str) -> tuple[str, ...]:
    """The markers that somebody must never see."""
    if who == "anonymous":
        return (OURS, THEIRS)
    return {"root": (), "outsider": (OURS,)}.get(who, (THEIRS,))


@pytest.mark.parametrize("seed", range(4))
def test_no_request_breaks_anything_or_learns_of_others(
    seed: int, worlds: list[World], settings: Any, tmp_path: Path
) -> None:
    fuzzer = Fuzzer(seed, worlds)
    everybody = people(worlds[0], elsewhere=worlds[1].account)
    stored = shutil.copytree(settings.RUNSITE_DATA_DIR, tmp_path / "stored")
    names = list(PAGES)
    wrong: list[str] = []
    answers = set()
    for number in range(REQUESTS):
        person = fuzzer.random.choice(everybody)
        who, client = person.who, person.browser
        name = fuzzer.random.choice(names)
        page = PAGES[name]
        usual = "POST" if page.post and (not page.get or fuzzer.random.random() < 0.5) else "GET"
        rare = fuzzer.random.choice(("HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "POST", "GET"))
        method = rare if fuzzer.random.random() < 0.1 else usual
        query, more = fuzzer.query(), {"headers": fuzzer.headers()}
        address = fuzzer.path(name) + (f"?{query}" if query else "")
        case = f"seed {seed} request {number}: {method} {address[:300]!r} as {who}"
        try:
            with transaction.atomic():
                if method == "POST":
                    more |= fuzzer.body()
                response: Any = client.generic(method, address, **more)
                text = text_of(response)
                transaction.set_rollback(True)
        except Exception:
            wrong.append(f"{case} {more}\n{traceback.format_exc(limit=-3)}"[:4000])
            continue
        if method == "POST" and "delete" in name and response.status_code < 400:
            # What was deleted is back in the tables; files know of no transaction.
            shutil.copytree(stored, settings.RUNSITE_DATA_DIR, dirs_exist_ok=True)
        answers.add(response.status_code)
        busy = response.status_code == 503 and name in MAY_BE_BUSY
        if response.status_code >= 500 and not busy:
            wrong.append(f"{case} {more}: {response.status_code}"[:2000])
        if "Traceback (most" in text:
            wrong.append(f"{case}: shows a traceback")
        if any(marker in text or marker in str(response.headers) for marker in hidden_from(who)):
            wrong.append(f"{case} {more}: tells what belongs to others"[:2000])
        if SCRIPT in text and "html" in response.headers.get("Content-Type", ""):
            wrong.append(f"{case} {more}: writes what was sent as markup"[:2000])
    assert wrong == [], "\n".join([f"{len(wrong)} of {REQUESTS}:", *wrong[:8]])
    assert {200, 302, 403, 404, 405, 422} <= answers, "the requests do not reach the pages"
