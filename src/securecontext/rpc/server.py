"""The command line's door: ``{"operation", "arguments", "key"}`` in, an answer out, a line each."""

from __future__ import annotations

import json
from typing import Any

from securecontext import rendezvous
from securecontext.pipeline.call import Answer
from securecontext.pipeline.callers import Caller
from securecontext.pipeline.corridor import Corridor
from securecontext.pipeline.passing import answer_bytes
from securecontext.types.errors import InvalidInput, ZcError


def answer_line(corridor: Corridor, caller: Caller, line: bytes) -> tuple[bytes, ZcError | None]:
    """Return the answer to one line, and why it is no request, where it is none; never raises."""
    try:
        operation, arguments, key = _parse(line)
    except InvalidInput as error:
        return refusal_line(error), error
    return _line(caller.call(corridor, operation, arguments, key[:200])), None


def _parse(line: bytes) -> tuple[str, dict[str, Any], str]:
    if rendezvous.crowded(line):
        raise InvalidInput("too_many_values", "The line has too many values.", "Send less at once.")
    try:
        asked = json.loads(line)
        operation, arguments, key = asked["operation"], asked["arguments"], asked.get("key", "")
        if not (isinstance(operation, str) and isinstance(arguments, dict) and isinstance(key, str)):
            raise TypeError
    except (ValueError, KeyError, TypeError, RecursionError):
        raise InvalidInput(
            "malformed_json",
            "The line is not a request.",
            'Send {"operation": "…", "arguments": {…}} on one line.',
        ) from None
    return operation, arguments, key


def refusal_line(error: ZcError) -> bytes:
    """Return the line that refuses a whole connection."""
    return _line(Answer({"error": error.as_dict()}, str(error), error))


def _line(answer: Answer) -> bytes:
    return answer_bytes(answer) + b"\n"
