"""Lists in pages: where the next page goes on, as an opaque text.

A cursor holds the place of the last row that was shown, by the list's own order. Rows that come or go between two
pages move no other row: nothing is shown twice, and nothing that was there all the time is left out.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import Annotated, Final

from pydantic import Field

from securecontext.types.errors import InvalidInput

CHARACTERS: Final = 400
Cursor = Annotated[
    str | None, Field(max_length=CHARACTERS, description="goes on where `next` of the page before said")
]
"""An argument; the ledger knows it by a digest, as everything that a caller may write freely."""
LARGEST: Final = 2**53
"""Of a number in a place."""


def cursor_of(listing: str, *place: int | str) -> str:
    """Return the cursor that goes on behind a place in a list.

    Args:
        listing: names the list, and what it is filtered by where a cursor must not be used with another filter.
        place: of the last row that was shown.
    """
    plain = json.dumps([listing, *place], ensure_ascii=False, separators=(",", ":"))
    return base64.urlsafe_b64encode(plain.encode()).decode().rstrip("=")


def place_of(cursor: str | None, listing: str, first: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """Return the place behind which a page begins.

    Args:
        cursor: from `cursor_of`; None for the first page.
        listing: as it was given there.
        first: the place before all rows; also says which kinds of values a place has.

    Raises:
        InvalidInput: ``bad_cursor``: it was not made by this list.
    """
    if cursor is None:
        return first
    try:
        named, *place = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (ValueError, TypeError, RecursionError, binascii.Error):
        named, place = "", []
    if named != listing or [type(each) for each in place] != [type(each) for each in first]:
        raise _refusal()
    if any(isinstance(each, int) and abs(each) > LARGEST for each in place):
        raise _refusal()
    return tuple(place)


def _refusal() -> InvalidInput:
    return InvalidInput(
        "bad_cursor",
        "The cursor is none of this list.",
        "Leave it out to begin at the first page.",
        field="cursor",
    )
