"""What holds of sessions: their names, the moments of what happens in them, and what is stored of it."""

from __future__ import annotations

import re
from typing import Final

from securecontext.contracts import require
from securecontext.contracts.agent import is_storable

_SESSION: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,99}")
_MOMENT: Final = re.compile(r"\d{4}-[01]\d-[0-3]\dT[0-2]\d:[0-5]\d:[0-5]\d\.\d{6}Z", re.ASCII)


def is_session_name(text: object) -> bool:
    """Say whether a text names a session: ASCII letters, digits and ``. _ : -``, at most 100."""
    return isinstance(text, str) and _SESSION.fullmatch(text) is not None


def is_moment(text: object) -> bool:
    """Say whether a text has the stored form of a moment, whose text order is time order (`types.ids.timestamp`)."""
    return isinstance(text, str) and _MOMENT.fullmatch(text) is not None


names_a_session = require(lambda session: is_session_name(session), "a session has a name that can be one")
"""For functions with an argument ``session``."""

has_a_moment = require(
    lambda moment: is_moment(moment), "a moment has the stored form, whose text order is time order"
)
"""For functions with an argument ``moment``."""

reports_an_event = require(
    lambda kind, detail: kind.isidentifier() and is_storable(detail),
    "an event has a kind and a text that both engines hold",
)
"""For functions that store an event: arguments ``kind`` and ``detail``."""
