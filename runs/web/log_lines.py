"""Log lines as safe HTML: colours of terminals as classes, everything else inert and visible."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from html import escape

from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

from runs.actions.results import LogPiece
from runs.templatetags.human import filesize

LONGEST_LINE = 10_000
"""Characters of a line that are shown; the rest is a download."""

_LONGEST_BYTES = 4 * LONGEST_LINE
_NAMES = ("black", "red", "green", "yellow", "blue", "magenta", "cyan", "white")
_COLOURS = (*_NAMES, *(f"bright-{name}" for name in _NAMES))
_STYLES = {1: "bold", 2: "dim", 3: "italic", 4: "underline", 7: "inverse", 9: "strike"}
_ENDS = {
    22: ("bold", "dim"),
    23: ("italic",),
    24: ("underline",),
    27: ("inverse",),
    29: ("strike",),
}
_PALETTE = (
    *((0, 0, 0), (205, 49, 49), (13, 160, 80), (200, 160, 20)),
    *((36, 90, 220), (188, 63, 188), (17, 160, 190), (200, 200, 200)),
    *((110, 110, 110), (255, 85, 85), (60, 220, 120), (255, 235, 70)),
    *((80, 150, 255), (230, 110, 230), (60, 220, 240), (255, 255, 255)),
)
# Characters that a plain line does not have: controls, and marks that hide or turn text around.
_MARKS = (
    "\u00ad\u061c\u180e\u200b\u200e\u200f\u2028\u2029\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
)
_UNUSUAL = re.compile(f"[\x00-\x08\x0a-\x1f\x7f-\x9f{_MARKS}\U000e0000-\U000e007f]")
_SEQUENCE = re.compile(
    r"\x1b\[([0-9;:]*)m"  # colours and styles
    r"|\x1b\[[0-?]*[ -/]*[@-~]"  # moves of the cursor and the like
    r"|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)"  # titles, links, strings
    r"|\x1b[ -/]*[0-Z\\`-~]"  # the other escapes
)


@dataclass(frozen=True)
class Lines:
    """Rows of a log as HTML, and the number that the line after them has."""

    html: SafeString
    count: int
    next_line: int


@dataclass(frozen=True)
class LineStyle:
    """What rows need beside their bytes: where the rest of a long line is, what was searched."""

    raw_url: str = ""
    needle: str = ""
    id_prefix: str = "L"


PLAIN = LineStyle()


def render_lines(piece: LogPiece, style: LineStyle = PLAIN) -> Lines:
    """Every line of `piece` as a row; what was dropped before it is said in a row of its own."""
    rows: list[str] = []
    if piece.missing:
        rows.append(render_gap(piece.missing))
    number = piece.first_line
    position = piece.first_byte
    marker = _marker(style.needle)
    times = iter(piece.times)
    upcoming = next(times, None)
    stamp = ""
    for line in _split(piece.data):
        while upcoming is not None and upcoming[0] <= position:
            stamp = _stamp(upcoming[1])
            upcoming = next(times, None)
        rows.append(_row(line, number, position, stamp, style, marker))
        position += len(line) + 1
        number += 1
    return Lines(mark_safe("".join(rows)), len(rows), number)


def render_partial(piece: LogPiece) -> str:
    """The text of an unfinished line, without the row around it."""
    return _text(piece.data, None)[0]


def render_gap(missing: int) -> str:
    """A row that says how much was left out."""
    return format_html('<div class="log-cut">{} left out here</div>', filesize(missing))


def _split(data: bytes) -> list[bytes]:
    lines = data.split(b"\n")
    if lines[-1] == b"":
        lines.pop()
    return lines


def _row(
    line: bytes,
    number: int,
    position: int,
    stamp: str,
    style: LineStyle,
    marker: re.Pattern[str] | None,
) -> str:
    text, hidden = _text(line, marker)
    name = f"{style.id_prefix}{number}"
    more = ""
    if hidden:
        more = _more(style.raw_url, position, position + len(line), hidden)
    return (
        f'<div class="log-line" id="{name}"><a class="log-number" href="#{name}">{number}</a>'
        f'{stamp}<span class="log-text">{text}</span>{more}</div>'
    )


def _more(raw_url: str, start: int, end: int, hidden: int) -> str:
    said = f"{filesize(hidden)} more in this line"
    if not raw_url:
        return format_html(' <span class="ansi-dim">… {}</span>', said)
    joint = "&" if "?" in raw_url else "?"
    address = f"{raw_url}{joint}start={start}&end={end}"
    return format_html(' <a class="log-more" href="{}">… {}</a>', address, said)


def _text(line: bytes, marker: re.Pattern[str] | None) -> tuple[str, int]:
    """A line as HTML, and how many of its bytes are not in it."""
    line = line.rstrip(b"\r")
    # As on a terminal: what comes after a carriage return is written over what was before.
    line = line[line.rfind(b"\r") + 1 :]
    hidden = max(0, len(line) - _LONGEST_BYTES)
    text = line[:_LONGEST_BYTES].decode("utf-8", errors="replace")
    if len(text) > LONGEST_LINE:
        hidden += len(text[LONGEST_LINE:].encode())
        text = text[:LONGEST_LINE]
    if not _UNUSUAL.search(text):
        return _marked(text, marker), hidden
    return "".join(_spans(text, marker)), hidden


def _spans(text: str, marker: re.Pattern[str] | None) -> Iterator[str]:
    state: dict[str, str] = {}
    start = 0
    for sequence in _SEQUENCE.finditer(text):
        yield _span(text[start : sequence.start()], state, marker)
        start = sequence.end()
        if sequence[1] is not None:
            _change(state, sequence[1])
    yield _span(text[start:], state, marker)


def _span(text: str, state: dict[str, str], marker: re.Pattern[str] | None) -> str:
    if not text:
        return ""
    inside = _visible(text, marker)
    classes = " ".join(f"ansi-{name}" for name in state.values())
    return f'<span class="{classes}">{inside}</span>' if classes else inside


def _visible(text: str, marker: re.Pattern[str] | None) -> str:
    if not _UNUSUAL.search(text):
        return _marked(text, marker)
    pieces: list[str] = []
    start = 0
    for found in _UNUSUAL.finditer(text):
        pieces.append(_marked(text[start : found.start()], marker))
        pieces.append(_control(found[0]))
        start = found.end()
    pieces.append(_marked(text[start:], marker))
    return "".join(pieces)


@lru_cache(maxsize=512)
def _control(letter: str) -> str:
    code = ord(letter)
    if code < 0x20:
        return f'<span class="ansi-dim">{chr(0x2400 + code)}</span>'
    if code == 0x7F:
        return '<span class="ansi-dim">\N{SYMBOL FOR DELETE}</span>'
    return f'<span class="ansi-dim">[U+{code:04X}]</span>'


def _marked(text: str, marker: re.Pattern[str] | None) -> str:
    if marker is None:
        return escape(text)
    pieces: list[str] = []
    start = 0
    for found in marker.finditer(text):
        pieces += (escape(text[start : found.start()]), "<mark>", escape(found[0]), "</mark>")
        start = found.end()
    pieces.append(escape(text[start:]))
    return "".join(pieces)


def _marker(needle: str) -> re.Pattern[str] | None:
    if not needle:
        return None
    any_case = not any(letter.isupper() for letter in needle)
    return re.compile(re.escape(needle), re.ASCII | re.IGNORECASE if any_case else re.NOFLAG)


@lru_cache(maxsize=4096)
def _stamp(at: datetime) -> str:
    exact = at.astimezone(UTC)
    milliseconds = exact.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return f'<time class="log-time" datetime="{milliseconds}">{milliseconds[11:-1]}</time>'


def _change(state: dict[str, str], parameters: str) -> None:
    """Apply the parameters of one sequence of colours and styles."""
    codes = [int(code[:4] or 0) for code in re.split("[;:]", parameters)][:64]
    place = 0
    while place < len(codes):
        code = codes[place]
        place += 1
        if code == 0:
            state.clear()
        elif code in _STYLES:
            state[_STYLES[code]] = _STYLES[code]
        elif code in _ENDS:
            for name in _ENDS[code]:
                state.pop(name, None)
        elif code in (38, 48):
            number, used = _extended(codes[place:])
            place += used
            if number is not None:
                _colour(state, code == 48, number)
        elif code in (39, 49):
            state.pop("ground" if code == 49 else "ink", None)
        elif 30 <= code <= 37 or 40 <= code <= 47:
            _colour(state, code >= 40, code % 10)
        elif 90 <= code <= 97 or 100 <= code <= 107:
            _colour(state, code >= 100, code % 10 + 8)


def _colour(state: dict[str, str], ground: bool, number: int) -> None:
    name = _COLOURS[number]
    if ground:
        state["ground"] = f"bg-{name}"
    else:
        state["ink"] = name


def _extended(codes: list[int]) -> tuple[int | None, int]:
    """The nearest of the 16 colours to a 256 or true colour, and how many codes it took."""
    if codes[:1] == [5] and len(codes) >= 2:
        number = min(codes[1], 255)
        if number < 16:
            return number, 2
        if number >= 232:
            grey = 8 + 10 * (number - 232)
            return _nearest(grey, grey, grey), 2
        steps = (0, 95, 135, 175, 215, 255)
        number -= 16
        return _nearest(steps[number // 36], steps[number // 6 % 6], steps[number % 6]), 2
    if codes[:1] == [2] and len(codes) >= 4:
        return _nearest(codes[1], codes[2], codes[3]), 4
    return None, len(codes)


@lru_cache(maxsize=4096)
def _nearest(red: int, green: int, blue: int) -> int:
    def distance(number: int) -> int:
        r, g, b = _PALETTE[number]
        return (r - red) ** 2 + (g - green) ** 2 + (b - blue) ** 2

    return min(range(16), key=distance)
