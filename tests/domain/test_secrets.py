"""Rules of secrets, sealing, and masking: what may be given, and what never gets out."""

from __future__ import annotations

import random

import pytest

from runs.domain.errors import FieldsInvalid, Taken
from runs.domain.masking import MaskedStream, Masker
from runs.domain.sealing import CannotUnseal, Sealer
from runs.domain.secrets import (
    LARGEST_FILE_BYTES,
    LONGEST_VARIABLE_BYTES,
    MASK,
    MOST_SECRETS,
    SecretOperation,
    SecretValue,
    changed,
    check_collection,
    check_secret,
    file_fault,
    variable_fault,
)
from runs.execution.environment import VARIABLES

VALUE = "correct-horse-battery"
KEY, OTHER_KEY = "k" * 40, "o" * 40


# --- What may be given --------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["API_KEY", "db_password", "_x", "GRB_LICENSEID", "X1"])
def test_names_of_variables(name: str) -> None:
    assert variable_fault(name) == ""


@pytest.mark.parametrize("name", ["", "1A", "A-B", "A B", "A=B", "Ä", "A\n", "A\0", "x" * 256])
def test_what_is_no_name_of_a_variable(name: str) -> None:
    assert "no name" in variable_fault(name)


@pytest.mark.parametrize(
    "name",
    [
        *sorted(VARIABLES),
        *("PYTHONPATH", "PYTHONSTARTUP", "LD_PRELOAD", "LD_LIBRARY_PATH", "RUNSITE_X", "path"),
        *("BASH_ENV", "NODE_OPTIONS", "JAVA_TOOL_OPTIONS", "GLIBC_TUNABLES", "DYLD_INSERT_X"),
    ],
)
def test_what_starts_programs_and_what_we_set_is_no_secret(name: str) -> None:
    assert "another name" in variable_fault(name)


@pytest.mark.parametrize("path", ["key.pem", "keys/service.json", ".env", "a/b/c d.txt", "ä.txt"])
def test_paths_of_files(path: str) -> None:
    assert file_fault(path) == ""


@pytest.mark.parametrize(
    "path",
    [
        *("", "/etc/app/license.key", "~/key", "../key", "a/../b", "./a", "a//b", "a/", "."),
        *("a\0b", "a\nb", "a\\b", "x" * 300, "a/" * 600 + "b", "\udc80"),
        *("outputs/solutions/key", "output/key", "outputs"),
    ],
)
def test_what_is_no_path_of_a_file(path: str) -> None:
    assert file_fault(path)


def test_an_absolute_path_is_answered_with_a_relative_one() -> None:
    assert "`etc/app/license.key`" in file_fault("/etc/app/license.key")


@pytest.mark.parametrize(
    ("kind", "value", "words"),
    [
        ("env", "", "Give a value"),
        ("env", MASK, "stands for"),
        ("env", "a\0b", "zero byte"),
        ("file", "\udc80", "valid text"),
        ("env", "x" * (LONGEST_VARIABLE_BYTES + 1), "Use a file"),
        ("file", "x" * (LARGEST_FILE_BYTES + 1), "Shorten"),
    ],
)
def test_values_that_do_not_fit(kind: str, value: str, words: str) -> None:
    errors = check_secret(kind, "A", value)
    assert list(errors) == ["value"]
    assert words in errors["value"][0]


def test_a_kind_that_is_not_known_is_refused() -> None:
    assert "env or file" in check_secret("vault", "A", "b")["kind"][0]


def test_a_collection_has_limits_and_no_doubles() -> None:
    check_collection([SecretValue("env", f"A{n}", "x") for n in range(MOST_SECRETS)])
    for wrong, words in (
        ([SecretValue("env", f"A{n}", "x") for n in range(MOST_SECRETS + 1)], "at most 100"),
        ([SecretValue("env", "A", "x"), SecretValue("env", "A", "y")], "twice"),
        ([SecretValue("file", "a", "x"), SecretValue("file", "a/b", "y")], "lies below"),
        (
            [SecretValue("file", f"a{n}", "x" * LARGEST_FILE_BYTES) for n in range(5)],
            "together",
        ),
    ):
        with pytest.raises(FieldsInvalid, match=words):
            check_collection(wrong)


def test_operations_follow_one_another() -> None:
    before = [SecretValue("env", "A", "1"), SecretValue("file", "a", "2")]
    after = changed(
        before,
        [
            SecretOperation("update", "env", "A", "new"),
            SecretOperation("delete", "file", "a"),
            SecretOperation("create", "file", "a/b", "3"),
        ],
    )
    assert {key: one.value for key, one in after.items()} == {
        ("env", "A"): "new",
        ("file", "a/b"): "3",
    }
    kept = changed(before, [SecretOperation("update", "env", "A", MASK)])
    assert kept["env", "A"] is before[0], "a mask that is sent back changes nothing"


