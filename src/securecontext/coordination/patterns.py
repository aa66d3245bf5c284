"""Which files a reservation means, and whether two of them meet: a pure decision about text.

A pattern is a path from the top of the working tree. ``*`` stands for any characters within a name, ``?`` for one,
``**`` for any number of folders; brackets are what they are in a name. A pattern covers what it matches **and all that
lies below**: ``src/auth`` is the file or the whole folder. Letters that differ only in case are taken for the same,
since some file systems do; so two patterns meet rather once too often.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from securecontext.types.errors import InvalidInput
from securecontext.validators.filesystem import SafePath

MOST_WILDCARDS: Final = 16
"""In one pattern: bounds what comparing two of them costs."""
ANY: Final = "**"
ONE: Final = "??"
"""Marks within a name; two characters, so that none of a name's own is taken for them."""
FOLDERS: Final = ("//",)
"""A part that stands for any number of folders."""

Part = tuple[str, ...]
"""A name as its characters and marks."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """A pattern; make it with `Pattern.of`.

    Attributes:
        text: as it is stored and shown.
        parts: names from the top down, letters folded; none for the whole tree.
    """

    text: str
    parts: tuple[Part, ...]

    @classmethod
    def of(cls, raw: str) -> Pattern:
        """Return the pattern that a text says.

        Raises:
            InvalidInput: ``pattern_braces``, ``pattern_wildcards``, or as `validators.filesystem` has it.
        """
        if any(brace in raw for brace in "{}"):
            raise InvalidInput(
                "pattern_braces",
                "A pattern has braces, which stand for nothing here.",
                "Name each alternative by itself.",
                field="files",
            )
        wildcards = raw.count("*") + raw.count("?")
        if wildcards > MOST_WILDCARDS:
            raise InvalidInput(
                "pattern_wildcards",
                f"A pattern has {wildcards} wildcards; {MOST_WILDCARDS} are the most.",
                "Name the folder instead.",
                field="files",
                limit=MOST_WILDCARDS,
            )
        if raw.strip("./") == "" and raw and ".." not in raw and not raw.startswith("/"):
            return cls(".", ())
        path = SafePath.of(raw)
        parts = [FOLDERS if part == "**" else _wild(part) for part in path.parts]
        while parts and parts[-1] == FOLDERS:  # all below is covered anyway
            parts.pop()
        return cls(str(path), tuple(parts))


def names_of(path: str) -> tuple[Part, ...]:
    """Return the names of a file's path, in which every character stands for itself."""
    return tuple(tuple(_folded(part)) for part in path.split("/") if part not in ("", "."))


def covers(pattern: Pattern, names: tuple[Part, ...]) -> bool:
    """Say whether a file, given by its names from the top down, is among those that a pattern means."""
    todo, seen = [(0, 0)], {(0, 0)}
    while todo:
        i, j = todo.pop()
        if i == len(pattern.parts):
            return True
        here = pattern.parts[i]
        if here == FOLDERS:
            steps = [(i + 1, j), (i, j + 1)] if j < len(names) else [(i + 1, j)]
        elif j < len(names) and _meet(here, names[j]):
            steps = [(i + 1, j + 1)]
        else:
            steps = []
        todo += [step for step in steps if step not in seen]
        seen.update(steps)
    return False


def overlap(one: Pattern, other: Pattern) -> bool:
    """Say whether there can be a file that both patterns mean."""
    todo, seen = [(0, 0)], {(0, 0)}
    while todo:
        i, j = todo.pop()
        if i == len(one.parts) or j == len(other.parts):
            return True  # the one covers all below, and whatever is left of the other names something there
        a, b = one.parts[i], other.parts[j]
        steps: list[tuple[int, int]] = []
        if a == FOLDERS or b == FOLDERS:
            steps = [(i + 1, j), (i, j + 1)]
        elif _meet(a, b):
            steps = [(i + 1, j + 1)]
        todo += [step for step in steps if step not in seen]
        seen.update(steps)
    return False


class Taken:
    """Patterns that are taken, kept so that to ask whether another meets one costs little, however many they are.

    Two patterns without a wildcard meet if one lies above the other or is it; only the rest is compared in pairs.

    Attributes:
        count: how many.
    """

    def __init__(self, patterns: Iterable[Pattern]) -> None:
        self.count = 0
        self._plain: dict[tuple[Part, ...], Pattern] = {}
        self._above: set[tuple[Part, ...]] = set()
        self._wild: list[Pattern] = []
        for each in patterns:
            self.add(each)

    def add(self, pattern: Pattern) -> None:
        """Take one more."""
        self.count += 1
        if not _is_plain(pattern):
            self._wild.append(pattern)
            return
        self._plain[pattern.parts] = pattern
        self._above.update(pattern.parts[:depth] for depth in range(len(pattern.parts) + 1))

    def meets(self, pattern: Pattern) -> bool:
        """Say whether there can be a file that the pattern means and one that is taken means too."""
        if any(overlap(pattern, each) for each in self._wild):
            return True
        if not _is_plain(pattern):
            return any(overlap(pattern, each) for each in self._plain.values())
        depths = range(len(pattern.parts) + 1)
        return pattern.parts in self._above or any(pattern.parts[:depth] in self._plain for depth in depths)


def _is_plain(pattern: Pattern) -> bool:
    return all(len(character) == 1 for part in pattern.parts for character in part)


def _meet(one: Part, other: Part) -> bool:
    """Say whether there is a name that both parts match."""
    todo, seen = [(0, 0)], {(0, 0)}
    while todo:
        i, j = todo.pop()
        if i == len(one) and j == len(other):
            return True
        a = one[i] if i < len(one) else ""
        b = other[j] if j < len(other) else ""
        steps: list[tuple[int, int]] = []
        if a == ANY:
            steps += [(i + 1, j), *([(i, j + 1)] if b else [])]
        if b == ANY:
            steps += [(i, j + 1), *([(i + 1, j)] if a else [])]
        if a and b and ANY not in (a, b) and (a == b or ONE in (a, b)):
            steps.append((i + 1, j + 1))
        todo += [step for step in steps if step not in seen]
        seen.update(steps)
    return False


def _wild(part: str) -> Part:
    marks = {"*": ANY, "?": ONE}
    return tuple(marks.get(character, character) for character in _folded(part))


def _folded(part: str) -> str:
    """Return a name without what file systems may not tell apart: composition, and case where it keeps its length."""
    plain = unicodedata.normalize("NFC", part)
    return "".join(low if len(low := character.casefold()) == 1 else character for character in plain)
