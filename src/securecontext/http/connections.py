"""Connections of the HTTP door: so many at once, and none for long without a request.

Any user of the machine can connect to loopback, and a connection is a file, of which the process may open only so
many. Without a bound here a stranger could take the last one from all doors.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from securecontext.boundaries.limits import FILES_FOR_HTTP, HTTP_CONNECTIONS
from securecontext.boundaries.usage import within_files
from securecontext.http import request_id
from securecontext.http.problem import problem
from securecontext.types.errors import InvalidInput

REQUEST_SECONDS = 10.0
"""How long a connection may stay open without a whole request."""
WRITE_SECONDS = 30.0
"""How long a client may leave an answer unread."""


def most_connections() -> int:
    """Return how many connections this door takes: of the files that the process may open at most a quarter."""
    return within_files(HTTP_CONNECTIONS, FILES_FOR_HTTP)


class Room:
    """Places for connections.

    Where there is none left, the connection that has waited longest without a request makes room: a client that has
    one to make sends it at once.

    Args:
        most: places.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._open: set[Connection] = set()
        self._waiting: dict[Connection, asyncio.TimerHandle] = {}

    def enter(self, connection: Connection) -> None:
        """Give a place to a new connection, or close it."""
        self._open.add(connection)
        self.wait(connection)
        if len(self._open) > self._most:
            self.drop(next(iter(self._waiting)))

    def wait(self, connection: Connection) -> None:
        """Note that a connection has no request under way; if that lasts, it is closed."""
        if connection in self._open and connection not in self._waiting:
            timer = asyncio.get_running_loop().call_later(REQUEST_SECONDS, self.drop, connection)
            self._waiting[connection] = timer

    def serve(self, connection: Connection) -> None:
        """Note that a connection has a request under way."""
        if timer := self._waiting.pop(connection, None):
            timer.cancel()

    def leave(self, connection: Connection) -> None:
        """Take the place of a connection back."""
        self.serve(connection)
        self._open.discard(connection)

    def drop(self, connection: Connection) -> None:
        """Close a connection at once."""
        self.leave(connection)
        connection.transport.abort()


class Connection(H11Protocol):
    """uvicorn's connection, with a place in a room and refusals in this door's form.

    Args:
        room: where its place is.
        given: what uvicorn gives its connections.
    """

    def __init__(self, room: Room, **given: Any) -> None:
        super().__init__(**given)
        self._room = room
        self._unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a place."""
        super().connection_made(transport)
        self._room.enter(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Give it back."""
        self._read()
        self._room.leave(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take up a part of a request."""
        super().data_received(data)
        self._look()

    def on_response_complete(self) -> None:
        """Go on to the next request."""
        super().on_response_complete()
        self._look()

    def pause_writing(self) -> None:
        """Wait for a client that does not read, but not for ever."""
        super().pause_writing()
        self._unread = self._unread or self.loop.call_later(WRITE_SECONDS, self._room.drop, self)
        self._look()

    def resume_writing(self) -> None:
        """Go on writing."""
        super().resume_writing()
        self._read()
        self._look()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no request, as this door refuses."""
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.close()  # an answer has begun: nothing can be said any more
            return
        refused = InvalidInput(
            "bad_request",
            "The bytes are not an HTTP request.",
            "Send HTTP/1.1 with one Host header and one right Content-Length.",
        )
        answer = problem(refused)
        ident = json.loads(bytes(answer.body))["request_id"].encode()
        headers = [*answer.raw_headers, (request_id.HEADER.encode(), ident), (b"connection", b"close")]
        for event in (
            h11.Response(status_code=answer.status_code, headers=headers, reason=b"Bad Request"),
            h11.Data(data=bytes(answer.body)),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _read(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def _look(self) -> None:
        """Tell the room whether a request is under way: it has arrived whole, and its answer has not gone yet."""
        answering = self.cycle is not None and not self.cycle.response_complete and not self.cycle.more_body
        if answering or self.flow.write_paused:
            self._room.serve(self)
        else:
            self._room.wait(self)
