"""Who may come in: every request passes here before anything else of this door sees it.

In this order: the Host is a name of ours (DNS rebinding), the Origin is ours (a page of somebody else in the user's
browser), the service is not about to end, the bearer token is right (every path but ``/health``): the door's own, which
is that of the user's programs on this machine, or an agent's session token; a POST is JSON and not too large. There
are no CORS headers: no page of another origin is to read an answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from typing import Protocol

from starlette.types import ASGIApp, Receive, Scope, Send

from securecontext.boundaries.identity.door_token import DoorToken
from securecontext.boundaries.tokens import Claims, is_token
from securecontext.http import request_id
from securecontext.http.body import header_values, whole_body
from securecontext.http.callers import CLAIMS
from securecontext.http.problem import problem
from securecontext.http.reach import Reach
from securecontext.types.errors import Denied, Unauthenticated, Unavailable, ZcError

OPEN_PATHS = frozenset({"/health"})
ADMITTED = "securecontext.admitted"
"""Stands in the scope of a request that showed a token which counts."""
STREAMS = frozenset({"/mcp", "/api/v1/events"})
"""A GET of these may last as long as its client."""


class Enter(Protocol):
    """Enters a refusal into the ledger; see `refusals.Refusals.enter`."""

    def __call__(self, error: ZcError, scope: Scope, *, known: bool) -> Awaitable[None]:
        """Enter it; `known` says whether the request came with the token."""


Identify = Callable[[str, Scope], Awaitable[Claims]]
"""Returns what a session token says, for this request, or refuses it; see `callers.session_claims`."""


class Guard:
    """ASGI middleware around the whole door.

    Args:
        inner: the door's application.
        token: opens the door.
        identify: checks session tokens, which open it too.
        reach: by which names and from where it is reached.
        enter: told of each refusal.
        present: held while an admitted request is under way, so that the service knows of its client.
    """

    def __init__(
        self,
        inner: ASGIApp,
        *,
        token: DoorToken,
        identify: Identify,
        reach: Reach,
        enter: Enter,
        present: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._inner = inner
        self._token = token
        self._identify = identify
        self._reach = reach
        self._enter = enter
        self._present = present
        self._closing = False
        self._calls = 0
        self._quiet = asyncio.Event()
        self._quiet.set()

    async def close(self, seconds: float) -> None:
        """Admit nothing more, and wait until the requests that are no streams have their answers."""
        self._closing = True
        try:
            async with asyncio.timeout(seconds):
                await self._quiet.wait()
        except TimeoutError:
            pass  # whoever waits that long finds the connection closed and asks again

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Admit a request or answer it with a problem."""
        if scope["type"] != "http":  # there are neither web sockets nor a lifespan here
            return
        with request_id.named(scope) as ident:
            await self._attend(scope, receive, request_id.telling(ident, send))

    async def _attend(self, scope: Scope, receive: Receive, send: Send) -> None:
        known = False
        try:
            await self._admit(scope)
            known = scope["path"] not in OPEN_PATHS
            if scope["method"] == "POST":
                whole = await whole_body(scope, receive)
                if whole is None:
                    return  # nobody waits for an answer
                receive = whole
        except ZcError as error:
            if not isinstance(error, Unavailable):
                await self._enter(error, scope, known=known)
            await problem(error, _STATUS.get(error.code, 0))(scope, receive, send)
            return
        if scope["path"] in OPEN_PATHS:
            await self._inner(scope, receive, send)
            return
        with self._present():
            if scope["method"] == "GET" and scope["path"] in STREAMS:
                await self._inner(scope, receive, send)
                return
            self._calls += 1
            self._quiet.clear()
            try:
                await self._inner(scope, receive, send)
            finally:
                self._calls -= 1
                if not self._calls:
                    self._quiet.set()

    async def _admit(self, scope: Scope) -> None:
        hosts = header_values(scope, b"host")
        if len(hosts) != 1 or hosts[0].lower() not in self._reach.hosts:
            raise Denied(
                "foreign_host",
                "The request's Host is not this service.",
                "Use the address that `zc service status` shows.",
            )
        if not all(origin.lower() in self._reach.origins for origin in header_values(scope, b"origin")):
            raise Denied(
                "foreign_origin",
                "The request comes from a page of another origin.",
                "Call from a program, or from a page of this service.",
            )
        if self._closing:
            raise Unavailable("service_stopping", "The service is ending.", "Call again in a second.")
        if scope["path"] not in OPEN_PATHS or header_values(scope, b"authorization"):
            await self._authenticate(scope)
            scope[ADMITTED] = True

    async def _authenticate(self, scope: Scope) -> None:
        shown = header_values(scope, b"authorization")
        reason = "missing"
        if shown:
            scheme, _, token = shown[0].partition(" ")
            token = token.strip(" ")
            if len(shown) > 1 or scheme.lower() != "bearer" or " " in token:
                reason = "malformed"
            elif not token:
                reason = "empty"
            elif is_token(token):
                scope[CLAIMS] = await self._identify(token, scope)
                return
            elif self._reach.is_local(scope) and self._token.matches(token):
                return
            else:
                reason = "wrong"
        raise Unauthenticated(
            "unauthenticated",
            f"The bearer token is {reason}.",
            "Send `Authorization: Bearer …`; `zc service status` says in which file the token lies.",
            reason=reason,
        )


_STATUS = {"too_large": 413, "wrong_content_type": 415}
"""Refusals whose status says more than that of their class."""