@pytest.mark.parametrize(
    ("operation", "error", "words"),
    [
        (SecretOperation("create", "env", "A", "2"), Taken, "already"),
        (SecretOperation("update", "env", "B", "2"), FieldsInvalid, "There is not"),
        (SecretOperation("delete", "env", "B"), FieldsInvalid, "There is not"),
        (SecretOperation("update", "env", "A"), FieldsInvalid, "Give"),
        (SecretOperation("create", "env", "PATH", "2"), FieldsInvalid, "another name"),
        (SecretOperation("rename", "env", "A", "2"), FieldsInvalid, "none of"),  # type: ignore[arg-type]
    ],
)
def test_operations_that_cannot_be(
    operation: SecretOperation, error: type[FieldsInvalid], words: str
) -> None:
    with pytest.raises(error, match=words):
        changed([SecretValue("env", "A", "1")], [operation])


def test_no_text_made_of_a_secret_has_its_value() -> None:
    assert VALUE not in repr(SecretValue("env", "A", VALUE))
    assert VALUE not in repr(SecretOperation("create", "env", "A", VALUE))
    for kind, location in (("env", "1 A"), ("file", "../a"), ("x", "A")):
        assert VALUE not in str(check_secret(kind, location, VALUE))


# --- Sealing ------------------------------------------------------------------------------------


def test_what_is_sealed_opens_with_the_key_alone() -> None:
    sealer = Sealer([KEY])
    sealed = sealer.seal(VALUE)
    assert VALUE not in sealed
    assert sealed != sealer.seal(VALUE), "equal values look different"
    assert sealer.open(sealed) == VALUE
    for wrong in (sealed[:-3] + "abc", "", "nonsense", sealed[:20]):
        with pytest.raises(CannotUnseal):
            sealer.open(wrong)
    with pytest.raises(CannotUnseal):
        Sealer([OTHER_KEY]).open(sealed)


def test_a_former_key_still_opens_and_the_present_one_seals() -> None:
    former = Sealer([KEY]).seal(VALUE)
    rotated = Sealer([OTHER_KEY, KEY])
    assert rotated.open(former) == VALUE
    assert not rotated.is_current(former)
    assert Sealer([OTHER_KEY]).open(rotated.seal(VALUE)) == VALUE


# --- Masking ------------------------------------------------------------------------------------


def test_values_are_masked_and_short_ones_are_not() -> None:
    masker = Masker([VALUE, "short", "with\ttabs"])
    assert masker.text(f"main --key {VALUE}, {VALUE}") == f"main --key {MASK}, {MASK}"
    assert masker.text("a short text") == "a short text"
    assert masker.text("main with tabs") == f"main {MASK}", "as command lines are shown"
    assert not Masker(["short", "", "------"])


def test_a_value_that_was_cut_is_masked_as_far_as_it_goes() -> None:
    masker = Masker([VALUE])
    assert masker.text(f"main --key={VALUE[:10]}…") == f"main --key={MASK}…"
    assert masker.text(f"main {VALUE[:6]}") == f"main {MASK}"
    assert masker.text(f"main {VALUE[:5]}") == f"main {VALUE[:5]}"


def test_lines_of_a_value_are_masked_each() -> None:
    pem = "-----BEGIN KEY-----\nMIIEowIBAAKCAQEA\nqwertzuiop\n-----END KEY-----\n"
    assert masker_lines(pem, pem) == [MASK] * 4


def masker_lines(value: str, text: str) -> list[str]:
    return Masker([value]).text(text).splitlines()


def streamed(masker: Masker, pieces: list[bytes]) -> bytes:
    out: list[bytes] = []
    stream = MaskedStream(masker, out.append)
    for piece in pieces:
        stream.write(piece)
    stream.close()
    return b"".join(out)


def test_a_value_is_found_wherever_the_pieces_are_cut() -> None:
    masker = Masker([VALUE])
    text = f"key={VALUE}\nonce more {VALUE}{VALUE} correct-horse end".encode()
    wanted = text.replace(VALUE.encode(), MASK.encode())
    for cut in range(len(text)):
        assert streamed(masker, [text[:cut], text[cut:]]) == wanted, cut
    assert streamed(masker, [text[at : at + 1] for at in range(len(text))]) == wanted


def test_overlapping_values_come_out_the_same_however_they_are_cut() -> None:
    generator = random.Random(7)
    for _ in range(300):
        words = [
            "".join(generator.choice("ab") for _ in range(generator.randint(6, 12)))
            for _ in range(3)
        ]
        text = "".join(generator.choice("ab\n") for _ in range(60)).encode()
        masker = Masker(words)
        whole = streamed(masker, [text])
        assert not any(word.encode() in text and whole == text for word in words)
        cuts = sorted(generator.sample(range(len(text)), 5))
        bounds = zip([0, *cuts], [*cuts, len(text)], strict=True)
        assert streamed(masker, [text[a:b] for a, b in bounds]) == whole


def test_only_what_may_begin_a_value_is_held_back() -> None:
    out: list[bytes] = []
    stream = MaskedStream(Masker([VALUE]), out.append)
    stream.write(b"progress 10% cor")
    assert out == [b"progress 10% "]
    stream.write(b"n\n")
    assert b"".join(out) == b"progress 10% corn\n"


def test_masking_takes_no_long_time_for_unlucky_texts() -> None:
    masker = Masker(["a" * 20_000 + "b", *(f"value-number-{n}" for n in range(50))])
    pieces = [b"a" * 65_536] * 4
    assert streamed(masker, pieces) == b"".join(pieces)
