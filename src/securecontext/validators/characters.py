"""Which characters no text from outside may hold, and how a text is brought into NFC; the codes stand in `input`."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from securecontext.types.errors import InvalidInput

NFC_SHRINK: Final = 4
"""Composition turns at most four code points into one, so a longer text is too long in any case."""
_BYTES: Final = 4
"""Bytes of a character in UTF-8, at most."""
MARKS_IN_A_ROW: Final = 30
BIDI: Final = "\u202a-\u202e\u2066-\u206f"
_FORBIDDEN_ANYWHERE: Final = f"\ud800-\udfff\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f{BIDI}"
FORBIDDEN_IN_BLOCK: Final = re.compile(f"[{_FORBIDDEN_ANYWHERE}]")
FORBIDDEN_IN_LINE: Final = re.compile(f"[{_FORBIDDEN_ANYWHERE}\t\n\r\u2028\u2029]")
TAG: Final = re.compile("[\U000e0000-\U000e007f]")
FLAG: Final = re.compile("\U0001f3f4[\U000e0030-\U000e0039\U000e0061-\U000e007a]{1,6}\U000e007f")
_NON_ASCII_RUN: Final = re.compile(f"[^\x00-\u02ff]{{{MARKS_IN_A_ROW + 1},}}")

_VISIBLE: Final = frozenset("LMNPS")
"""First letters of the general categories (UAX #44) that a message is made of."""
_BLANK: Final = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0")
"""Letters, marks and symbols by category that show nothing."""
_JOINERS: Final = frozenset("\u200c\u200d")
_NEW_EMOJI: Final = re.compile("[\U0001f000-\U0001faff]")
_SELECTOR: Final = re.compile("[\ufe00-\ufe0f\U000e0100-\U000e01ef]")


def as_text(raw: object, field: str, limit: int) -> str:
    """Return the text that bytes say in UTF-8, or the text itself.

    Raises:
        InvalidInput: it is neither, or the bytes are no UTF-8: overlong forms and surrogates are none.
    """
    if isinstance(raw, str):
        return str(raw)
    if not isinstance(raw, bytes | bytearray):
        raise InvalidInput("not_a_text", f"The {field} is not a text.", "Send a text.", field=field)
    if len(raw) > limit * NFC_SHRINK * _BYTES:
        raise too_long(field, limit, len(raw))
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidInput(
            "not_utf8",
            f"The {field} is not valid UTF-8.",
            "Send it in UTF-8.",
            field=field,
            position=error.start,
        ) from None


def normalised(raw: str, field: str) -> str:
    """Return the text in NFC.

    Raises:
        InvalidInput: ``too_many_marks`` or ``hidden_character``.
    """
    # Canonical ordering of a long run of marks costs the square of its length: look before normalising.
    for run in _NON_ASCII_RUN.finditer(raw):
        in_a_row = 0
        for character in run.group():
            in_a_row = in_a_row + 1 if unicodedata.combining(character) else 0
            if in_a_row > MARKS_IN_A_ROW:
                raise InvalidInput(
                    "too_many_marks",
                    f"The {field} stacks more than {MARKS_IN_A_ROW} combining marks on one character.",
                    "Remove the combining marks and send it again.",
                    field=field,
                )
    if TAG.search(raw) is not None and TAG.search(FLAG.sub("", raw)) is not None:
        raise InvalidInput(
            "hidden_character",
            f"The {field} has Unicode tag characters, which nobody can see.",
            "Remove the characters U+E0000 to U+E007F and send it again.",
            field=field,
        )
    return raw if unicodedata.is_normalized("NFC", raw) else unicodedata.normalize("NFC", raw)


def refuse_hidden(text: str, field: str) -> None:
    """Refuse a text, cleaned already, that holds a character which is on no list of visible ones.

    Visible are letters, marks, numbers, punctuation, symbols, spaces and line breaks; joiners between two
    characters beyond ASCII (emoji, Persian, Indic scripts); one variation selector after a visible character.

    Raises:
        InvalidInput: ``hidden_character``.
    """
    if text.isascii():
        return
    for place, character in enumerate(text):
        before, after = text[place - 1 : place], text[place + 1 : place + 2]
        if character in _JOINERS:
            shown = bool(before and after) and not (before.isascii() or after.isascii())
        elif _SELECTOR.match(character):
            shown = bool(before.strip()) and _SELECTOR.match(before) is None
        elif character in _BLANK:
            shown = False
        else:
            category = unicodedata.category(character)
            shown = (
                category[0] in _VISIBLE
                or category == "Zs"
                or character in "\t\n"
                or _NEW_EMOJI.match(character) is not None
                or TAG.match(character) is not None  # only in flags: `normalised` refused the others
            )
        if not shown:
            raise InvalidInput(
                "hidden_character",
                f"The {field} has a character that nobody can see (U+{ord(character):04X}).",
                "Remove zero-width, direction, filler and private characters and send it again.",
                field=field,
                position=place,
            )


def forbidden(character: str, field: str, position: int, multiline: bool) -> InvalidInput:
    """Return the refusal of a character that `FORBIDDEN_IN_BLOCK` or `FORBIDDEN_IN_LINE` found."""
    point = ord(character)
    if point == 0:
        code, what, hint = "nul_character", "a NUL character", "Remove U+0000 and send it again."
    elif 0xD800 <= point <= 0xDFFF:
        code, what = "lone_surrogate", "a lone surrogate, which is no character"
        hint = "Send valid Unicode: in JSON, an escaped surrogate needs its other half."
    elif 0x202A <= point <= 0x202E or 0x2066 <= point <= 0x206F:
        code, what = "bidi_control", "a character that changes the direction of text"
        hint = "Remove U+202A to U+202E and U+2066 to U+206F and send it again."
    elif multiline:
        code, what = "control_character", "a control character"
        hint = "Keep tabs and line breaks, remove other control characters and send it again."
    else:
        code, what = "control_character", "a control character or a line break"
        hint = "Send it as one line without tabs and control characters."
    return InvalidInput(code, f"The {field} has {what}.", hint, field=field, position=position)


def too_long(field: str, limit: int, length: int) -> InvalidInput:
    """Return the refusal of a text that is too long."""
    return InvalidInput(
        "too_long",
        f"The {field} has {length} characters; the limit is {limit}.",
        f"Shorten it to {limit} characters or split it; nothing was stored.",
        limit=limit,
        length=length,
        field=field,
    )
