"""MCP over Streamable HTTP at ``/mcp``: the official SDK's session manager behind our guard.

Clients of the handshake era have sessions, whose streams can be resumed for a while; those of 2026-07-28 send each
request by itself.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Any

from mcp.server.lowlevel import Server
from mcp.server.streamable_http import EventCallback, EventMessage, EventStore
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecuritySettings
from mcp_types import JSONRPCError, JSONRPCMessage, JSONRPCResponse
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from securecontext.boundaries.identity.door_token import DoorToken
from securecontext.boundaries.limits import HTTP_BODY_BYTES
from securecontext.boundaries.policy import Standing
from securecontext.http.auth import Enter
from securecontext.http.callers import caller_of, one_value
from securecontext.http.protocol import Explain, explained
from securecontext.http.reach import Reach
from securecontext.pipeline.callers import Caller
from securecontext.pipeline.world import World
from securecontext.types.errors import ZcError

SESSIONS = 1_000
KEPT_BYTES = 8 * 1024 * 1024
"""What all sessions together keep for clients that come back; the oldest goes first."""
KEPT_EVENTS = 10_000
RETRY_MILLISECONDS = 1_000


def who_calls(world: World, token: DoorToken) -> Callable[[Any], Caller]:
    """Return what tells the caller of an MCP request from the SDK's context."""

    def who(context: Any) -> Caller:
        scope = context.request.scope
        stateful = context.protocol_version in HANDSHAKE_PROTOCOL_VERSIONS
        session = (
            one_value(scope, "Mcp-Session-Id") if stateful else ""
        )  # checked by the SDK where it has a meaning
        return caller_of(world, scope, token, Standing.AGENT, session)

    return who


NoMessage = Callable[[bytes], tuple[ZcError, bytes] | None]
"""Tells of a body why it is no JSON-RPC message, and with what to answer; None if it is one."""


class Streams(StreamableHTTPSessionManager):
    """The SDK's session manager with events for each session apart; an ASGI application.

    Args:
        server: the SDK's server with our tools.
        reach: by which names it is reached.
        no_message: looks at what the SDK would take for something else.
        explain: puts what the SDK refuses into our words.
        enter: told of what is refused here.
    """

    def __init__(
        self, server: Server[Any], reach: Reach, no_message: NoMessage, explain: Explain, enter: Enter
    ) -> None:
        self._no_message = no_message
        self._explain = explain
        self._enter = enter
        self._events = Events(KEPT_EVENTS, KEPT_BYTES)
        super().__init__(
            server,
            security_settings=TransportSecuritySettings(
                enable_dns_rebinding_protection=True,
                allowed_hosts=sorted(reach.hosts),
                allowed_origins=sorted(reach.origins),
            ),
            retry_interval=RETRY_MILLISECONDS,
            max_request_body_size=HTTP_BODY_BYTES,
            max_sessions=SESSIONS,
        )

    @property
    def event_store(self) -> EventStore:
        """A store for a new session.

        The SDK names streams by request id, which sessions share: in one store for all, a client that comes back
        would be given the answers of another.
        """
        return self._events.of_session()

    @event_store.setter
    def event_store(self, store: EventStore | None) -> None:
        pass  # the SDK's constructor sets what it was given, which is none

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; the guard has put its body into one piece."""
        if scope["method"] == "POST":
            body = await receive()
            if refused := self._no_message(body.get("body", b"")):
                error, answer = refused
                await self._enter(error, scope, known=True)
                await Response(answer, 400, media_type="application/json")(scope, receive, send)
                return
            receive = _first(body, receive)
        await explained(self.handle_request, scope, receive, send, explain=self._explain, enter=self._enter)


def _first(message: Message, receive: Receive) -> Receive:
    """Return a `receive` that gives this message first."""
    pending = [message]

    async def again() -> Message:
        return pending.pop() if pending else await receive()

    return again


@dataclass(frozen=True, slots=True)
class _Kept:
    session: int
    stream: str
    number: int
    message: JSONRPCMessage | None
    size: int


class Events:
    """What was sent to clients lately, all sessions together, bounded.

    Args:
        most: events that are kept.
        most_bytes: bytes of JSON that are kept.
    """

    def __init__(self, most: int, most_bytes: int) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._kept: deque[_Kept] = deque()
        self._bytes = 0
        self._numbers = count(1)
        self._sessions = count(1)

    def of_session(self) -> EventStore:
        """Return the view of a new session."""
        return _OfSession(self, next(self._sessions))

    def add(self, session: int, stream: str, message: JSONRPCMessage | None) -> int:
        """Keep an event; return its number."""
        size = 100 + (len(message.model_dump_json(exclude_unset=True)) if message is not None else 0)
        kept = _Kept(session, stream, next(self._numbers), message, size)
        self._kept.append(kept)
        self._bytes += size
        while len(self._kept) > self._most or self._bytes > self._most_bytes:
            self._bytes -= self._kept.popleft().size
        return kept.number

    def after(self, session: int, number: int) -> tuple[str, list[_Kept]] | None:
        """Return the stream of an event and what followed on it; None when it is not this session's, or gone."""
        mine = [kept for kept in self._kept if kept.session == session and kept.number >= number]
        if not mine or mine[0].number != number:
            return None
        stream = mine[0].stream
        return stream, [kept for kept in mine[1:] if kept.stream == stream]


class _OfSession(EventStore):
    """One session's events."""

    def __init__(self, events: Events, session: int) -> None:
        self._events = events
        self._session = session

    async def store_event(self, stream_id: str, message: JSONRPCMessage | None) -> str:
        return str(self._events.add(self._session, stream_id, message))

    async def replay_events_after(self, last_event_id: str, send_callback: EventCallback) -> str | None:
        if not (last_event_id.isascii() and last_event_id.isdigit() and len(last_event_id) < 20):
            return None
        found = self._events.after(self._session, int(last_event_id))
        if found is None:
            return None
        stream, missed = found
        answered = False
        for kept in missed:
            if kept.message is not None:
                await send_callback(EventMessage(kept.message, str(kept.number)))
                answered = isinstance(kept.message, JSONRPCResponse | JSONRPCError)
        return None if answered else stream  # a stream that brought its answer is not kept open
