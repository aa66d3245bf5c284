"""Refusals as problem details (RFC 9457), the one form in which this door says no."""

from __future__ import annotations

import json
import math
from typing import Any

from starlette.responses import Response

from securecontext.http import request_id
from securecontext.types.errors import Unauthenticated, ZcError

MEDIA_TYPE = "application/problem+json"
EXTENSIONS = ("holder", "overlapping_files", "conflicting_broadcast_id", "conflicting_task_id")
"""Details of a conflict over files that stand beside the members that every problem has, too."""
TITLES = {
    400: "Bad input",
    401: "Not authenticated",
    403: "Not allowed",
    404: "Not found",
    405: "Wrong method",
    409: "Conflict",
    410: "Expired",
    413: "Too large",
    415: "Wrong content type",
    429: "Limit reached",
    500: "Failed",
    503: "Not available",
}


def problem(error: ZcError, status: int = 0, headers: dict[str, str] | None = None) -> Response:
    """Return the response to a refusal.

    Args:
        error: the refusal.
        status: the HTTP status; by default that of the error's class.
        headers: more headers of the response.
    """
    number = status or error.http_status
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": TITLES.get(number, "Refused"),
        "status": number,
        "detail": error.message,
        "code": error.code,
        "hint": error.hint,
        "request_id": request_id.current(),
    }
    if error.details:
        body["details"] = error.details
        body |= {name: error.details[name] for name in EXTENSIONS if name in error.details}
    if isinstance(error, Unauthenticated):
        headers = {**(headers or {}), "WWW-Authenticate": "Bearer"}
    if wait := error.details.get("retry_after_ms"):
        headers = {**(headers or {}), "Retry-After": str(math.ceil(wait / 1000))}
    return Response(json.dumps(body), number, headers, MEDIA_TYPE)


SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "code", "hint", "request_id"],
    "properties": {
        "type": {"type": "string", "format": "uri-reference"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "one plain sentence"},
        "code": {"type": "string", "description": "stable, for programs"},
        "hint": {"type": "string", "description": "the next step"},
        "request_id": {"type": "string", "description": "the name of the request, as in its header"},
        "details": {"type": "object", "additionalProperties": True},
        "holder": {"type": "string", "description": "agent that holds files"},
        "overlapping_files": {"type": "array", "items": {"type": "string"}},
        "conflicting_broadcast_id": {"type": "integer"},
        "conflicting_task_id": {"type": "string"},
    },
}
"""The body's schema, for OpenAPI."""
