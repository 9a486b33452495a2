"""The documentation says what the code does: commands, checks, floors, moves, fields, links."""

from __future__ import annotations

import ast
import dataclasses
import json
import re
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path
from urllib.parse import unquote

import pytest
from django.conf import settings

from runs.domain.content import FORMATS
from runs.domain.errors import RunsiteError
from runs.domain.file_rules import select_files
from runs.domain.manifest import RunsiteSettings, manifest_to_json, parse_manifest
from runs.domain.manifest_fields import CONTROLS, OPTION_TYPES, TYPES
from runs.domain.roles import PERMISSIONS, ROLES
from runs.domain.status import END_REASONS, MOVES, EndReason, Status
from runs.execution.environment import VARIABLES
from runs.visuals.assets import SCHEMAS

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *(ROOT / "examples").glob("*.md")])
ARCHITECTURE = (DOCS / "architecture.md").read_text()
OPERATIONS = (DOCS / "operations.md").read_text()
RECIPES = (DOCS / "recipes.md").read_text()
README = (ROOT / "README.md").read_text()

FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[[^\]\n]*(?:\n[^\]\n]*)?\]\((?P<target>[^)\s]+)\)")
HEADING = re.compile(r"^#+ +(?P<text>.+?) *$", re.MULTILINE)

# Every word of the house; a word that is added there is added here.
WORDS = (
    *("account", "application", "version", "instance", "manifest", "options", "status"),
    *("run", "attempt", "executable", "environment", "slot", "workspace", "queue"),
    *("submit", "dispatch", "claim", "conduct", "execute", "lease", "heartbeat", "reap"),
    *("worker", "supervisor", "service", "schedule", "event", "notification", "scenario"),
    *("store", "object", "key", "cursor", "lane", "mark", "guardian", "drain"),
)
PHRASES = (
    "managed input",
    "input set",
    "tracked run",
    "upload ticket",
    "log chunk",
    "batch experiment",
    "acceptance test",
    "end reason",
    "execution class",
    "fencing token",
)


def section(text: str, heading: str) -> str:
    """What stands below `heading`, up to the next of the same or a higher level."""
    level = heading.split(" ", 1)[0]
    begin = text.index(f"\n{heading}\n") + len(heading) + 2
    end = re.compile(rf"^#{{1,{len(level)}}} ", re.MULTILINE).search(text, begin)
    return text[begin : end.start() if end else len(text)]


def rows(text: str) -> list[list[str]]:
    """The cells of every row of every table, without heads and rules."""
    found = []
    lines = text.splitlines()
    for number, line in enumerate(lines):
        if not line.startswith("|") or set(line) <= set("|- :"):
            continue
        below = lines[number + 1] if number + 1 < len(lines) else ""
        if below.startswith("|") and set(below) <= set("|- :"):
            continue
        found.append([cell.strip() for cell in line.strip("|").split(" |")])
    return found


def block(text: str, language: str, after: str) -> str:
    """The first fenced block in `language` behind the words `after`."""
    found = re.compile(rf"^```{language}\n(.*?)^```", re.MULTILINE | re.DOTALL).search(
        text, text.index(after)
    )
    assert found is not None
    return found[1]


def anchors(page: Path) -> set[str]:
    """The anchors of a page, as forges make them of headings."""
    found = set()
    for match in HEADING.finditer(FENCE.sub("", page.read_text())):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", match["text"]).lower()
        found.add(re.sub(r"[^\w\- ]", "", words).replace(" ", "-"))
    return found


# --- Links ------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_links_lead_to_files_and_headings_that_exist(page):
    text = FENCE.sub("", page.read_text())
    broken = []
    for match in LINK.finditer(text):
        target = match["target"]
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = unquote(target).partition("#")
        file = (page.parent / path).resolve() if path else page
        found = file.is_relative_to(ROOT) and file.exists()
        if found and anchor and file.suffix == ".md":
            found = anchor in anchors(file)
        if not found:
            broken.append(target)
    assert broken == []


def test_pages_are_reached_from_the_readme():
    seen, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in seen or page.suffix != ".md":
            continue
        seen.add(page)
        for match in LINK.finditer(FENCE.sub("", page.read_text())):
            path = match["target"].partition("#")[0]
            target = (page.parent / path).resolve()
            if path and not re.match(r"[a-z]+:", path) and target.is_file():
                waiting.append(target)
            elif target == DOCS / "decisions":
                waiting += target.glob("*.md")
    alone = {page for page in PAGES if page.is_relative_to(DOCS)} - seen
    assert sorted(str(page.relative_to(ROOT)) for page in alone) == []


# --- Operations -------------------------------------------------------------------------------


def test_every_command_is_documented():
    folder = ROOT / "runs" / "management" / "commands"
    commands = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    table = section(OPERATIONS, "## Commands")
    documented = set(re.findall(r"^\| `manage\.py (\w+)", table, re.MULTILINE))
    assert documented == commands


