"""The caller behind a request that was let in: the holder of the door's token, or the agent of a session token."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from starlette.types import Scope

from securecontext.boundaries.identity.door_token import DoorToken
from securecontext.boundaries.policy import Standing, other_project
from securecontext.boundaries.tokens import Claims
from securecontext.http.asked import OUR_QUERY, one_of_query, query_of
from securecontext.http.body import header_values
from securecontext.pipeline.callers import Caller, introduce, principal_of
from securecontext.pipeline.world import World
from securecontext.types.errors import Denied, InvalidInput, NotFound

PRINCIPAL = "token:http"
"""The authenticated identity of whoever shows the door's token, for the ledger."""
CLAIMS = "securecontext.claims"
"""Where the guard leaves in a request's scope what its session token says."""
PROJECT = "X-ZC-Project"
AGENT = "X-ZC-Agent"
KEY = "Idempotency-Key"
KEY_CHARACTERS = 200


def caller_of(
    world: World,
    scope: Scope,
    token: DoorToken,
    standing: Standing,
    session: str = "",
    *,
    project: str = "",
    agent: str = "",
) -> Caller:
    """Return the caller of a request. Blocks: a folder that is new gets a project.

    Args:
        world: finds the project.
        scope: the request, admitted by the guard.
        token: what it was admitted by.
        standing: in what capacity this path is called.
        session: the session that the protocol knows; by default one for each token.
        project: folder that the request names in its body.
        agent: notebook that it names there.

    Raises:
        Unauthenticated: it names another project than its session token does.
        Denied: it names another agent than its session token does.
        InvalidInput: it names an agent by a name that no agent can have, or says something twice.
    """
    claims: Claims | None = scope.get(CLAIMS)
    agent = _agreed(one_value(scope, AGENT), agent, AGENT)
    if claims is not None:
        _refuse_other_project(world, claims, project)
        return Caller(principal_of(claims, "http", agent), world.project(claims.ph))
    project = _agreed(_project(scope), project, PROJECT)
    relative = bool(project) and not Path(project).is_absolute()
    headers = {
        "session": session_name(token, session),
        "agent": agent,
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
    _refuse_other_project(world, claims, _project(scope))
    return claims


def speaker(world: World, shown: str, scope: Scope) -> Claims:
    """Return the same of a token that a request shows in its body. Blocks.

    Raises:
        Unauthenticated: it does not count.
        Denied: ``two_tokens``: the request was let in by the session token of another agent.
    """
    before: Claims | None = scope.get(CLAIMS)
    claims = session_claims(world, shown, scope)
    if before is not None and before.tid != claims.tid:
        raise Denied("two_tokens", "The request shows two session tokens.", "Show the one of who speaks.")
    return claims


def _refuse_other_project(world: World, claims: Claims, path: str) -> None:
    if path and _project_at(world, path) != claims.ph:
        raise other_project()


def _agreed(first: str, second: str, name: str) -> str:
    """Return what a request says in its head or in its body."""
    if first and second and first != second:
        raise InvalidInput(
            "said_twice", f"{name} and the request's fields say two things.", "Say it once.", field=name
        )
    return first or second


def _project_at(world: World, path: str) -> str | None:
    if not Path(path).is_absolute():
        return None
    try:
        return world.known_project(path)
    except (InvalidInput, NotFound):  # no folder, or none that a project can be
        return None


def _project(scope: Scope) -> str:
    """Return the folder that a request names as its project's; empty where it names none."""
    asked = one_of_query(query_of(scope).get(OUR_QUERY, [""]), OUR_QUERY)
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
