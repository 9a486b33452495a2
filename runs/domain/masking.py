"""Keeps values of secrets out of texts: in what is written of a run, and in its log as it comes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import AnyStr

from runs.domain.secrets import MASK

SHORTEST = 6
"""Shorter values are not masked: they stand in too many words that are no secret."""
MOST_WORDS = 500
"""So many values and lines of values are looked for at most; whole values go first."""
_LIVELY = re.compile(r"\w")


class Masker:
    """Puts the mask wherever one of `values` stands. Of a value of several lines, any of its lines.

    It knows the values as they are, not what a program makes of them (base64, escaped, reversed).
    """

    def __init__(self, values: Iterable[str] = ()) -> None:
        given = list(values)
        lines = (line for value in given for line in value.splitlines())
        found: dict[str, None] = {}
        for word in (*given, *lines):
            word = word.strip()
            if len(word) < SHORTEST or "\n" in word or not _LIVELY.search(word):
                continue
            found[word] = None
            # Command lines are shown with blanks for what cannot be printed.
            found["".join(char if char.isprintable() else " " for char in word).strip()] = None
            if len(found) >= MOST_WORDS:
                break
        self._words = sorted(found, key=lambda word: (-len(word), word))
        self._bytes = [word.encode() for word in self._words]

    def __bool__(self) -> bool:
        return bool(self._words)

    def text(self, text: str) -> str:
        """`text` with the mask for each value, also for one that was cut at the end of the text."""
        for word in self._words:
            text = text.replace(word, MASK)
        body = text.removesuffix("…")
        cut = max((_begun(body, word, SHORTEST) for word in self._words), default=0)
        return f"{body[: len(body) - cut]}{MASK}{text[len(body) :]}" if cut else text

    def sure(self, data: bytes) -> tuple[bytes, bytes]:
        """What can be said of `data` before its next piece is known, masked; and the rest of it.

        The rest is what may be the beginning of a value.
        """
        present = [word for word in self._bytes if word in data]
        end = len(data) - self._begun(data)
        if not present:
            return data[:end], data[end:]
        # The first in the text wins, and of those the longest: the same however it is cut.
        pattern = re.compile(b"|".join(map(re.escape, present)))
        done: list[bytes] = []
        at = 0
        while (match := pattern.search(data, at)) and match.start() < end:
            done += [data[at : match.start()], MASK.encode()]
            at = match.end()
            if at > end:
                end = len(data) - self._begun(data[at:])
        done.append(data[at:end])
        return b"".join(done), data[end:]

    def _begun(self, data: bytes) -> int:
        tail = data[data.rfind(b"\n") + 1 :]  # no word holds a line break
        return max((_begun(tail, word, 1) for word in self._bytes), default=0)


class MaskedStream:
    """Hands on what is written with the mask for each value, wherever the pieces are cut."""

    def __init__(self, masker: Masker, write: Callable[[bytes], None]) -> None:
        self._masker = masker
        self._write = write
        self._rest = b""

    def write(self, data: bytes) -> None:
        """Take the next piece, and hand on all but what may be the beginning of a value."""
        done, self._rest = self._masker.sure(self._rest + data)
        if done:
            self._write(done)

    def close(self) -> None:
        """Hand on what was held back: nothing comes after it."""
        # A line break ends every beginning, and is not handed on.
        done, self._rest = self._masker.sure(self._rest + b"\n")[0][:-1], b""
        if done:
            self._write(done)


def _begun(text: AnyStr, word: AnyStr, least: int) -> int:
    """The length of the longest end of `text` with which `word` begins, not the whole of it.

    0 when that is shorter than `least`. Takes few steps, also for texts and words of many bytes.
    """
    text = text[max(0, len(text) - len(word) + 1) :]
    head = word[:16]
    at = text.find(head)
    while at >= 0:
        if word.startswith(text[at:]):
            return len(text) - at
        at = text.find(head, at + 1)
    for length in range(min(len(head) - 1, len(text)), least - 1, -1):
        if text.endswith(word[:length]):
            return length
    return 0
