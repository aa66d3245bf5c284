"""What a request says: its headers as they are, and its body, whole and bounded."""

from __future__ import annotations

import json
from collections.abc import Iterable

from starlette.types import Message, Receive, Scope

from securecontext.boundaries.limits import HTTP_BODY_BYTES, REST_BODY_BYTES
from securecontext.pipeline.passing import PATH
from securecontext.types.errors import InvalidInput

MCP = "/mcp"


def header_values(scope: Scope, name: bytes) -> list[str]:
    """Return the values of a header, as often as it was sent; bytes that are no UTF-8 survive as surrogates."""
    headers: Iterable[tuple[bytes, bytes]] = scope["headers"]
    return [value.decode("utf-8", "surrogateescape").strip() for key, value in headers if key == name]


async def whole_body(scope: Scope, receive: Receive) -> Receive | None:
    """Return a `receive` that gives the whole body at once; None when the client went away before it had sent it.

    Raises:
        InvalidInput: it is not JSON by its content type, or longer than we take.
    """
    kinds = header_values(scope, b"content-type")
    if len(kinds) != 1 or kinds[0].partition(";")[0].strip().lower() != "application/json":
        raise InvalidInput(
            "wrong_content_type", "The body is not sent as JSON.", "Send `Content-Type: application/json`."
        )
    most = HTTP_BODY_BYTES if scope["path"] in (MCP, PATH) else REST_BODY_BYTES
    too_large = InvalidInput(
        "too_large", f"The body is longer than {most} bytes.", "Send less at once.", limit=most
    )
    for length in header_values(scope, b"content-length"):
        if length.isascii() and length.isdigit() and int(length[:20]) > most:
            raise too_large
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        body += message.get("body", b"")
        if len(body) > most:
            raise too_large
        if not message.get("more_body", False):
            break
    pending: list[Message] = [{"type": "http.request", "body": bytes(body), "more_body": False}]

    async def replay() -> Message:
        return pending.pop(0) if pending else await receive()

    return replay


def parse_object(body: bytes) -> dict[str, object]:
    """Return the JSON object of a body.

    Raises:
        InvalidInput: it is none.
    """
    try:
        value = json.loads(body, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise InvalidInput(
            "malformed_json",
            "The body is not a JSON object.",
            'Send the arguments as one object, e.g. {"key": "db"}; {} where there are none.',
        )
    return value


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")
