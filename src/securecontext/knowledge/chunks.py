"""Cut a text into chunks of at most 200 tokens at its natural borders: pure.

The size is an estimate: four ASCII characters are a token, and any other character is one. It errs on the
large side for English (about 4.5 characters a word piece), source code and CJK, so that an embedder with a
window of 256 sees the whole chunk.

Borders, best first: headings and blank lines, lines, sentences, words, and last a hard cut. Small
neighbours are packed together; a fenced code block stays whole when it fits.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

CHUNK_TOKENS: Final = 200
UNITS_A_TOKEN: Final = 4
_ROOM: Final = CHUNK_TOKENS * UNITS_A_TOKEN
_SECTION_BREAKS_FROM: Final = _ROOM // 4
"""A heading starts a chunk of its own unless what stands before it is shorter than this."""

_HEADING: Final = re.compile(r" {0,3}#{1,6}(?=[ \t\n]|$)")
_FENCE: Final = re.compile(r" {0,3}(`{3,}|~{3,})")
_BORDERS: Final = (
    re.compile(r"\n+"),
    re.compile(r"[.!?…][\"'\u201d\u2019)\]]{0,3}\s+|[\u3002\uff01\uff1f]"),
    re.compile(r"\s+"),
)


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a text.

    Attributes:
        position: 0, 1, 2 … within the text.
        start: offset of its first character in the text, in characters.
        text: exactly ``text[start : start + len(chunk.text)]``; it begins and ends with visible characters.
    """

    position: int
    start: int
    text: str


def split(text: str) -> list[Chunk]:
    """Return the chunks of a text in order: each visible character is in exactly one of them."""
    chunks: list[Chunk] = []
    for start, end in _Splitter(text).spans():
        raw = text[start:end]
        body = raw.strip()
        if body:
            start += len(raw) - len(raw.lstrip())
            chunks.append(Chunk(len(chunks), start, body))
    return chunks


def estimated_tokens(text: str) -> int:
    """Return the estimate that `split` keeps within `CHUNK_TOKENS`, rounded up."""
    units = len(text) if text.isascii() else sum(1 if c < "\x80" else UNITS_A_TOKEN for c in text)
    return -(-units // UNITS_A_TOKEN)


class _Splitter:
    """One text and the running sum of its units, so that the size of any span is one subtraction."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._sums: list[int] | None = None
        if not text.isascii():
            self._sums = list(accumulate((1 if c < "\x80" else UNITS_A_TOKEN for c in text), initial=0))

    def spans(self) -> list[tuple[int, int]]:
        packed: list[tuple[int, int]] = []
        current: tuple[int, int] | None = None
        for start, end in self._blocks():
            heading = _HEADING.match(self._text, start) is not None
            if current is not None:
                long_enough = self._units(*current) >= _SECTION_BREAKS_FROM
                if not (heading and long_enough) and self._units(current[0], end) <= _ROOM:
                    current = (current[0], end)
                    continue
                packed.append(current)
            current = None
            if self._units(start, end) <= _ROOM:
                current = (start, end)
            else:
                packed.extend(self._cut(start, end, 0))
        if current is not None:
            packed.append(current)
        return packed

    def _units(self, start: int, end: int) -> int:
        return end - start if self._sums is None else self._sums[end] - self._sums[start]

    def _blocks(self) -> Iterator[tuple[int, int]]:
        """Yield paragraphs, headings and fenced blocks; together they cover the text."""
        start = position = 0
        fence = ""
        blank_before = False
        for line in self._text.splitlines(keepends=True):
            mark = _FENCE.match(line)
            blank = not line.strip()
            if fence:
                if mark is not None and mark.group(1).startswith(fence) and line.strip() == mark.group(1):
                    fence = ""
                    blank_before = True  # what follows a closed fence is a block of its own
            else:
                opens = mark is not None
                begins = opens or _HEADING.match(line) is not None or (blank_before and not blank)
                if begins and position > start:
                    yield start, position
                    start = position
                blank_before = blank
                if mark is not None:
                    fence = mark.group(1)
            position += len(line)
        if position > start:
            yield start, position

    def _cut(self, start: int, end: int, level: int) -> Iterator[tuple[int, int]]:
        """Yield spans of at most the room, at the best borders from this level on."""
        if level == len(_BORDERS):
            yield from self._hard(start, end)
            return
        current = start
        last = start
        for border in self._stops(start, end, level):
            if self._units(current, border) <= _ROOM:
                last = border
                continue
            if last > current:
                yield current, last
                current = last
            if self._units(current, border) > _ROOM:
                yield from self._cut(current, border, level + 1)
                current = border
            last = border
        if last > current:
            yield current, last

    def _stops(self, start: int, end: int, level: int) -> Iterator[int]:
        last = start
        for match in _BORDERS[level].finditer(self._text, start, end):
            last = match.end()
            yield last
        if last < end:
            yield end

    def _hard(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        while start < end:
            stop = min(start + _ROOM, end)
            if self._sums is not None:
                while self._units(start, stop) > _ROOM:
                    stop -= max(1, (self._units(start, stop) - _ROOM) // UNITS_A_TOKEN)
            yield start, stop
            start = stop
