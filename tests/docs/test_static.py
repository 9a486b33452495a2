"""Templates and static files: all served by us, nothing inline, nothing missing."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
STATIC = ROOT / "static"
TEMPLATES = sorted((ROOT / "templates").rglob("*.html"))
OWN_STATIC = sorted(
    path
    for path in STATIC.rglob("*")
    if path.suffix in {".css", ".js", ".svg"} and "vendor" not in path.relative_to(STATIC).parts
)

STATIC_TAG = re.compile(r"""{%\s*static\s+(["'])(?P<name>[^"']+)\1\s*(?:as\s+\w+\s*)?%}""")
CSS_URL = re.compile(r"""(?:url\(|@import)\s*["']?(?P<name>[^"')\s;]+)""")
OTHER_HOST = re.compile(
    r"""(?:https?|wss?|ftp):(?://|\\/\\/)(?P<host>[^\s"'<>)/\\]+)""", re.IGNORECASE
)
PROTOCOL_RELATIVE = re.compile(r"""(?:href|src|action|url\()\s*=?\s*["']?//[a-z]""", re.IGNORECASE)
COMMENT = re.compile(r"{#.*?#}|{%\s*comment\b.*?%}.*?{%\s*endcomment\s*%}", re.DOTALL)
VALUE_TAG = re.compile(r"{{.*?}}|{%\s*(?:static|url)\b.*?%}", re.DOTALL)
OTHER_TAG = re.compile(r"{%.*?%}", re.DOTALL)

# Names of XML vocabularies: never fetched.
NAMESPACES = {"www.w3.org"}
# Examples inside text that people read, such as a placeholder.
EXAMPLE_HOST = re.compile(r"(?:^|\.)example\.(?:org|com|net)$")
DATA_SCRIPTS = {"application/json", "application/ld+json"}


def _names(paths: list[Path]) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in paths]


class _Inline(HTMLParser):
    """Collects what a strict content security policy would refuse."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = dict(attrs)
        if tag == "script" and not names.get("src"):
            if names.get("type") not in DATA_SCRIPTS:
                self.found.append("a <script> without src")
        elif tag == "style":
            self.found.append("a <style> element")
        for name, value in attrs:
            if name.startswith("on") or name.startswith("hx-on"):
                self.found.append(f"a handler {name} on <{tag}>")
            elif name == "style":
                self.found.append(f"a style attribute on <{tag}>")
            elif (value or "").strip().lower().startswith("javascript:"):
                self.found.append(f"a javascript: address on <{tag}>")
            elif name in {"hx-vals", "hx-headers"} and (value or "").lstrip().startswith("js:"):
                self.found.append(f"a script in {name} on <{tag}>")


def inline_parts(markup: str) -> list[str]:
    """What is inline in the markup of a template; both branches of a condition are read."""
    parser = _Inline()
    parser.feed(OTHER_TAG.sub(" ", VALUE_TAG.sub("x", COMMENT.sub("", markup))))
    parser.close()
    return parser.found


def other_hosts(text: str) -> list[str]:
    """Hosts that the text names, apart from vocabularies and examples."""
    hosts = [match["host"].lower() for match in OTHER_HOST.finditer(text)]
    hosts += [match[0] for match in PROTOCOL_RELATIVE.finditer(text)]
    return [host for host in hosts if host not in NAMESPACES and not EXAMPLE_HOST.search(host)]


def test_there_is_something_to_look_at() -> None:
    assert ROOT / "templates" / "base.html" in TEMPLATES
    assert STATIC / "css" / "tokens.css" in OWN_STATIC
    assert STATIC / "js" / "live.js" in OWN_STATIC


@pytest.mark.parametrize("template", TEMPLATES, ids=_names(TEMPLATES))
def test_every_static_file_a_template_names_exists(template: Path) -> None:
    named = [match["name"] for match in STATIC_TAG.finditer(template.read_text())]

    assert [name for name in named if not (STATIC / name).is_file()] == []


def test_a_style_sheet_names_only_files_that_exist() -> None:
    missing = [
        f"{sheet.relative_to(ROOT)}: {match['name']}"
        for sheet in OWN_STATIC
        if sheet.suffix == ".css"
        for match in CSS_URL.finditer(sheet.read_text())
        if not match["name"].startswith(("data:", "#"))
        and not (sheet.parent / match["name"]).is_file()
    ]

    assert missing == []


def test_every_sheet_and_script_of_ours_is_used() -> None:
    named = {match["name"] for path in TEMPLATES for match in STATIC_TAG.finditer(path.read_text())}
    # The scripts of framed visuals are named by the code that makes the frames.
    code = "\n".join(path.read_text() for path in (ROOT / "runs").rglob("*.py"))
    unused = [
        str(path.relative_to(STATIC))
        for path in OWN_STATIC
        if str(path.relative_to(STATIC)) not in named and path.name not in code
    ]

    assert unused == []


@pytest.mark.parametrize("template", TEMPLATES, ids=_names(TEMPLATES))
def test_a_template_has_nothing_inline(template: Path) -> None:
    assert inline_parts(template.read_text()) == []


@pytest.mark.parametrize("path", [*TEMPLATES, *OWN_STATIC], ids=_names([*TEMPLATES, *OWN_STATIC]))
def test_no_other_host_is_named(path: Path) -> None:
    assert other_hosts(path.read_text()) == []


@pytest.mark.parametrize(
    "markup",
    [
        "<script>alert(1)</script>",
        "<script type=module>1</script>",
        '<p style="color: red">',
        "<p {% if a %}style=x{% endif %}>",
        "<a onclick=go()>",
        '<a href=" javascript:go()">',
        "<style>p {}</style>",
        "<p hx-on:click=go()>",
        "<p hx-vals='js:{a: 1}'>",
    ],
)
def test_inline_parts_are_found(markup: str) -> None:
    assert inline_parts(markup)


@pytest.mark.parametrize(
    "markup",
    [
        '<script src="{% static "js/live.js" %}" defer></script>',
        '<script type="application/json">{}</script>',
        "{# <script>no</script> #}<p class=a data-style=b>",
    ],
)
def test_what_is_allowed_is_not_found(markup: str) -> None:
    assert inline_parts(markup) == []


@pytest.mark.parametrize(
    "text",
    [
        "https://cdn.somewhere.net/x.js",
        '<script src="//somewhere.net/x.js">',
        "url(//somewhere.net/a)",
    ],
)
def test_other_hosts_are_found(text: str) -> None:
    assert other_hosts(text)


@pytest.mark.parametrize("icon", ["home", "close", "check-circle", "spinner"])
def test_the_sprite_has_the_icon(icon: str) -> None:
    assert f'id="{icon}"' in (STATIC / "img" / "icons.svg").read_text()


def test_every_icon_a_template_names_is_in_the_sprite() -> None:
    sprite = set(re.findall(r'<symbol id="([^"]+)"', (STATIC / "img" / "icons.svg").read_text()))
    naming = re.compile(
        r'{%\s*include\s+"_icon\.html"[^%]*?\bname="(?P<name>[^"]+)"'
        r'|\b(?:icon|action_icon)="(?P<other>[^"]+)"'
    )
    unknown = [
        f"{path.relative_to(ROOT)}: {match['name'] or match['other']}"
        for path in TEMPLATES
        for match in naming.finditer(path.read_text())
        if (match["name"] or match["other"]) not in sprite
    ]

    assert unknown == []


@pytest.mark.parametrize("path", OWN_STATIC, ids=_names(OWN_STATIC))
def test_a_file_of_ours_says_what_it_is_for(path: Path) -> None:
    first_lines = path.read_text().lstrip().splitlines()[:2]

    assert any(line.strip().startswith(("/*", "//", "<!--")) for line in first_lines)
