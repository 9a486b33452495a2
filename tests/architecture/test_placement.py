"""Rules of placement that a linter of imports does not see: status, markup, patterns, queries."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted(
    path
    for room in ("runs", "runsite")
    for path in (ROOT / room).rglob("*.py")
    if "migrations" not in path.parts
)
TEMPLATES = sorted((ROOT / "templates").rglob("*.html"))

MAKES_MARKUP = {
    "runs/templatetags/human.py": "escapes the text before it puts code around parts of it",
    "runs/templatetags/run_links.py": "links ids of letters and digits in what `coded` has escaped",
    "runs/web/json_tree.py": "escapes each key and leaf as it draws them",
    "runs/web/log_lines.py": "escapes each stretch of a line as it colours them",
    # Figures as JSON in which `<`, `>` and `&` are escaped: json_block.
    "runs/web/applications.py": "json_block",
    "runs/web/runs.py": "json_block",
    "runs/web/visuals_pages.py": "json_block",
}
"""The modules that say of a text that it is markup, and why it is safe."""
WRITES_STATUS = "runs/models/runs.py"
TRUSTED = {"mark_safe", "SafeString", "SafeText"}
DANGEROUS = {"eval", "exec", "compile", "__import__"}


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    """The calls of a module, with the last name of what is called."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name):
                yield node.func.id, node
            elif isinstance(node.func, ast.Attribute):
                yield node.func.attr, node


def trees() -> Iterator[tuple[str, ast.Module]]:
    for path in MODULES:
        yield name_of(path), ast.parse(path.read_text(encoding="utf-8"))


# --- Status -------------------------------------------------------------------------------------


def status_writes(tree: ast.AST) -> list[int]:
    """The lines that set `status` of a row: by attribute, by update, or by name in a save."""
    lines = []
    for node in ast.walk(tree):
        targets: list[ast.expr] = []
        if isinstance(node, ast.Assign):
            targets = node.targets
        elif isinstance(node, ast.AugAssign | ast.AnnAssign):
            targets = [node.target]
        for target in targets:
            of_self = isinstance(target, ast.Attribute) and (
                isinstance(target.value, ast.Name) and target.value.id == "self"
            )
            if isinstance(target, ast.Attribute) and target.attr == "status" and not of_self:
                lines.append(node.lineno)
    for name, call in calls(tree):
        if name in {"update", "update_or_create"}:
            lines += [call.lineno for word in call.keywords if word.arg == "status"]
        if name in {"save", "bulk_update"}:
            texts = [each for each in ast.walk(call) if isinstance(each, ast.Constant)]
            lines += [call.lineno for text in texts if text.value == "status"]
    return lines


def test_only_move_to_writes_a_status() -> None:
    wrong = {
        name: lines
        for name, tree in trees()
        if name != WRITES_STATUS and (lines := status_writes(tree))
    }
    assert wrong == {}, "move the run with Run.move_to"


@pytest.mark.parametrize(
    "source",
    [
        "run.status = 'failed'",
        "Run.objects.filter(pk=1).update(status='failed')",
        "run.save(update_fields=['status'])",
        "Run.objects.bulk_update(rows, ['status'])",
    ],
)
def test_a_written_status_is_found(source: str) -> None:
    assert status_writes(ast.parse(source)) == [1]


# --- Markup -------------------------------------------------------------------------------------

UNESCAPED = re.compile(r"\|\s*(safe|safeseq)\b|\{%-?\s*autoescape\b")


def test_no_template_trusts_a_text() -> None:
    wrong = [
        f"{name_of(path)}:{number}"
        for path in TEMPLATES
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if UNESCAPED.search(line)
    ]
    assert TEMPLATES
    assert wrong == [], "let Django escape it"


@pytest.mark.parametrize("line", ["{{ a|safe }}", "{{ a | safeseq }}", "{% autoescape off %}"])
def test_a_trusted_text_is_found(line: str) -> None:
    assert UNESCAPED.search(line)


def test_few_modules_make_markup_and_say_why() -> None:
    making = {name for name, tree in trees() for called, _ in calls(tree) if called in TRUSTED}
    assert making - set(MAKES_MARKUP) == set(), "use format_html, or say in MAKES_MARKUP why"
    assert set(MAKES_MARKUP) - making == set(), "these make none any more: take them out"


