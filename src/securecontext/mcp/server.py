"""The MCP door: the official SDK's low-level server over any pair of streams.

Protocol behaviour is the SDK's (the 2026-07-28 era and the older ones). Ours are the tools, which derive from the
catalogue, and the framing on the socket: one JSON-RPC message a line. A line that is no message gets an answer with
a stable code, and the connection goes on.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import mcp_types as types
from mcp.server.lowlevel import Server
from mcp.shared.message import SessionMessage
from pydantic import ValidationError

from securecontext import __version__
from securecontext.mcp.flow import Flow
from securecontext.mcp.tools import INSTRUCTIONS, listed_tools
from securecontext.pipeline.callers import Caller
from securecontext.pipeline.corridor import Answer, Corridor
from securecontext.types.errors import ZcError

IDEMPOTENCY_KEY = "securecontext/idempotency-key"
"""``_meta`` member under which the shim gives each call a key, so that a resent call is not done twice."""

Run = Callable[[Callable[[], Answer]], Awaitable[Answer]]
"""Runs a blocking call on a worker thread."""


def make_server(corridor: Corridor, run: Run, who: Callable[[Any], Caller]) -> Server[Any]:
    """Return the SDK's server with our tools.

    Args:
        corridor: where calls go.
        run: worker threads for them.
        who: the caller of a request, from the SDK's request context; may block, and refuse.
    """

    async def on_list_tools(_context: Any, _params: Any) -> types.ListToolsResult:
        return types.ListToolsResult(tools=listed_tools())

    async def on_call_tool(context: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
        meta = params.meta or {}
        key = meta.get(IDEMPOTENCY_KEY)
        started = time.perf_counter()

        def call() -> Answer:
            try:
                caller = who(context)
            except ZcError as error:
                return Answer({"error": error.as_dict()}, str(error), error)
            arguments = dict(params.arguments or {})
            return caller.call(corridor, params.name, arguments, key[:200] if isinstance(key, str) else "")

        answer = await run(call)
        return rendered(answer, time.perf_counter() - started)

    server: Server[Any] = Server(
        "zc-ctx",
        version=__version__,
        title="SecureContext",
        instructions=INSTRUCTIONS,
        on_list_tools=on_list_tools,
        on_call_tool=on_call_tool,
    )
    server.middleware.clear()  # the SDK's tracing: nobody here listens to spans, and every message would pay for them
    return server


def rendered(answer: Answer, seconds: float) -> types.CallToolResult:
    """Return the tool's result: text for the model, the same as JSON for programs, timing beside both."""
    return types.CallToolResult(
        content=[types.TextContent(type="text", text=answer.text)],
        structured_content=answer.structured,
        is_error=answer.error is not None,
        _meta={"securecontext/duration-ms": round(seconds * 1000, 2)},
    )


async def serve_lines(
    server: Server[Any],
    reader: asyncio.StreamReader,
    send: Callable[[bytes], Awaitable[None]],
    flow: Flow | None = None,
) -> None:
    """Serve one client until it goes: lines in, lines out.

    Args:
        server: made by `make_server`.
        reader: of the client's lines.
        send: writes one line; raises OSError when the client is gone or does not read.
        flow: bounds and tells what is under way.
    """
    under_way = flow or Flow()
    inward, incoming = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    outgoing, outward = anyio.create_memory_object_stream[SessionMessage](0)

    async def read_lines() -> None:
        async with inward:
            while True:
                try:
                    line = await reader.readline()
                except (
                    ValueError
                ):  # longer than any message may be: what follows cannot be told apart any more
                    await send(_protocol_error(None, -32700, "line_too_long", "Keep messages below 32 MiB."))
                    return
                if not line.endswith(b"\n"):
                    return
                await under_way.may_read()
                message = parse_line(line)
                if isinstance(message, types.JSONRPCRequest):
                    under_way.ask(message.id)
                elif isinstance(message, types.JSONRPCNotification):
                    under_way.settle(_no_longer_wanted(message))
                if isinstance(message, bytes):
                    await send(message)
                elif message is not None:
                    await inward.send(SessionMessage(message))

    async def write_lines() -> None:
        async with outward:
            async for item in outward:
                await send(item.message.model_dump_json(by_alias=True, exclude_unset=True).encode() + b"\n")
                if isinstance(item.message, types.JSONRPCResponse | types.JSONRPCError):
                    under_way.settle(item.message.id)

    async with anyio.create_task_group() as group:

        async def reading() -> None:
            try:
                await read_lines()
            except (OSError, anyio.BrokenResourceError):
                group.cancel_scope.cancel()

        async def writing() -> None:
            try:
                await write_lines()
            except OSError:
                group.cancel_scope.cancel()

        group.start_soon(reading)
        group.start_soon(writing)
        await server.run(incoming, outgoing, server.create_initialization_options())
        group.cancel_scope.cancel()


def _no_longer_wanted(message: types.JSONRPCNotification) -> int | str | None:
    """Return the id of the request that a client cancels: the SDK does not answer it."""
    if message.method != "notifications/cancelled" or message.params is None:
        return None
    ident = message.params.get("requestId")
    return ident if isinstance(ident, int | str) else None


def parse_line(line: bytes) -> types.JSONRPCMessage | bytes | None:
    """Return the message of a line, or the line to answer with where it is none; None for an empty line."""
    if not line.strip():
        return None
    try:
        message = types.jsonrpc_message_adapter.validate_json(line, by_name=False)
    except ValidationError:
        pass
    else:
        # A request whose id is no id would pass for a notification, and its client would wait for ever.
        if not isinstance(message, types.JSONRPCNotification) or "id" not in json.loads(line):
            return message
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return _protocol_error(None, -32700, "malformed_json", "Send one JSON-RPC message a line, as UTF-8.")
    ident = value.get("id") if isinstance(value, dict) else None
    if not isinstance(ident, str | int) or isinstance(ident, bool):
        ident = None
    if isinstance(value, dict) and isinstance(value.get("method"), str) and ident is not None:
        return _protocol_error(
            ident, -32602, "bad_text", "Send valid Unicode: no lone surrogates, and objects as params."
        )
    return _protocol_error(
        ident, -32600, "not_json_rpc", 'Send {"jsonrpc": "2.0", "id": …, "method": …} as one object.'
    )


def _protocol_error(ident: Any, number: int, code: str, hint: str) -> bytes:
    words = code.replace("_", " ").capitalize() + "."
    error = {"code": number, "message": f"{words} {hint}", "data": {"code": code, "hint": hint}}
    return json.dumps({"jsonrpc": "2.0", "id": ident, "error": error}).encode() + b"\n"
