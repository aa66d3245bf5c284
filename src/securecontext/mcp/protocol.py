"""What the SDK itself refuses, in our words: its number, a stable code, a plain sentence and the next step."""

from __future__ import annotations

from typing import Any, NamedTuple

from mcp_types import ErrorData
from mcp_types.jsonrpc import (
    HEADER_MISMATCH,
    INTERNAL_ERROR,
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    MISSING_REQUIRED_CLIENT_CAPABILITY,
    UNSUPPORTED_PROTOCOL_VERSION,
)

from securecontext.types.errors import InvalidInput, ZcError


class Refusal(NamedTuple):
    """A refusal in both its forms.

    Attributes:
        wire: for the client.
        error: for the ledger.
    """

    wire: ErrorData
    error: ZcError


_WORDS = {
    METHOD_NOT_FOUND: ("unknown_method", "This server has tools; see `tools/list`."),
    INVALID_PARAMS: (
        "bad_params",
        "Send params as the protocol describes them, with `arguments` as an object.",
    ),
    INVALID_REQUEST: ("mixed_protocols", "Keep to the protocol that the session began with."),
    UNSUPPORTED_PROTOCOL_VERSION: (
        "unsupported_protocol",
        "Use a version that the answer names as supported.",
    ),
    HEADER_MISMATCH: ("header_mismatch", "Send each header once, and saying what the body says."),
    MISSING_REQUIRED_CLIENT_CAPABILITY: (
        "missing_capability",
        "Declare the capability that the answer names.",
    ),
    INTERNAL_ERROR: ("internal_error", "See `zc service logs`."),
}


def refusal(number: int, code: str, hint: str, data: Any = None) -> Refusal:
    """Return a refusal.

    Args:
        number: JSON-RPC's.
        code: ours.
        hint: the next step.
        data: what else the client is told.
    """
    more = data if isinstance(data, dict) else {}
    wire = ErrorData(code=number, message=words(code, hint), data={**more, "code": code, "hint": hint})
    return Refusal(wire, InvalidInput(code, words(code), hint))


def in_our_words(said: ErrorData) -> Refusal | None:
    """Return what the SDK said with code and hint; None where both are there already, or it is no refusal."""
    if isinstance(said.data, dict) and "code" in said.data:
        return None
    if said.code == INVALID_PARAMS and said.data == "":  # the SDK says nothing else in this way
        return refusal(said.code, "not_initialized", "Begin the session with `initialize`.")
    if said.code not in _WORDS:
        return None
    code, hint = _WORDS[said.code]
    return refusal(said.code, code, hint, said.data)


def words(code: str, hint: str = "") -> str:
    """Return the sentence of a code, and the next step after it."""
    return f"{code.replace('_', ' ').capitalize()}. {hint}".strip()
