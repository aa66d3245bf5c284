"""Who may see a stored text: four classes in their order, and which of them are stored sealed. Pure.

``public`` and ``internal`` are stored as they are. ``confidential`` is stored sealed and seen by whoever may see the
place that it lies in. ``restricted`` is stored sealed and seen by its creator and by people.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal

Classification = Literal["public", "internal", "confidential", "restricted"]
CLASSIFICATIONS: Final = ("public", "internal", "confidential", "restricted")
"""Lowest first."""
DEFAULT: Final = "internal"
SEALED: Final = ("confidential", "restricted")


def rank(classification: str) -> int:
    """Return a class's place in the order. One that nobody knows stands above all: it is never lowered by mistake."""
    try:
        return CLASSIFICATIONS.index(classification)
    except ValueError:
        return len(CLASSIFICATIONS)


def highest(classes: Iterable[str]) -> str | None:
    """Return the highest of some classes; None of none."""
    return max(classes, key=rank, default=None)


def kept(given: str | None, before: Iterable[str]) -> str:
    """Return the class of a text: the one that is given, else the highest of what it takes the place of."""
    return given or highest(before) or DEFAULT
