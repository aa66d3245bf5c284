"""The one door for text: what comes in is refused or becomes a clean value; nothing is cut in silence.

Every refusal is an `InvalidInput` with a stable code. A refusal names the field and never repeats the
value, which may be a secret or may be meant to deceive whoever reads the message.

=====================  =============================================================================
code                   refused because
=====================  =============================================================================
``empty``              nothing but white space and invisible characters
``too_long``           more characters than the limit; ``details``: limit, length, field
``nul_character``      U+0000, which PostgreSQL cannot store and C code takes for the end
``lone_surrogate``     half of a UTF-16 pair, which UTF-8 cannot say
``control_character``  C0, DEL or C1 (in one line: tabs and every line break too)
``bidi_control``       embeddings, overrides, isolates: text that reads otherwise than it is stored
                       (https://trojansource.codes)
``hidden_character``   Unicode tags outside an emoji flag: text that a model reads and a person does not see
``too_many_marks``     more than 30 combining marks in a row (UAX #15, Stream-Safe Text Format)
``bad_agent_id``       an agent id outside its alphabet
=====================  =============================================================================
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from securecontext.types.errors import InvalidInput

AGENT_ID_LIMIT: Final = 64

_NFC_SHRINK: Final = 4
"""Composition turns at most four code points into one, so a longer text is too long in any case."""
_MARKS_IN_A_ROW: Final = 30

_BIDI: Final = "\u202a-\u202e\u2066-\u206f"
_FORBIDDEN_ANYWHERE: Final = f"\ud800-\udfff\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f{_BIDI}"
_FORBIDDEN_IN_BLOCK: Final = re.compile(f"[{_FORBIDDEN_ANYWHERE}]")
_FORBIDDEN_IN_LINE: Final = re.compile(f"[{_FORBIDDEN_ANYWHERE}\t\n\r\u2028\u2029]")
_TAG: Final = re.compile("[\U000e0000-\U000e007f]")
_FLAG: Final = re.compile("\U0001f3f4[\U000e0030-\U000e0039\U000e0061-\U000e007a]{1,6}\U000e007f")
_NON_ASCII_RUN: Final = re.compile(f"[^\x00-\u02ff]{{{_MARKS_IN_A_ROW + 1},}}")
_AGENT_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@-]{0,63}")
_NOT_SHOWN: Final = re.compile(f"[\\s\x00-\x1f\x7f-\x9f\u2028\u2029{_BIDI}\U000e0000-\U000e007f]+")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_INVISIBLE: Final = frozenset(("Cc", "Cf", "Zs", "Zl", "Zp"))


def clean_text(raw: str, *, field: str, limit: int, multiline: bool) -> str:
    """Return the text in NFC with LF as its only line break, or refuse it.

    White space at the ends is kept: it may be meant.

    Args:
        raw: the text as it came in, any string at all.
        field: our own name for it, for the message.
        limit: largest number of characters, after normalisation.
        multiline: whether tabs and line breaks may occur.

    Raises:
        InvalidInput: with one of the codes in the table of this module.
    """
    if len(raw) > limit * _NFC_SHRINK:
        raise _too_long(field, limit, len(raw))
    if multiline and "\r" in raw:
        raw = raw.replace("\r\n", "\n").replace("\r", "\n")
    found = (_FORBIDDEN_IN_BLOCK if multiline else _FORBIDDEN_IN_LINE).search(raw)
    if found is not None:
        raise _forbidden(raw[found.start()], field, found.start(), multiline)
    if not raw.isascii():
        raw = _normalised(raw, field)
    if len(raw) > limit:
        raise _too_long(field, limit, len(raw))
    if is_blank(raw):
        raise InvalidInput(
            "empty", f"The {field} is empty.", f"Pass a {field} with visible text.", field=field
        )
    return raw


def mend(raw: str, *, multiline: bool) -> tuple[str, int]:
    """Return the text with what `clean_text` would refuse replaced by spaces, and how many characters those were.

    For text that is brought in from elsewhere and whose writer cannot be asked again. What comes out is refused, if
    at all, for being empty or too long.
    """
    raw = raw.replace("\r\n", "\n").replace("\r", "\n") if multiline else raw
    text, count = (_FORBIDDEN_IN_BLOCK if multiline else _FORBIDDEN_IN_LINE).subn(" ", raw)
    if text.isascii():
        return text, count
    kept = {place for flag in _FLAG.finditer(text) for place in range(*flag.span())}
    out: list[str] = []
    in_a_row = 0
    for place, character in enumerate(text):
        in_a_row = in_a_row + 1 if unicodedata.combining(character) else 0
        if in_a_row > _MARKS_IN_A_ROW or (place not in kept and _TAG.match(character)):
            character, in_a_row = " ", 0
            count += 1
        out.append(character)
    return unicodedata.normalize("NFC", "".join(out)), count


def clean_agent_id(raw: str) -> str:
    """Return an agent id: ASCII letters, digits and ``. _ : @ -``, begun by a letter or digit, at most 64.

    Raises:
        InvalidInput: code ``empty``, ``too_long`` or ``bad_agent_id``.
    """
    if not raw:
        raise InvalidInput(
            "empty", "The agent id is empty.", "Leave it out to use the agent `default`.", field="agent_id"
        )
    if len(raw) > AGENT_ID_LIMIT:
        raise _too_long("agent_id", AGENT_ID_LIMIT, len(raw))
    if _AGENT_ID.fullmatch(raw) is None:
        raise InvalidInput(
            "bad_agent_id",
            "The agent id has a character outside its alphabet.",
            "Use ASCII letters, digits and . _ : @ - and begin with a letter or a digit.",
            field="agent_id",
        )
    return raw


def one_line(text: str, limit: int) -> str:
    """Return the text as one line for display, cut with a mark that says how many characters are missing.

    Never refuses: each run of white space, control and direction characters becomes one space, a lone
    surrogate U+FFFD. The result has at most ``limit`` characters, the mark included, as long as the mark
    itself fits.
    """
    line = _SURROGATE.sub("\ufffd", _NOT_SHOWN.sub(" ", text)).strip()
    if len(line) <= limit:
        return line
    # The mark grows with the number it carries, so it is made for the longest number first.
    room = max(limit - len(_mark(len(line))), 0)
    shown = line[:room].rstrip()
    return shown + _mark(len(line) - len(shown))


def is_blank(text: str) -> bool:
    """Say whether the text has no visible character (an unassigned one, say a new emoji, is visible)."""
    return all(unicodedata.category(character) in _INVISIBLE for character in text)


def _mark(missing: int) -> str:
    return f"… [+{missing} characters]"


def _normalised(raw: str, field: str) -> str:
    # Canonical ordering of a long run of marks costs the square of its length: look before normalising.
    for run in _NON_ASCII_RUN.finditer(raw):
        in_a_row = 0
        for character in run.group():
            in_a_row = in_a_row + 1 if unicodedata.combining(character) else 0
            if in_a_row > _MARKS_IN_A_ROW:
                raise InvalidInput(
                    "too_many_marks",
                    f"The {field} stacks more than {_MARKS_IN_A_ROW} combining marks on one character.",
                    "Remove the combining marks and send it again.",
                    field=field,
                )
    if _TAG.search(raw) is not None and _TAG.search(_FLAG.sub("", raw)) is not None:
        raise InvalidInput(
            "hidden_character",
            f"The {field} has Unicode tag characters, which nobody can see.",
            "Remove the characters U+E0000 to U+E007F and send it again.",
            field=field,
        )
    return raw if unicodedata.is_normalized("NFC", raw) else unicodedata.normalize("NFC", raw)


def _forbidden(character: str, field: str, position: int, multiline: bool) -> InvalidInput:
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


def _too_long(field: str, limit: int, length: int) -> InvalidInput:
    return InvalidInput(
        "too_long",
        f"The {field} has {length} characters; the limit is {limit}.",
        f"Shorten it to {limit} characters or split it; nothing was stored.",
        limit=limit,
        length=length,
        field=field,
    )
