"""Serving HTTP, by default on loopback, inside the service's own event loop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any

import uvicorn
from mcp.server.lowlevel import Server
from starlette.routing import Route
from starlette.types import Scope

from securecontext.app import App
from securecontext.boundaries.tokens import Claims
from securecontext.http.api import Run, make_api
from securecontext.http.auth import Guard
from securecontext.http.callers import session_claims
from securecontext.http.connections import Connection, Room, most_connections
from securecontext.http.events import Events
from securecontext.http.gateways import passed_on
from securecontext.http.protocol import Explain
from securecontext.http.reach import is_loopback, reach_of, refuse_bad_certificate
from securecontext.http.refusals import Refusals
from securecontext.http.streams import NoMessage, Streams, who_calls
from securecontext.pipeline.callers import Caller
from securecontext.pipeline.passing import PATH
from securecontext.settings import Settings
from securecontext.types.errors import Unavailable, ZcError

log = logging.getLogger("securecontext.http")
BACKLOG = 128
"""Connections that are accepted in one go at most, before the first of them has its place."""
CLOSE_SECONDS = 5.0
"""How long calls that are under way may still take when the service ends."""

MakeServer = Callable[
    [Any, Any, Callable[[Any], Caller], Callable[[ZcError, Any], Awaitable[None]]], Server[Any]
]
"""`mcp.server.make_server`, handed in because doors do not know each other."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the service gives this door.

    Attributes:
        run: runs blocking work on the service's worker threads.
        make_server: makes the MCP server for ``/mcp``.
        no_message: looks at its messages before that server.
        explain: puts what that server refuses into our words.
        present: held while a client's request is under way.
        tell: told the address once the door is open.
    """

    run: Run
    make_server: MakeServer
    no_message: NoMessage
    explain: Explain
    present: Callable[[], AbstractContextManager[None]]
    tell: Callable[[str], None]


async def serve(app: App, settings: Settings, around: Surroundings) -> None:
    """Serve until cancelled: then nothing more is admitted, streams end, and calls under way are answered.

    Raises:
        Unavailable: no port can be had, or the token's file cannot be used.
    """
    token = await around.run(app.door_token)
    refuse_bad_certificate(settings)
    listening = listening_socket(settings.http_port or 0, settings.http_host)
    reach = reach_of(settings, int(listening.getsockname()[1]))
    refusals = Refusals(lambda: app.machine, token, around.run)

    async def enter(error: ZcError, context: Any) -> None:
        await refusals.enter(error, context.request.scope, known=True)

    async def identify(shown: str, scope: Scope) -> Claims:
        claims: Claims = await around.run(lambda: session_claims(app, shown, scope))
        return claims

    tools = around.make_server(app.corridor, around.run, who_calls(app, token), enter)
    streams = Streams(tools, reach, around.no_message, around.explain, refusals.enter)
    events = Events(app, app.corridor, token, around.run, refusals.enter)
    api = make_api(app, app.corridor, token, around.run, refusals.enter, events)
    api.router.routes.append(Route("/mcp", endpoint=streams, include_in_schema=False))
    passing = passed_on(app, app.corridor, around.run, refusals.enter)
    api.router.routes.append(Route(PATH, endpoint=passing, methods=["POST"], include_in_schema=False))
    guard = Guard(
        api, token=token, identify=identify, reach=reach, enter=refusals.enter, present=around.present
    )
    connection: Any = partial(Connection, Room(most_connections()))
    server = _Server(
        uvicorn.Config(
            guard,
            http=connection,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            backlog=BACKLOG,
            timeout_graceful_shutdown=1,
            ssl_certfile=settings.tls_cert,
            ssl_keyfile=settings.tls_key,
        )
    )
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(listening.close)
        serving = asyncio.create_task(server.serve([listening]))
        stack.push_async_callback(_end, server, serving)
        await stack.enter_async_context(streams.run())  # left first: its streams end before the server does
        stack.callback(events.close)
        stack.push_async_callback(guard.close, CLOSE_SECONDS)
        around.tell(reach.url)
        await asyncio.shield(serving)


async def _end(server: uvicorn.Server, serving: asyncio.Task[None]) -> None:
    server.should_exit = True
    await asyncio.wait([serving])


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: signals are the service's."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone."""
        yield


def listening_socket(port: int, host: str) -> socket.socket:
    """Return a listening socket; on loopback a free port is taken where the wanted one cannot be had.

    Args:
        port: the wanted port; 0 for any.
        host: the address.

    Raises:
        Unavailable: not even a free port can be had; for other hosts, that very port.
    """
    wanted = (port, 0) if port and is_loopback(host) else (port,)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for number in wanted:
        # With the protocol named, asyncio switches Nagle's algorithm off; left at 0, each answer waits 40 ms.
        listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind((host, number))
            listening.listen(1024)
        except OSError as error:
            listening.close()
            log.warning("port %d of the HTTP door cannot be had: %s", number, error.strerror)
            continue
        listening.setblocking(False)
        return listening
    raise Unavailable(
        "no_port",
        "The HTTP door's port cannot be had.",
        "Set ZC_HTTP_PORT to another one, or off to do without it.",
    )
