"""What the SDK's session manager refuses at ``/mcp``, with a stable code and an entry.

It answers some of that with a status alone. What its server refused later, in the course of a session, comes with a
code already and is left as it is.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from mcp_types import ErrorData
from mcp_types.jsonrpc import INTERNAL_ERROR, INVALID_REQUEST
from pydantic import ValidationError
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from securecontext.http.auth import Enter
from securecontext.types.errors import InvalidInput, ZcError

Explain = Callable[[ErrorData], tuple[ErrorData, ZcError] | None]
"""`mcp.protocol.in_our_words`: what the SDK says by a number of its own."""

_BY_STATUS = {
    400: ("no_session", "Begin with `initialize`, and send the session's id with each request after it."),
    404: ("unknown_session", "The session has ended or never was: begin a new one with `initialize`."),
    405: ("wrong_method", "Use the methods that the Allow header names."),
    406: ("not_acceptable", "Accept both application/json and text/event-stream."),
    409: ("stream_taken", "Close the session's other stream first."),
    503: ("too_many_sessions", "End a session, then begin this one again."),
}


async def explained(
    inner: ASGIApp, scope: Scope, receive: Receive, send: Send, *, explain: Explain, enter: Enter
) -> None:
    """Let the SDK answer a request; give its refusal a code and the next step, and enter it."""
    begun: Message | None = None
    body = bytearray()

    async def look(message: Message) -> None:
        nonlocal begun
        if message["type"] == "http.response.start" and message["status"] >= 400:
            begun = message
        elif begun is None:
            await send(message)
        else:
            body.extend(message.get("body", b""))
            if not message.get("more_body", False):
                await refuse(begun)

    async def refuse(start: Message) -> None:
        error, answer = _in_our_words(start["status"], bytes(body), explain)
        if error is not None:
            await enter(error, scope, known=True)
        headers = MutableHeaders(raw=list(start["headers"]))
        headers["content-type"], headers["content-length"] = "application/json", str(len(answer))
        await send({**start, "headers": headers.raw})
        await send({"type": "http.response.body", "body": answer})

    await inner(scope, receive, look)


def _in_our_words(status: int, body: bytes, explain: Explain) -> tuple[ZcError | None, bytes]:
    """Return why a response refuses, None where that is entered already, and the body that says so."""
    said, ident = _said(body)
    if isinstance(said.data, dict) and "code" in said.data:
        return None, body
    error: ZcError
    found = _BY_STATUS.get(status) if said.code in (INVALID_REQUEST, INTERNAL_ERROR) else None
    if found is not None:
        code, hint = found
        error = InvalidInput(code, said.message or f"{code.replace('_', ' ').capitalize()}.", hint)
        wire = ErrorData(code=said.code, message=str(error), data={"code": code, "hint": hint})
    else:
        wire, error = explain(said) or (said, InvalidInput("refused", said.message, "See `zc service logs`."))
    answer = {"jsonrpc": "2.0", "id": ident, "error": wire.model_dump()}
    return error, json.dumps(answer).encode()


def _said(body: bytes) -> tuple[ErrorData, Any]:
    """Return the error in a response, and the id of what it answers; some have none."""
    try:
        answer = json.loads(body)
        return ErrorData.model_validate(answer["error"]), answer.get("id")
    except (ValueError, TypeError, KeyError, ValidationError):
        return ErrorData(code=INVALID_REQUEST, message=""), None
