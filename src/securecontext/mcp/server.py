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
from typing import Any, NamedTuple

import anyio
import mcp_types as types
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.shared.dispatcher import as_request_id, coerce_request_id
from mcp.shared.exceptions import MCPError
from mcp.shared.message import SessionMessage
from mcp_types.jsonrpc import INVALID_PARAMS, INVALID_REQUEST, PARSE_ERROR
from pydantic import ValidationError

from securecontext import __version__, rendezvous
from securecontext.mcp.flow import Flow
from securecontext.mcp.protocol import Refusal, in_our_words, refusal
from securecontext.mcp.tools import INSTRUCTIONS, listed_tools
from securecontext.pipeline.call import Answer
from securecontext.pipeline.callers import Caller
from securecontext.pipeline.corridor import Corridor
from securecontext.types.errors import ZcError

IDEMPOTENCY_KEY = "securecontext/idempotency-key"
"""``_meta`` member under which the shim gives each call a key, so that a resent call is not done twice."""

UNSENT = "securecontext/unsent"
"""Method by which the shim tells of a message that it could not send on, so that this refusal too is entered."""

Run = Callable[[Callable[[], Any]], Awaitable[Any]]
"""Runs blocking work on a worker thread."""

Enter = Callable[[ZcError, Any], Awaitable[None]]
"""Enters a refusal that never became a call, given the SDK's context of the request."""


def make_server(corridor: Corridor, run: Run, who: Callable[[Any], Caller], enter: Enter) -> Server[Any]:
    """Return the SDK's server with our tools.

    Args:
        corridor: where calls go.
        run: worker threads for them.
        who: the caller of a request, from the SDK's request context; may block, and refuse.
        enter: told of what the SDK refuses.
    """

    async def on_list_tools(context: Any, _params: Any) -> types.ListToolsResult:
        try:
            caller: Caller = await run(lambda: who(context))
        except ZcError as error:
            await enter(error, context)
            told = types.ErrorData(code=INVALID_REQUEST, message=error.message, data=error.as_dict())
            raise MCPError.from_error_data(told) from error
        return types.ListToolsResult(tools=listed_tools(caller.listed_as or caller.principal))

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

        answer: Answer = await run(call)
        return rendered(answer, time.perf_counter() - started)

    server: Server[Any] = Server(
        "zc-ctx",
        version=__version__,
        title="SecureContext",
        instructions=INSTRUCTIONS,
        on_list_tools=on_list_tools,
        on_call_tool=on_call_tool,
    )

    async def explain(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        try:
            return await call_next(ctx)
        except ValidationError as error:
            hint = f"Send params as the protocol describes them for {ctx.method[:100]}, with `arguments` as an object."
            refused = refusal(INVALID_PARAMS, "bad_params", hint)
            await enter(refused.error, ctx)
            raise MCPError.from_error_data(refused.wire) from error
        except MCPError as error:
            said = in_our_words(error.error)
            if said is None:
                raise
            await enter(said.error, ctx)
            raise MCPError.from_error_data(said.wire) from error

    # In place of the SDK's tracing: nobody here listens to spans, and every message would pay for them.
    server.middleware[:] = [explain]
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
    enter: Callable[[ZcError], Awaitable[None]] | None = None,
) -> None:
    """Serve one client until it goes: lines in, lines out.

    Args:
        server: made by `make_server`.
        reader: of the client's lines.
        send: writes one line; raises OSError when the client is gone or does not read.
        flow: bounds and tells what is under way.
        enter: told of each line that is refused before the server sees it.
    """
    under_way = flow or Flow()
    inward, incoming = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    outgoing, outward = anyio.create_memory_object_stream[SessionMessage](0)

    async def read_lines() -> None:
        async with inward:
            while True:
                try:
                    line = await reader.readline()
                except ValueError:  # longer than a message may be: what follows cannot be told apart any more
                    await turn_down(_unsent(None, "line_too_long"))
                    return
                if not line.endswith(b"\n"):
                    return
                await under_way.may_read()
                message = parse_line(line)
                if isinstance(message, types.JSONRPCRequest):
                    under_way.ask(coerce_request_id(message.id))
                elif isinstance(message, types.JSONRPCNotification):
                    under_way.settle(_no_longer_wanted(message))
                if isinstance(message, NoMessage):
                    await turn_down(message)
                elif message is not None:
                    await inward.send(SessionMessage(message))

    async def turn_down(line: NoMessage) -> None:
        if enter is not None:
            await enter(line.error)
        await send(line.answer)

    async def explained(message: types.JSONRPCMessage) -> types.JSONRPCMessage:
        """Put what the SDK refused before its middleware into our words, and enter it."""
        said = in_our_words(message.error) if isinstance(message, types.JSONRPCError) else None
        if said is None:
            return message
        if enter is not None:
            await enter(said.error)
        return message.model_copy(update={"error": said.wire})

    async def write_lines() -> None:
        async with outward:
            async for item in outward:
                message = await explained(item.message)
                await send(message.model_dump_json(by_alias=True, exclude_unset=True).encode() + b"\n")
                if isinstance(message, types.JSONRPCResponse | types.JSONRPCError):
                    ident = message.id
                    under_way.settle(None if ident is None else coerce_request_id(ident))

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
    """Return the id of the request that a client cancels: the SDK does not answer it, and takes "7" and 7 for one."""
    if message.method != "notifications/cancelled" or message.params is None:
        return None
    ident = as_request_id(message.params.get("requestId"))
    return None if ident is None else coerce_request_id(ident)


