"""The caller behind a request that was let in: the holder of the door's token, or the agent of a session token."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs

from starlette.types import Scope

from securecontext.boundaries.identity.door_token import DoorToken
from securecontext.boundaries.policy import Standing, other_project
from securecontext.boundaries.tokens import Claims
from securecontext.http.body import header_values
from securecontext.pipeline.callers import Caller, introduce, principal_of
from securecontext.pipeline.world import World
from securecontext.types.errors import InvalidInput, NotFound

PRINCIPAL = "token:http"
"""The authenticated identity of whoever shows the door's token, for the ledger."""
CLAIMS = "securecontext.claims"
"""Where the guard leaves in a request's scope what its session token says."""
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
        Denied: it names another agent than its session token does.
        InvalidInput: it names an agent by a name that no agent can have, or says something twice.
    """
    claims: Claims | None = scope.get(CLAIMS)
    if claims is not None:
        return Caller(principal_of(claims, "http", one_value(scope, AGENT)), world.project(claims.ph))
    project = _project(scope)
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


def session_claims(world: World, shown: str, scope: Scope) -> Claims:
    """Return what a session token says that counts now, and counts here. Blocks.

    Raises:
        Unauthenticated: it does not count, or the request names another project than the token's.
        InvalidInput: the request says something twice.
    """
    claims = world.credentials.identify(shown)
    path = _project(scope)
    if path and _project_at(world, path) != claims.ph:
        raise other_project()
    return claims


def _project_at(world: World, path: str) -> str | None:
    if not Path(path).is_absolute():
        return None
    try:
        return world.known_project(path)
    except (InvalidInput, NotFound):  # no folder, or none that a project can be
        return None


def _project(scope: Scope) -> str:
    """Return the folder that a request names as its project's; empty where it names none."""
    asked = _query(scope, "project")
    return one_value(scope, PROJECT) or asked


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
