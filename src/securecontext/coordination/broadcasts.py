"""Broadcasts as they are stored: said once, in order, to some agents or to all of a project, and never changed.

Also how often an agent may try to say something. What each agent has acknowledged is in ``acknowledgements``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    ScalarSelect,
    Select,
    String,
    and_,
    bindparam,
    delete,
    exists,
    func,
    insert,
    literal,
    or_,
    select,
    true,
)

from securecontext.contracts.session import has_a_moment
from securecontext.coordination import messages
from securecontext.coordination.messages import Message
from securecontext.storage.locks import alone
from securecontext.storage.tables import (
    broadcast_acks,
    broadcast_attempts,
    broadcast_recipients,
    broadcasts,
)
from securecontext.types.errors import LimitReached, NotFound
from securecontext.types.ids import timestamp

ATTEMPTS: Final = 10
WINDOW: Final = timedelta(seconds=60)
MOST_SHOWN: Final = 500
TRUSTED_ROLES: Final = frozenset({"orchestrator", "operator"})
"""Whose texts are shown without the mark of an unverified one."""


@dataclass(frozen=True, slots=True)
class Sender:
    """Who says something.

    Attributes:
        agent: its name, as its token says; ``operator`` for a person.
        role: its role, or ``operator``.
        principal: its authenticated identity.
        session: its session.
    """

    agent: str
    role: str
    principal: str
    session: str


@dataclass(frozen=True, slots=True)
class Broadcast:
    """One broadcast; shown as ``b<id>``.

    Attributes:
        recipients: how many agents are named; 0 for all of the project.
        created_at: timestamp.
    """

    id: int
    agent: str
    role: str
    recipients: int
    message: Message
    created_at: str
    created_by: str
    session: str

    @property
    def verified(self) -> bool:
        """Say whether its sender was an orchestrator or the operator: a worker's words are a claim."""
        return self.role in TRUSTED_ROLES


_COLUMNS = (
    broadcasts.c.broadcast,
    broadcasts.c.agent,
    broadcasts.c.role,
    broadcasts.c.recipients,
    broadcasts.c.message,
    broadcasts.c.created_at,
    broadcasts.c.created_by,
    broadcasts.c.session,
)
_INSERT = insert(broadcasts)
_NAME = insert(broadcast_recipients)
_HERE = broadcasts.c.project == bindparam("in_project")
_IS_NAMED = exists().where(
    broadcast_recipients.c.project == broadcasts.c.project,
    broadcast_recipients.c.broadcast == broadcasts.c.broadcast,
    broadcast_recipients.c.agent == bindparam("for_agent"),
)
_IS_ACKNOWLEDGED = exists().where(
    broadcast_acks.c.project == broadcasts.c.project,
    broadcast_acks.c.broadcast == broadcasts.c.broadcast,
    broadcast_acks.c.agent == bindparam("for_agent"),
)
_IS_OPEN = and_(
    broadcasts.c.agent != bindparam("for_agent"),
    or_(broadcasts.c.recipients == 0, _IS_NAMED),
    ~_IS_ACKNOWLEDGED,
)


def _listing(which: ColumnElement[bool]) -> Select[Any]:
    since = and_(broadcasts.c.broadcast > bindparam("after"), broadcasts.c.created_at >= bindparam("since"))
    listed = select(*_COLUMNS).where(_HERE, since, which)
    return listed.order_by(broadcasts.c.broadcast).limit(bindparam("most"))


_OPEN = _listing(_IS_OPEN)
_ALL = _listing(true())
_NEWEST = (
    select(*_COLUMNS)
    .where(
        _HERE,
        broadcasts.c.broadcast > bindparam("after"),
        broadcasts.c.broadcast < bindparam("before"),
        or_(bindparam("of_type", type_=String) == "", broadcasts.c.type == bindparam("of_type")),
        or_(bindparam("by_agent", type_=String) == "", broadcasts.c.agent == bindparam("by_agent")),
    )
    .order_by(broadcasts.c.broadcast.desc())
    .limit(bindparam("most"))
)
_IS_ANY_OPEN = select(broadcasts.c.broadcast).where(_HERE, _IS_OPEN).limit(1)
_ONE = select(*_COLUMNS).where(_HERE, broadcasts.c.broadcast == bindparam("which"))
_NAMED = select(broadcast_recipients.c.agent).where(
    broadcast_recipients.c.project == bindparam("in_project"),
    broadcast_recipients.c.broadcast == bindparam("which"),
)
_OF_AGENT = (
    broadcast_attempts.c.project == bindparam("in_project"),
    broadcast_attempts.c.agent == bindparam("of_agent"),
)
_FORGET = delete(broadcast_attempts).where(*_OF_AGENT, broadcast_attempts.c.created_at <= bindparam("before"))
_TRIED = select(func.count(), func.min(broadcast_attempts.c.created_at)).where(*_OF_AGENT)
_TRY = insert(broadcast_attempts)


