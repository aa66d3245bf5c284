"""Answering a retried call instead of doing it again.

A client that lost its connection cannot know whether its call was done. It sends the call again under the same
idempotency key; the answer that was kept in the transaction of the effect is given, and nothing happens twice.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from securecontext.storage.tables import idempotency
from securecontext.types.errors import Conflict
from securecontext.types.ids import timestamp

if TYPE_CHECKING:
    from securecontext.boundaries.policy import Principal
    from securecontext.pipeline.call import Call
    from securecontext.pipeline.world import Project

KEPT = timedelta(hours=24)
_FIND = select(idempotency.c.request_digest, idempotency.c.response).where(
    idempotency.c.scope == bindparam("wanted_scope"), idempotency.c.key == bindparam("wanted_key")
)
_KEEP = insert(idempotency)
_DROP = delete(idempotency).where(idempotency.c.created_at < bindparam("before"))


def _scope(principal: Principal, project: Project | None, operation: str) -> str:
    """Return within what a key names one call: two agents, or two projects, that use one key mean two calls."""
    return f"{principal.name}/{project.id if project else ''}/{principal.namespace}/{operation}"


def _scope_of(call: Call) -> str:
    return _scope(call.principal, call.project, call.operation)


def _key(key: str) -> str:
    """Return the stored form of a key: keys are of any length, and what they salt must not lie beside them."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def find(connection: Connection, call: Call, request_digest: str) -> dict[str, Any] | None:
    """Return the kept answer of this very call, or None.

    Raises:
        Conflict: the key was used for a call with other arguments.
    """
    if not call.idempotency_key:
        return None
    row = connection.execute(
        _FIND, {"wanted_scope": _scope_of(call), "wanted_key": _key(call.idempotency_key)}
    ).first()
    if row is None:
        return None
    if row.request_digest != request_digest:
        raise Conflict(
            "idempotency_key_reused",
            "This idempotency key was used for a call with other arguments.",
            "Use a new key for a new call.",
        )
    kept: dict[str, Any] = json.loads(row.response)
    return kept


def known(connection: Connection, principal: Principal, project: Project, operation: str, key: str) -> bool:
    """Say whether a call with this key was answered."""
    scope = _scope(principal, project, operation)
    return connection.execute(_FIND, {"wanted_scope": scope, "wanted_key": _key(key)}).first() is not None


def known_of_agents(connection: Connection, project: Project, operation: str, key: str) -> bool:
    """Say whether a call with this key was answered to some agent with a session token, whichever it was."""
    scope = idempotency.c.scope
    query = select(idempotency.c.key).where(
        scope >= "agent:",
        scope < "agent;",  # the character after the colon
        scope.like(f"agent:%/{project.id}/%/{operation}"),
        idempotency.c.key == _key(key),
    )
    return connection.execute(query.limit(1)).first() is not None


def keep(connection: Connection, call: Call, request_digest: str, answer: dict[str, Any]) -> None:
    """Keep the answer under the call's key; a remembered value is never part of an answer."""
    if not call.idempotency_key:
        return
    connection.execute(
        _KEEP,
        {
            "scope": _scope_of(call),
            "key": _key(call.idempotency_key),
            "request_digest": request_digest,
            "response": json.dumps(answer),
            "created_at": timestamp(call.moment),
        },
    )


def drop_of(connection: Connection, principal: str, project: str, first: str, last: str) -> None:
    """Drop the answers that were kept for a principal, in a project, between two timestamps."""
    connection.execute(
        delete(idempotency).where(
            idempotency.c.scope.startswith(f"{principal}/{project}/", autoescape=True),
            idempotency.c.created_at.between(first, last),
        )
    )


def drop_answers(connection: Connection, operation: str) -> None:
    """Drop the answers that were kept for an operation, whoever called it."""
    connection.execute(
        delete(idempotency).where(idempotency.c.scope.endswith(f"/{operation}", autoescape=True))
    )


def drop_old(connection: Connection, before: str) -> None:
    """Drop answers kept before a timestamp."""
    connection.execute(_DROP, {"before": before})


def rewrite(connection: Connection, change: Callable[[str], str]) -> None:
    """Replace kept answers by what a function makes of them."""
    rows = connection.execute(select(idempotency.c.scope, idempotency.c.key, idempotency.c.response)).all()
    for scope, key, response in rows:
        if (changed := change(response)) != response:
            here = (idempotency.c.scope == scope) & (idempotency.c.key == key)
            connection.execute(update(idempotency).where(here).values(response=changed))
