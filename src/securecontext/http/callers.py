"""The caller behind a request that was let in: the holder of the token, and the project that it names."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs

from starlette.types import Scope

from securecontext.boundaries.door_token import DoorToken
from securecontext.boundaries.policy import Standing
from securecontext.http.body import header_values
from securecontext.pipeline.callers import Caller, introduce
from securecontext.pipeline.world import World
from securecontext.types.errors import InvalidInput

PRINCIPAL = "token:http"
"""The authenticated identity of whoever shows the token, for the ledger."""
PROJECT = "X-ZC-Project"
AGENT = "X-ZC-Agent"
KEY = "Idempotency-Key"
KEY_CHARACTERS = 200
QUERY_FIELDS = 20


def caller_of(world: World, scope: Scope, token: DoorToken, standing: Standing, session: str = "") -> Caller:
    """Return the caller of a request. Blocks: a folder that is new gets a project.

    Args:
        world: finds the project.
        scope: the request, admitted by the guard.
        token: what it was admitted by.
        standing: in what capacity this path is called.
        session: the session that the protocol knows; by default one for each token.

    Raises:
        InvalidInput: it names an agent by a name that no agent can have, or says something twice.
    """
    asked = _query(scope, "project")
    project = one_value(scope, PROJECT) or asked
    relative = bool(project) and not Path(project).is_absolute()
    headers = {
        "session": session_name(token, session),
        "agent": one_value(scope, AGENT),
        "project-path": "" if relative else project,
    }
    caller = introduce(world, standing, "http", PRINCIPAL, headers)
    if not relative:
        return caller
    trouble = InvalidInput(
        "relative_path", "The project's folder is not an absolute path.", "Send its full path.", field=PROJECT
    )
    return replace(caller, trouble=trouble)  # told where a call needs a project, and entered there


def session_name(token: DoorToken, session: str = "") -> str:
    """Return the session's name in the ledger: the protocol's own, or one for each token."""
    return f"http-{session or token.short}"


def idempotency_key(scope: Scope) -> str:
    """Return the request's idempotency key; empty when it has none.

    Raises:
        InvalidInput: it is longer than a key may be.
    """
    key = one_value(scope, KEY)
    if len(key) > KEY_CHARACTERS or not key.isprintable():
        raise InvalidInput(
            "bad_idempotency_key",
            f"The idempotency key is not a printable text of at most {KEY_CHARACTERS} characters.",
            "Send a UUID.",
            field=KEY,
        )
    return key


def one_value(scope: Scope, name: str) -> str:
    """Return the value of a header that may be sent once.

    Raises:
        InvalidInput: it is sent more often.
    """
    values = header_values(scope, name.lower().encode())
    if len(values) > 1:
        raise InvalidInput("repeated_header", f"{name} is sent more than once.", "Send it once.", field=name)
    return values[0] if values else ""


def _query(scope: Scope, name: str) -> str:
    text = scope.get("query_string", b"").decode("ascii", "replace")
    try:
        values = parse_qs(text, errors="surrogateescape", max_num_fields=QUERY_FIELDS).get(name, [])
    except ValueError as error:
        raise InvalidInput(
            "too_many_fields",
            f"The query has more than {QUERY_FIELDS} fields.",
            "Send arguments in the body.",
            limit=QUERY_FIELDS,
        ) from error
    if len(values) > 1:
        raise InvalidInput("repeated_query", f"{name} is asked more than once.", "Send it once.", field=name)
    return values[0] if values else ""
