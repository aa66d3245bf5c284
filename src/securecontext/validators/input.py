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
``hidden_character``   Unicode tags outside an emoji flag: text that a model reads and a person does not see; in a
                       message every invisible character (see `characters`)
``too_many_marks``     more than 30 combining marks in a row (UAX #15, Stream-Safe Text Format)
``bad_agent_id``       an agent id outside its alphabet
``not_a_text``         neither text nor bytes, where either was expected
``not_utf8``           bytes that are no UTF-8
``markup``             in a message: HTML, event handlers, URLs that run code; see `markup`
``traversal``          in a message: a way up out of a folder, however it is spelt; see `markup`
=====================  =============================================================================
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from securecontext.contracts import ensure
from securecontext.contracts.agent import AGENT_ID_LIMIT, MESSAGE_LIMIT, is_agent_id, is_message
from securecontext.types.errors import InvalidInput
from securecontext.types.security import AgentId, ValidatedInput
from securecontext.validators.characters import (
    BIDI,
    FLAG,
    FORBIDDEN_IN_BLOCK,
    FORBIDDEN_IN_LINE,
    MARKS_IN_A_ROW,
    NFC_SHRINK,
    TAG,
    as_text,
    forbidden,
    normalised,
    refuse_hidden,
    too_long,
)
from securecontext.validators.markup import refuse_markup, refuse_traversal

_NOT_SHOWN: Final = re.compile(f"[\\s\x00-\x1f\x7f-\x9f\u2028\u2029{BIDI}\U000e0000-\U000e007f]+")
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
    if len(raw) > limit * NFC_SHRINK:
        raise too_long(field, limit, len(raw))
    if multiline and "\r" in raw:
        raw = raw.replace("\r\n", "\n").replace("\r", "\n")
    found = (FORBIDDEN_IN_BLOCK if multiline else FORBIDDEN_IN_LINE).search(raw)
    if found is not None:
        raise forbidden(raw[found.start()], field, found.start(), multiline)
    if not raw.isascii():
        raw = normalised(raw, field)
    if len(raw) > limit:
        raise too_long(field, limit, len(raw))
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
    text, count = (FORBIDDEN_IN_BLOCK if multiline else FORBIDDEN_IN_LINE).subn(" ", raw)
    if text.isascii():
        return text, count
    kept = {place for flag in FLAG.finditer(text) for place in range(*flag.span())}
    out: list[str] = []
    in_a_row = 0
    for place, character in enumerate(text):
        in_a_row = in_a_row + 1 if unicodedata.combining(character) else 0
        if in_a_row > MARKS_IN_A_ROW or (place not in kept and TAG.match(character)):
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
        raise too_long("agent_id", AGENT_ID_LIMIT, len(raw))
    if not is_agent_id(raw):
        raise InvalidInput(
            "bad_agent_id",
            "The agent id has a character outside its alphabet.",
            "Use ASCII letters, digits and . _ : @ - and begin with a letter or a digit.",
            field="agent_id",
        )
    return raw


def validate_agent_id(raw: object) -> ValidatedInput[AgentId]:
    """Return an agent id, vouched for; see `clean_agent_id`.

    Raises:
        InvalidInput: code ``not_a_text``, ``empty``, ``too_long`` or ``bad_agent_id``.
    """
    return ValidatedInput.vouched(
        AgentId(clean_agent_id(as_text(raw, "agent_id", AGENT_ID_LIMIT))), "alphabet"
    )


@ensure(
    lambda result: is_message(result.value), "what goes from agent to agent is visible, normal and in bounds"
)
def sanitize_agent_message(raw: object) -> ValidatedInput[str]:
    """Return a message from one agent to another, vouched for, in NFC with LF as its only line break.

    For texts that are shown to somebody else or looked at by other programs. What is only stored and shown between
    the marks of a fence, as facts are, may hold markup and goes through `clean_text`.

    Args:
        raw: text, or its UTF-8 bytes.

    Raises:
        InvalidInput: with one of the codes in the table of this module.
    """
    text = clean_text(
        as_text(raw, "message", MESSAGE_LIMIT), field="message", limit=MESSAGE_LIMIT, multiline=True
    )
    refuse_hidden(text, "message")
    refuse_markup(text, "message")
    refuse_traversal(text, "message")
    return ValidatedInput.vouched(text, "encoding", "characters", "length", "markup", "traversal")


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
