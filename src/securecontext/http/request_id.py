"""A name for each request: what the client gave, where that is clean, else one of ours.

It stands in every answer, in the body of every refusal, in the log where something failed, and in the ledger's entry.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from starlette.datastructures import MutableHeaders
from starlette.types import Message, Scope, Send

from securecontext.http.body import header_values
from securecontext.types.ids import new_id
from securecontext.validators.secrets import scan

HEADER = "X-Request-Id"
CHARACTERS = 64
_CLEAN = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._:-]{{0,{CHARACTERS - 1}}}", re.ASCII)
_current: ContextVar[str] = ContextVar("request_id", default="")


def current() -> str:
    """Return the name of the request that is being answered; a new one where nothing was read that has a name."""
    return _current.get() or new_id("req", 12)


@contextmanager
def named(scope: Scope) -> Iterator[str]:
    """Give a request its name while it is answered; yields it."""
    shown = header_values(scope, HEADER.lower().encode())
    ident = shown[0] if len(shown) == 1 and _CLEAN.fullmatch(shown[0]) and not scan(shown[0]) else ""
    ident = ident or new_id("req", 12)
    before = _current.set(ident)
    try:
        yield ident
    finally:
        _current.reset(before)


def telling(ident: str, send: Send) -> Send:
    """Return a `send` that puts the request's name into the head of the answer."""

    async def tell(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(raw=list(message.get("headers", ())))
            headers[HEADER] = ident
            message = {**message, "headers": headers.raw}
        await send(message)

    return tell
