"""Requirements are read from every form, and dangerous ones are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from runs.execution.requirements import RequirementsRefused, bundled_packages, read_requirements


def test_a_list_is_taken_entry_by_entry(tmp_path):
    wanted = ["numpy>=1.26", " scipy == 1.11 ", "pandas[excel,fss]~=2.0", "numpy>=1.26"]
    found = read_requirements(tmp_path, "list", wanted)
    assert found == ("numpy>=1.26", "scipy == 1.11", "pandas[excel,fss]~=2.0")
    assert read_requirements(tmp_path, "list", "numpy") == ("numpy",)
    assert read_requirements(tmp_path, "list", []) == ()


def test_no_requirements_and_bundled_ones_need_no_package(tmp_path):
    assert read_requirements(tmp_path, "none") == ()
    assert read_requirements(tmp_path, "bundled") == ()
    assert bundled_packages(tmp_path) is None
    folder = tmp_path / ".nextmv" / "python" / "deps"
    folder.mkdir(parents=True)
    assert bundled_packages(tmp_path) == folder


def test_a_file_is_read_without_comments_and_with_its_includes(tmp_path):
    (tmp_path / "more").mkdir()
    (tmp_path / "requirements.txt").write_text(
        "\ufeff# all of them\n"
        "\n"
        "numpy>=1.26  # arrays\n"
        "scipy ; python_version < '3.14'\n"
        "-r more/other.txt\n"
        "--constraint=more/limits.txt\n"
        "plotly==5.22 \\\n"
        "    --hash=sha256:abcdef0123 \\\n"
        "    --hash=sha256:0123abcdef\n"
        "tool @ https://example.com/tool-1.0.zip#sha1=abc\n"
        "git+https://example.com/project.git@v1#egg=project\n"
    )
    (tmp_path / "more" / "other.txt").write_text("-r ../requirements.txt\nhighspy\n")
    (tmp_path / "more" / "limits.txt").write_text("numpy<3\n-r other_limits.txt\n")
    (tmp_path / "more" / "other_limits.txt").write_text("scipy<2\n")
    assert read_requirements(tmp_path, "file", "requirements.txt") == (
        "numpy>=1.26",
        "scipy ; python_version < '3.14'",
        "highspy",
        "-c numpy<3",
        "-c scipy<2",
        "plotly==5.22 --hash=sha256:abcdef0123 --hash=sha256:0123abcdef",
        "tool @ https://example.com/tool-1.0.zip#sha1=abc",
        "git+https://example.com/project.git@v1#egg=project",
    )


def test_a_file_of_comments_asks_for_nothing(tmp_path):
    (tmp_path / "requirements.txt").write_text("# Standard library only.\n")
    assert read_requirements(tmp_path, "file", "requirements.txt") == ()


@pytest.mark.parametrize(
    "line",
    [
        "--index-url https://example.com/simple",
        "-i https://example.com/simple",
        "--extra-index-url=https://example.com",
        "--find-links wheels",
        "--no-binary :all:",
        "--pre",
        "-e .",
        "-e git+https://example.com/x.git#egg=x",
        "numpy --global-option=x",
        "--hash=sha256:abc",
        ".",
        "./package",
        "../package",
        "/etc/passwd",
        "~/x",
        "wheels/x-1.0-py3-none-any.whl",
        "x-1.0-py3-none-any.whl",
        "file:///etc/passwd",
        "x @ file:///etc/passwd",
        "x @ ./x",
        "x @ /x.whl",
        "git+file:///srv/x",
        "ftp://example.com/x.whl",
        "numpy>=${VERSION}",
        "https://example.com/${UV_INDEX}",
        "numpy scipy",
        "!numpy",
        "<html>",
    ],
)
def test_options_paths_and_nonsense_are_refused_with_file_and_line(tmp_path, line):
    (tmp_path / "requirements.txt").write_text(f"numpy\n{line}\n")
    with pytest.raises(RequirementsRefused, match=r"`requirements\.txt` line 2"):
        read_requirements(tmp_path, "file", "requirements.txt")
    with pytest.raises(RequirementsRefused, match="entry 2"):
        read_requirements(tmp_path, "list", ["numpy", line])


def test_a_list_entry_with_a_line_break_is_refused(tmp_path):
    for entry in ("numpy\n--index-url https://example.com", "numpy\nscipy"):
        with pytest.raises(RequirementsRefused, match="entry 1"):
            read_requirements(tmp_path, "list", [entry])


def test_a_password_is_not_repeated_in_the_message(tmp_path):
    with pytest.raises(RequirementsRefused) as refusal:
        read_requirements(tmp_path, "list", ["--index-url https://me:secret@example.com/"])
    assert "secret" not in str(refusal.value)


@pytest.mark.parametrize("name", ["../out.txt", "/etc/hostname", "missing.txt", "", "folder", "\0"])
def test_a_file_outside_or_missing_is_refused(tmp_path, name):
    (tmp_path / "out.txt").write_text("numpy\n")
    app = tmp_path / "app"
    (app / "folder").mkdir(parents=True)
    with pytest.raises(RequirementsRefused):
        read_requirements(app, "file", name)
    (app / "requirements.txt").write_text(f"-r {name or '../out.txt'}\n")
    with pytest.raises(RequirementsRefused):
        read_requirements(app, "file", "requirements.txt")


def test_a_link_that_leads_out_is_refused(tmp_path):
    (tmp_path / "secret.txt").write_text("secret-package\n")
    app = tmp_path / "app"
    app.mkdir()
    (app / "requirements.txt").symlink_to(tmp_path / "secret.txt")
    with pytest.raises(RequirementsRefused, match="outside"):
        read_requirements(app, "file", "requirements.txt")


def test_a_huge_or_binary_file_is_refused(tmp_path):
    (tmp_path / "huge.txt").write_text("numpy\n" * 300_000)
    (tmp_path / "many.txt").write_text("numpy\n" * 10_001)
    (tmp_path / "binary.txt").write_bytes(b"numpy\xff\n")
    for name, word in (("huge", "larger"), ("many", "more than"), ("binary", "UTF-8")):
        with pytest.raises(RequirementsRefused, match=word):
            read_requirements(tmp_path, "file", f"{name}.txt")


def test_a_project_file_gives_its_dependencies(tmp_path):
    (tmp_path / "pyproject.toml").write_text(
        '[project]\nname = "x"\ndependencies = ["numpy>=1.26", "plotly"]\n'
    )
    assert read_requirements(tmp_path, "pyproject", "pyproject.toml") == ("numpy>=1.26", "plotly")
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "x"\n')
    assert read_requirements(tmp_path, "pyproject") == ()


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("[project", "not valid TOML"),
        ("x = 1", r"no `\[project\]`"),
        ('[project]\ndynamic = ["dependencies"]', "dynamic"),
        ('[project]\ndependencies = "numpy"', "not a list"),
        ("[project]\ndependencies = [1]", "not a list"),
        ('[project]\ndependencies = ["-e ."]', "option"),
    ],
)
def test_a_project_file_that_cannot_be_used_is_explained(tmp_path: Path, text, word):
    (tmp_path / "pyproject.toml").write_text(text)
    with pytest.raises(RequirementsRefused, match=word):
        read_requirements(tmp_path, "pyproject", "pyproject.toml")