def test_every_system_check_is_documented():
    code = "".join(
        path.read_text() for room in ("runs", "runsite") for path in (ROOT / room).rglob("*.py")
    )
    ids = set(re.findall(r"\bid=\"(runs\.[EW]\d{3})\"", code))
    assert ids, "the checks are found"
    documented = re.findall(r"^\| `(runs\.[EW]\d{3})`", OPERATIONS, re.MULTILINE)
    assert sorted(documented) == sorted(ids)


def test_variables_that_pages_name_exist():
    known = set(re.findall(r"^### `(RUNSITE_\w+)`", (DOCS / "settings.md").read_text(), re.M))
    # A secret can stand in a file; what a child is given is no setting.
    known |= {f"{name}_FILE" for name in known} | VARIABLES
    for page in PAGES:
        unknown = set(re.findall(r"\bRUNSITE_[A-Z0-9_]*[A-Z0-9]", page.read_text())) - known
        assert {name for name in unknown if "_TEST_" not in name} == set(), page.name  # of tests


# --- Architecture -----------------------------------------------------------------------------


def test_the_floors_are_those_of_the_contract():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    floors = [
        layer.replace("(", "").replace(")", "")
        for contract in contracts["contracts"]
        if contract["type"] == "layers"
        for layer in contract["layers"]
    ]
    text = block(ARCHITECTURE, "text", "## One app, eight floors")
    assert [re.split(r" {2,}", line)[0] for line in text.splitlines()] == floors


def test_the_tree_shows_every_room_and_only_files_that_exist():
    tree = block(ARCHITECTURE, "text", "## The tree")
    room, missing, shown = ROOT, [], set()
    for line in tree.splitlines():
        indent = len(line) - len(line.lstrip())
        first = line.split()[0] if line.strip() else ""
        if indent == 0 and first.endswith("/"):
            room = ROOT / first
        elif indent == 0:
            room = ROOT
        elif indent == 2:
            room = ROOT / "runs" / (first if first.endswith("/") else "")
            shown.add(first.strip("/").removesuffix(".py"))
        names = re.findall(r"(?<![\w.*/-])[\w-]+\.(?:py|txt|yaml|toml)\b", line)
        folders = (room, ROOT, ROOT / "runs") if indent <= 2 else (room,)
        missing += [n for n in names if not any((folder / n).is_file() for folder in folders)]
    assert missing == []
    rooms = {
        path.stem
        for path in (ROOT / "runs").iterdir()
        if path.suffix == ".py" or (path / "__init__.py").exists()
    } - {"__init__"}
    assert rooms - shown - {"migrations"} == set()


def test_the_status_table_has_every_move_with_a_sentence():
    table = rows(section(ARCHITECTURE, "### Statuses"))
    documented = {}
    for first, *rest in table:
        move = re.fullmatch(r"`(\w+)` → `(\w+)`", first)
        if move:
            documented[Status(move[1]), Status(move[2])] = rest[-1]
    moves = {(before, after) for before in MOVES for after in MOVES[before]}
    assert set(documented) == moves
    assert all(len(sentence.split()) >= 6 for sentence in documented.values())


def test_the_end_reasons_are_those_of_the_code():
    documented = {
        EndReason(row[0].strip("`")): row
        for row in rows(section(ARCHITECTURE, "### Statuses"))
        if re.fullmatch(r"`\w+`", row[0])
    }
    assert set(documented) == set(EndReason) - {EndReason.NONE}
    for reason, (_, status, meaning) in documented.items():
        assert reason in END_REASONS[Status(status)], reason
        assert meaning, reason


def test_every_condition_has_a_deadline_and_an_owner():
    heading = "### Every condition that is not final has a deadline and an owner"
    table = rows(section(ARCHITECTURE, heading))
    assert len(table) > 15
    for row in table:
        assert len(row) == 5, row
        assert all(row), row
    named = {name for row in table for name in re.findall(r"`(\w+)", row[1])}
    models = import_module("runs.models")
    assert {name for name in named if not hasattr(models, name)} - {"Session"} == set()


# --- Words and decisions ----------------------------------------------------------------------


def test_the_glossary_has_every_word():
    bold = set(re.findall(r"^\| \*\*([^*]+)\*\*", (DOCS / "glossary.md").read_text(), re.M))
    assert {*WORDS, *PHRASES} - bold == set()


def test_roles_that_people_read_about_exist():
    people = section(OPERATIONS, "## People")
    assert all(role in people for role in ROLES)
    assert PERMISSIONS["cancel any"] == PERMISSIONS["manage applications"] == "developer"
    assert PERMISSIONS["manage members"] == PERMISSIONS["manage workers"] == "admin"


