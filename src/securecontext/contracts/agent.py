"""What holds of agents: their names, and what they may say to each other and store.

The alphabet of names stands here once; `validators.input` refuses with it, contracts insist on it.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from securecontext.contracts import require

AGENT_ID_LIMIT: Final = 64
MESSAGE_LIMIT: Final = 4_000
"""Characters of a message from agent to agent."""

_AGENT_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@-]{0,63}")
_NEVER_IN_MESSAGES: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff]"
)


def is_agent_id(text: object) -> bool:
    """Say whether a text is an agent id: ASCII letters, digits and ``. _ : @ -``, begun by a letter or digit."""
    return isinstance(text, str) and _AGENT_ID.fullmatch(text) is not None


def is_storable(text: str) -> bool:
    """Say whether both engines can hold a text as it is: no NUL, and nothing that UTF-8 cannot say."""
    if "\0" in text:
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_message(text: str) -> bool:
    """Say whether a text may go from agent to agent: visible, NFC, within its limit, nothing hidden in it."""
    return (
        len(text.strip()) > 0
        and len(text) <= MESSAGE_LIMIT
        and is_storable(text)
        and _NEVER_IN_MESSAGES.search(text) is None
        and unicodedata.is_normalized("NFC", text)
    )


names_an_agent = require(lambda agent: is_agent_id(agent), "a notebook is named by an agent id")
"""For functions with an argument ``agent``."""

stores_a_key = require(
    lambda key: key.strip() and is_storable(key), "a fact's key is a text that both engines hold"
)
"""For functions that write an argument ``key``."""

stores_a_value = require(lambda value: is_storable(value), "a stored value is a text that both engines hold")
"""For functions that write an argument ``value``."""
