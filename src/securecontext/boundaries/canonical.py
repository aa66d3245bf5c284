"""The one byte form of a JSON value: RFC 8785 (JCS), so that a digest or a MAC has one possible input.

Plain values (text, integers, true, false, null, lists, objects with ASCII keys) take a fast path through the
standard library's encoder, which writes the same bytes there: both escape only quotes, backslashes and control
characters, in the same spelling, and for ASCII keys code-point order is the UTF-16 order that RFC 8785 demands.
Everything else, floating-point numbers first of all, goes through the ``rfc8785`` library.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import rfc8785

from securecontext.types.errors import InvalidInput

SAFE_INTEGER = 2**53 - 1
"""The largest integer that every JSON reader keeps exact."""

_encode = json.JSONEncoder(
    sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False, check_circular=False
).encode


quote: Callable[[str], str] = json.encoder.encode_basestring
"""Return a text as a JSON string in RFC 8785's spelling; a lone surrogate is found when the result is encoded."""


def canonical(value: Any) -> bytes:
    """Return the RFC 8785 bytes of a JSON value.

    Args:
        value: None, bool, int, float, str, list, tuple, or dict with text keys, nested at will. As JSON has it,
            ``1.0`` and ``1`` are one number, and a tuple is a list.

    Raises:
        InvalidInput: ``not_canonical``: NaN or infinity, an integer beyond ±(2^53-1), a lone surrogate, a key that
            is no text, an unknown type, or a nesting beyond what the interpreter can follow.
    """
    try:
        if _is_plain(value):
            return _encode(value).encode()
        return rfc8785.dumps(value)
    except RecursionError as error:
        raise _refusal("it is nested too deeply, or contains itself") from error
    except (rfc8785.CanonicalizationError, UnicodeEncodeError) as error:
        raise _refusal(_reason(error)) from error


def _is_plain(value: Any) -> bool:
    """Tell whether the standard library writes exactly RFC 8785 for this value (exact types only)."""
    kind = type(value)
    if kind is str or value is None or kind is bool:
        return True
    if kind is int:
        return bool(-SAFE_INTEGER <= value <= SAFE_INTEGER)
    if kind is dict:
        for key, item in value.items():
            if type(key) is not str or not key.isascii() or not _is_plain(item):
                return False
        return True
    if kind is list or kind is tuple:
        return all(map(_is_plain, value))
    return False


def _reason(error: ValueError) -> str:
    """Name the defect without repeating the value, which may be a secret."""
    if isinstance(error, rfc8785.IntegerDomainError):
        return "an integer lies beyond ±(2^53-1)"
    if isinstance(error, rfc8785.FloatDomainError):
        return "NaN and infinity are no JSON numbers"
    if isinstance(error, UnicodeEncodeError) or "codepoints" in str(error):
        return "a text holds a lone surrogate"
    if "keys" in str(error):
        return "an object has a key that is no text"
    return "it holds a value of a type that JSON does not know"


def _refusal(reason: str) -> InvalidInput:
    return InvalidInput(
        "not_canonical",
        f"The value has no canonical JSON form: {reason}.",
        "Send text, numbers within ±(2^53-1), true, false, null, lists, and objects with text keys.",
    )