def test_every_decision_has_a_number_and_a_title():
    decisions = sorted((DOCS / "decisions").iterdir())
    assert decisions
    for number, path in enumerate(decisions, start=1):
        assert re.fullmatch(rf"{number:04d}-[a-z0-9-]+\.md", path.name)
        first, *rest = path.read_text().splitlines()
        assert re.fullmatch(rf"# {number}\. \S.+", first), path.name
        headings = [line for line in rest if line.startswith("## ")]
        assert headings[:3] == ["## Question", "## Decision", "## Why"], path.name


def test_every_trap_has_its_line():
    table = rows((DOCS / "traps.md").read_text())
    assert [row[0] for row in table] == [str(number) for number in range(1, 19)]
    assert all(len(row) == 4 and all(row[:3]) for row in table)


def test_the_tests_that_pages_name_exist():
    for page in PAGES:
        for name, test in re.findall(r"`([\w/]+\.py)::(\w+)`", page.read_text()):
            file = ROOT / "tests" / name
            assert file.is_file(), name
            assert f"def {test}(" in file.read_text(), f"{name}::{test}"


def test_the_changelog_names_the_release():
    assert re.fullmatch(r"\d+\.\d+\.\d+", settings.RUNSITE_RELEASE)


# --- Recipes: the contract of apps ------------------------------------------------------------


def test_every_field_of_the_manifest_is_documented():
    text = section(RECIPES, "## The manifest") + section(RECIPES, "## Options")
    for field in dataclasses.fields(RunsiteSettings):
        assert f"runsite.{field.name}" in text, field.name
    for word in (*TYPES, *FORMATS, *OPTION_TYPES, *CONTROLS, *ROLES):
        assert word in text, word
    whole = parse_manifest(block(RECIPES, "yaml", "## The manifest"))
    for key in manifest_to_json(whole):
        assert key.replace("_", "-") in text or key in text or key == "warnings", key


def test_the_manifests_shown_are_valid():
    whole = parse_manifest(block(RECIPES, "yaml", "## The manifest"))
    assert [str(problem) for problem in whole.warnings] == []
    options = block(RECIPES, "yaml", "## Options")
    indented = "\n".join(f"    {line}" for line in options.splitlines())
    with_options = parse_manifest(f"files: [main.py]\nconfiguration:\n  options:\n{indented}\n")
    assert [item.name for item in with_options.options.items] == ["duration"]
    paths = block(RECIPES, "yaml", "## Input and output")
    assert parse_manifest(f"files: [main.py]\n{paths}").content.format == "multi-file"


def test_what_a_program_finds_and_may_declare_is_documented():
    finds = section(RECIPES, "### What the program finds")
    assert {name for name in VARIABLES if f"`{name}" not in finds} == set()
    visuals = section(RECIPES, "### Assets and visuals")
    assert all(f"| `{schema}` |" in visuals for schema in SCHEMAS)


def test_files_that_developer_recipes_name_exist():
    text = section(RECIPES, "## For developers")
    named = re.findall(r"`((?:runs|runsite|tests|docs|static|templates)/[\w./-]+\.\w+)`", text)
    later = {"runs/api/urls.py", "docs/api.md"}
    assert {name for name in named if not (ROOT / name).exists()} <= later


def test_no_recipe_lists_more_than_six_steps():
    for recipe in section(RECIPES, "## For developers").split("\n### ")[1:]:
        assert len(re.findall(r"^\d+\. ", recipe, re.MULTILINE)) <= 6, recipe.splitlines()[0]


# --- The app of the README --------------------------------------------------------------------


def test_the_app_of_the_readme_works(tmp_path):
    manifest = parse_manifest(block(README, "yaml", "## Your own app"))
    assert manifest.warnings == ()
    files = ["app.yaml", "main.py", "input.json"]
    assert select_files(manifest.files, files, manifest.entrypoint).errors == ()
    program = block(README, "python", "## Your own app")
    imported = {
        alias.name
        for node in ast.walk(ast.parse(program))
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    assert imported <= set(sys.stdlib_module_names), "it declares no requirements"
    (tmp_path / "main.py").write_text(program)
    done = subprocess.run(
        [sys.executable, "main.py", "-budget", "13"],
        cwd=tmp_path,
        input=block(README, "json", "## Your own app"),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    result = json.loads(done.stdout)
    assert result["solution"] == {"picks": ["lighting", "windows", "roof"]}
    assert result["metrics"] == {"value": 21, "spent": 13.0}
    assert result["assets"][0]["visual"]["schema"] in SCHEMAS
    assert len(done.stderr.splitlines()) == 4


def test_errors_are_written_for_people():
    """Every error raised on purpose says what it means in its docstring."""
    errors = [RunsiteError, *RunsiteError.__subclasses__()]
    assert [error.__name__ for error in errors if not error.__doc__] == []