def test_figures_are_the_only_markup_of_pages() -> None:
    """Where the reason is `json_block`, each marked text is what it made."""
    for name, tree in trees():
        if MAKES_MARKUP.get(name) != "json_block":
            continue
        for called, call in calls(tree):
            if called in TRUSTED:
                assert "json_block" in {each for each, _ in calls(call)}, f"{name}:{call.lineno}"


def test_format_html_gets_no_text_that_was_made_before() -> None:
    wrong = [
        f"{name}:{call.lineno}"
        for name, tree in trees()
        for called, call in calls(tree)
        if called in {"format_html", "format_html_join"}
        and any(isinstance(each, ast.JoinedStr | ast.BinOp) for each in call.args[:1])
    ]
    assert wrong == [], "give the values as arguments: they are escaped then"


# --- Patterns and code --------------------------------------------------------------------------


def unsafe_operations(pattern: str) -> set[str]:
    """The operations in a pattern that Python 3.11 gets wrong."""
    found: set[str] = set()

    def walk(part: object) -> None:
        if str(part) in {"POSSESSIVE_REPEAT", "ATOMIC_GROUP"}:
            found.add(str(part))
        elif isinstance(part, tuple | list) or type(part).__name__ == "SubPattern":
            for each in part:  # type: ignore[attr-defined] # a parsed pattern is iterable
                walk(each)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        walk(re._parser.parse(pattern))  # type: ignore[attr-defined] # its own parser knows best
    return found


def test_no_pattern_uses_what_python_gets_wrong() -> None:
    looked_at, wrong = 0, []
    for name, tree in trees():
        if "re" not in {
            alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.Import)
            for alias in node.names
        }:
            continue
        # A constant that is no pattern parses as one, or not at all.
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                try:
                    operations = unsafe_operations(node.value)
                except (re.error, OverflowError):
                    continue
                looked_at += 1
                if operations:
                    wrong.append(f"{name}:{node.lineno}: {operations}")
    assert looked_at > 100
    assert wrong == [], "Python 3.11 matches these wrongly; use plain repeats"


@pytest.mark.parametrize("pattern", ["a++", "[a-z]*+b", "(?>a|b)", "x(y{2}+)?"])
def test_a_wrong_pattern_is_found(pattern: str) -> None:
    assert unsafe_operations(pattern)


@pytest.mark.parametrize("pattern", ["a+b", r"\++", "[+]+", "(?:a|b)+"])
def test_a_right_pattern_is_not_found(pattern: str) -> None:
    assert not unsafe_operations(pattern)


def is_made(text: ast.expr) -> bool:
    """Whether a text is put together of others; whole numbers (`:d`) may stand in it."""
    if isinstance(text, ast.JoinedStr):
        return any(
            isinstance(part, ast.FormattedValue)
            and ast.unparse(part.format_spec or ast.Constant("")) != "f'd'"
            for part in text.values
        )
    return isinstance(text, ast.BinOp)


@pytest.mark.parametrize(
    ("source", "made"),
    [('"a"', False), ('f"a {n:d}"', False), ('f"a {n}"', True), ('"a" + b', True)],
)
def test_a_made_text_is_found(source: str, made: bool) -> None:
    assert is_made(ast.parse(source, mode="eval").body) is made


def test_nothing_builds_code_or_sql_of_texts() -> None:
    wrong = []
    for name, tree in trees():
        for called, call in calls(tree):
            plain = isinstance(call.func, ast.Name)
            if called in DANGEROUS and plain:
                wrong.append(f"{name}:{call.lineno}: {called}")
            if called in {"raw", "RawSQL", "execute"} and any(map(is_made, call.args[:1])):
                wrong.append(f"{name}:{call.lineno}: {called} of a made text")
        modules = {
            alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.Import | ast.ImportFrom)
            for alias in node.names
        } | {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        if modules & {"pickle", "marshal", "shelve", "dill"}:
            wrong.append(f"{name}: reads objects that may be code")
    assert wrong == []


def test_nothing_reacts_to_signals_of_rows() -> None:
    """What reacts to a run reads its events."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in MODULES)
    assert re.findall(r"\b(?:pre|post)_(?:save|delete)\b|m2m_changed", text) == []


# --- Files --------------------------------------------------------------------------------------


def test_nothing_names_a_person_or_a_machine() -> None:
    """Paths of one machine belong into no file."""
    wrong = [
        name_of(path)
        for path in [*MODULES, *TEMPLATES]
        if re.search(r"/(?:home|Users)/\w+/", path.read_text(encoding="utf-8"))
    ]
    assert wrong == []