def take_attempt(connection: Connection, project: str, agent: str, moment: datetime) -> None:
    """Count one attempt to broadcast, which counts whether it succeeds or not.

    Args:
        connection: inside a transaction of its own, which a refusal of the broadcast does not take back.
        project: id of the project.
        agent: who tries.
        moment: now.

    Raises:
        LimitReached: ``broadcast_rate``.
    """
    alone(connection, f"broadcast_attempts:{project}/{agent}")
    here = {"in_project": project, "of_agent": agent}
    connection.execute(_FORGET, {**here, "before": timestamp(moment - WINDOW)})
    count, first = connection.execute(_TRIED, here).one()
    if count >= ATTEMPTS:
        seconds = int(WINDOW.total_seconds())
        raise LimitReached(
            "broadcast_rate",
            f"{agent} has broadcast {ATTEMPTS} times within {seconds} s, which is the limit.",
            "Say more at once, less often.",
            limit=ATTEMPTS,
            since=first,
        )
    connection.execute(_TRY, {"project": project, "agent": agent, "created_at": timestamp(moment)})


@has_a_moment
def say(
    connection: Connection,
    project: str,
    sender: Sender,
    message: Message,
    recipients: Sequence[str],
    moment: str,
) -> int:
    """Store a broadcast and return its id.

    Args:
        connection: inside the writer's transaction.
        project: id of the project.
        sender: who says it.
        message: what.
        recipients: names of the agents that it is for, each once; none for all of the project.
        moment: now, a timestamp.
    """
    inserted = connection.execute(
        _INSERT,
        {
            "project": project,
            "type": message.type,
            "agent": sender.agent,
            "role": sender.role,
            "task": message.task,
            "importance": message.importance,
            "recipients": len(recipients),
            "message": messages.dump(message),
            "created_at": moment,
            "provenance": "EXTRACTED",
            "trust": "person" if sender.role == "operator" else "agent",
            "classification": "internal",
            "created_by": sender.principal,
            "session": sender.session,
        },
    )
    new = int(inserted.inserted_primary_key[0])  # type: ignore[index]  # an insert of one row has it
    if recipients:
        named = [{"project": project, "broadcast": new, "agent": agent} for agent in recipients]
        connection.execute(_NAME, named)
    return new


def replay(
    connection: Connection,
    project: str,
    agent: str,
    *,
    after: int = 0,
    since: str = "",
    only_open: bool = True,
    most: int = MOST_SHOWN,
) -> list[Broadcast]:
    """Return broadcasts of a project, oldest first.

    Args:
        connection: of the project's store.
        project: its id.
        agent: for whom.
        after: only those with a larger id.
        since: only those from this timestamp on; empty for all.
        only_open: only those that are for the agent, by others, and that it has not acknowledged.
        most: how many.
    """
    given = {"in_project": project, "for_agent": agent, "after": after, "since": since, "most": most}
    return _read(connection.execute(_OPEN if only_open else _ALL, given))


def newest(
    connection: Connection,
    project: str,
    *,
    after: int = 0,
    before: int = messages.LARGEST_ID,
    kind: str = "",
    agent: str = "",
    most: int = MOST_SHOWN,
) -> list[Broadcast]:
    """Return broadcasts of a project, newest first, whoever they are for.

    Args:
        connection: of the project's store.
        project: its id.
        after: only those with a larger id.
        before: only those with a smaller id.
        kind: only those of this type; empty for all.
        agent: only those that this agent sent; empty for all.
        most: how many.
    """
    given = {"in_project": project, "after": after, "before": before, "most": most}
    return _read(connection.execute(_NEWEST, {**given, "of_type": kind, "by_agent": agent}))


def has_open(connection: Connection, project: str, agent: str) -> bool:
    """Say whether there is a broadcast for an agent that it has not acknowledged."""
    found = connection.execute(_IS_ANY_OPEN, {"in_project": project, "for_agent": agent})
    return found.first() is not None


def up_to(most: int) -> ScalarSelect[int]:
    """Return a count of the broadcasts in the project ``in_project``; counting ends at so many."""
    found = select(literal(1)).where(_HERE)
    return select(func.count()).select_from(found.limit(most).subquery()).scalar_subquery()


def get(connection: Connection, project: str, broadcast: int) -> Broadcast:
    """Return a broadcast.

    Raises:
        NotFound: ``no_such_broadcast``: there is none in this project.
    """
    found = _read(connection.execute(_ONE, {"in_project": project, "which": broadcast}))
    if not found:
        raise NotFound(
            "no_such_broadcast", "There is no such broadcast in this project.", "List them with zc_replay."
        )
    return found[0]


def recipients_of(connection: Connection, project: str, broadcast: int) -> list[str]:
    """Return the agents that a broadcast names, by name; none where it is for all of the project."""
    found = connection.execute(_NAMED, {"in_project": project, "which": broadcast}).scalars()
    return sorted(found)  # here, because engines sort text in orders of their own


def _read(rows: Iterable[Any]) -> list[Broadcast]:
    return [
        Broadcast(ident, agent, role, recipients, messages.load(message), at, by, session)
        for ident, agent, role, recipients, message, at, by, session in rows
    ]
