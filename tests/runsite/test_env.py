"""Readers of the environment: defaults, values, and one clear line for what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from runsite import env

NAME = "RUNSITE_EXAMPLE"


@pytest.fixture(autouse=True)
def _absent(monkeypatch):
    monkeypatch.delenv(NAME, raising=False)
    monkeypatch.delenv(f"{NAME}_FILE", raising=False)


def refuse(read, *words):
    """The reader raises one line that names the variable and holds `words`."""
    with pytest.raises(env.SettingError) as caught:
        read()
    message = str(caught.value)
    assert NAME in message
    assert "\n" not in message
    for word in words:
        assert word in message
    return message


@pytest.mark.parametrize("empty", [None, "", "   "])
def test_an_absent_or_empty_variable_gives_the_default(monkeypatch, empty, tmp_path):
    if empty is not None:
        monkeypatch.setenv(NAME, empty)
    assert env.text(NAME, "a") == "a"
    assert env.secret(NAME) is None
    assert env.integer(NAME, 3) == 3
    assert env.flag(NAME, True) is True
    assert env.words(NAME, ("x",)) == ("x",)
    assert env.folder(NAME, tmp_path) == tmp_path
    assert env.folders(NAME) == ()
    assert env.url(NAME, "http://a", schemes=("http",)) == "http://a"
    assert env.secret_url(NAME, schemes=("redis",)) is None
    assert env.seconds(NAME, 1.5) == 1.5
    assert env.seconds(NAME, None) is None
    assert env.size(NAME, 7) == 7


def test_values_are_read(monkeypatch, tmp_path):
    monkeypatch.setenv(NAME, " 12 ")
    assert env.text(NAME) == "12"
    assert env.integer(NAME, 1) == 12
    assert env.seconds(NAME, None) == 12.0
    assert env.size(NAME, 0) == 12
    monkeypatch.setenv(NAME, "a, b ,,c")
    assert env.words(NAME) == ("a", "b", "c")
    monkeypatch.setenv(NAME, f"{tmp_path}:/srv/apps:")
    assert env.folders(NAME) == (tmp_path, Path("/srv/apps"))
    monkeypatch.setenv(NAME, "https://example.org/console/")
    assert env.url(NAME, None, schemes=("https",)) == "https://example.org/console"


@pytest.mark.parametrize(
    ("given", "bytes_"),
    [("5", 5), ("1k", 1024), ("1.5 MiB", 3 << 19), ("2GB", 2 << 30), ("4 GiB", 4 << 30)],
)
def test_sizes_take_units(monkeypatch, given, bytes_):
    monkeypatch.setenv(NAME, given)
    assert env.size(NAME, 0) == bytes_


@pytest.mark.parametrize(
    ("given", "meant"), [("1", True), ("YES", True), ("on", True), ("0", False), ("False", False)]
)
def test_flags_take_the_usual_words(monkeypatch, given, meant):
    monkeypatch.setenv(NAME, given)
    assert env.flag(NAME, not meant) is meant


def test_a_relative_folder_starts_at_the_current_directory(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(NAME, "some/../data")
    assert env.folder(NAME, Path("/x")) == tmp_path / "data"


def test_none_stands_for_no_limit_only_where_that_is_the_default(monkeypatch):
    monkeypatch.setenv(NAME, "none")
    assert env.seconds(NAME, None) is None
    refuse(lambda: env.seconds(NAME, 5.0), "seconds")


@pytest.mark.parametrize(
    ("given", "read", "word"),
    [
        ("many", lambda: env.integer(NAME, 2), "whole number"),
        ("1.5", lambda: env.integer(NAME, 2), "whole number"),
        ("0", lambda: env.integer(NAME, 2, minimum=1), "at least 1"),
        ("70000", lambda: env.integer(NAME, 2, maximum=65535), "at most 65535"),
        ("maybe", lambda: env.flag(NAME, True), "1 or 0"),
        ("nan", lambda: env.seconds(NAME, 1.0), "seconds"),
        ("inf", lambda: env.seconds(NAME, 1.0), "seconds"),
        ("-1", lambda: env.seconds(NAME, 1.0), "at least"),
        ("4 XB", lambda: env.size(NAME, 1), "4 GiB"),
        ("-4", lambda: env.size(NAME, 1), "size"),
        ("blue", lambda: env.text(NAME, "red", choices=("red", "green")), "red, green"),
        ("a\nb", lambda: env.folder(NAME, Path("/x")), "line break"),
        ("apps", lambda: env.folders(NAME), "full paths"),
        ("ftp://a", lambda: env.url(NAME, None, schemes=("http",)), "http://"),
        ("example.org", lambda: env.url(NAME, None, schemes=("http",)), "http://"),
        ("http://a:port", lambda: env.url(NAME, None, schemes=("http",)), "well-formed"),
        ("http://a b", lambda: env.url(NAME, None, schemes=("http",)), "blank"),
    ],
)
def test_a_wrong_value_is_refused_with_the_remedy(monkeypatch, given, read, word):
    monkeypatch.setenv(NAME, given)
    refuse(read, word)


def test_an_address_with_a_password_is_never_repeated(monkeypatch):
    for value in ("http://me:hush-hush@db/x", "redis://me:hush-hush@db:port/x"):
        monkeypatch.setenv(NAME, value)
        message = refuse(lambda: env.secret_url(NAME, schemes=("redis", "rediss")))
        assert "hush" not in message


def test_a_secret_comes_from_a_file(monkeypatch, tmp_path):
    path = tmp_path / "secret"
    path.write_text("hush\n")
    monkeypatch.setenv(f"{NAME}_FILE", str(path))
    assert env.secret(NAME) == "hush"


def test_a_secret_given_twice_is_refused(monkeypatch, tmp_path):
    monkeypatch.setenv(NAME, "hush")
    monkeypatch.setenv(f"{NAME}_FILE", str(tmp_path / "secret"))
    assert "hush" not in refuse(lambda: env.secret(NAME), "both")


def test_a_secret_file_that_is_missing_or_empty_is_refused(monkeypatch, tmp_path):
    path = tmp_path / "secret"
    monkeypatch.setenv(f"{NAME}_FILE", str(path))
    refuse(lambda: env.secret(NAME), str(path), "cannot be read")
    path.write_text("\n")
    refuse(lambda: env.secret(NAME), str(path), "empty")
    path.write_bytes(b"\xff\xfe")
    refuse(lambda: env.secret(NAME), "UTF-8")