class NoMessage(NamedTuple):
    """What is no JSON-RPC message.

    Attributes:
        error: why.
        answer: the line to answer with.
    """

    error: ZcError
    answer: bytes


def parse_line(line: bytes) -> types.JSONRPCMessage | NoMessage | None:
    """Return the message of a line, or why it is none; None for an empty line."""
    if not line.strip():
        return None
    if rendezvous.crowded(line):
        return _unsent(None, "too_many_values")
    try:
        message = types.jsonrpc_message_adapter.validate_json(line, by_name=False)
    except ValidationError:
        pass
    else:
        if isinstance(message, types.JSONRPCRequest | types.JSONRPCNotification) and message.method == UNSENT:
            return _unsent(getattr(message, "id", None), (message.params or {}).get("code"))
        # A request whose id is no id would pass for a notification, and its client would wait for ever.
        if not isinstance(message, types.JSONRPCNotification) or "id" not in json.loads(line):
            return message
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return _no_message(None, PARSE_ERROR, "malformed_json", "Send one JSON-RPC message a line, as UTF-8.")
    form = 'Send {"jsonrpc": "2.0", "id": …, "method": …} as one object.'
    if not isinstance(value, dict):
        return _no_message(None, INVALID_REQUEST, "not_json_rpc", form)
    ident = as_request_id(value.get("id"))
    asks = ident is not None or "id" not in value
    if not (asks and value.get("jsonrpc") == "2.0" and isinstance(value.get("method"), str)):
        return _no_message(ident, INVALID_REQUEST, "not_json_rpc", form)
    if not isinstance(value.get("params"), dict | None):
        return _no_message(ident, INVALID_PARAMS, "bad_params", "Send params as an object.")
    return _no_message(ident, INVALID_PARAMS, "bad_text", "Send valid Unicode: no lone surrogates.")


def no_message(body: bytes) -> NoMessage | None:
    """Return why a request's body is no JSON-RPC message; None if it is one."""
    parsed = parse_line(body or b"{")
    return parsed if isinstance(parsed, NoMessage) else None


def _unsent(ident: int | str | None, code: object) -> NoMessage:
    """Return the refusal of what is too large to be looked at: found by us, or by the shim, which tells."""
    if code == "line_too_long":
        return _no_message(
            ident, PARSE_ERROR, code, f"Keep messages below {rendezvous.LINE_BYTES >> 20} MiB."
        )
    return _no_message(ident, INVALID_REQUEST, "too_many_values", "Send less in one message.")


def _no_message(ident: int | str | None, number: int, code: str, hint: str) -> NoMessage:
    refused: Refusal = refusal(number, code, hint)
    answer = json.dumps({"jsonrpc": "2.0", "id": ident, "error": refused.wire.model_dump()}).encode() + b"\n"
    return NoMessage(refused.error, answer)
