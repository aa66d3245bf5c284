"""Whose files are whose: reservations of patterns, each held by one agent for one task, until a time.

Reserving is all or nothing, and no two live reservations of a project mean a common file: who reserves does it alone,
across all services that share a database.
A reservation ends when it is released, or when its holder has given no sign of life for as long as its lease; that of
a task of the queue ends with the task's lease and not before: see ``task_files``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import Connection, and_, bindparam, delete, insert, or_, select, update

from securecontext.contracts.session import has_a_moment
from securecontext.coordination.patterns import Part, Pattern, covers, overlap
from securecontext.storage.locks import alone
from securecontext.storage.tables import reservations
from securecontext.types.errors import Conflict, LimitReached

LEASE: Final = timedelta(hours=2)
"""How long an assigned agent's reservations last beyond its last sign of life."""
MOST_LIVE: Final = 1_000
"""Live reservations of a project; each new one is compared with all."""
SHOWN: Final = 20
"""Files that a refusal names at most."""
KEPT: Final = timedelta(days=30)
"""How long a reservation that has ended can still be traced."""
OF_TASK: Final = "task:"
"""How the cause of a reservation begins that a task of the queue made; the role and id follow."""


@dataclass(frozen=True, slots=True)
class Holder:
    """Who reserves, and why.

    Attributes:
        agent: its name.
        principal: its authenticated identity, e.g. ``agent:alice``.
        session: its session; empty where it is not known yet.
        cause: what the reservation is for: ``broadcast:<id>`` or ``task:<id>``.
        task: the same for people.
    """

    agent: str
    principal: str
    session: str
    cause: str
    task: str


@dataclass(frozen=True, slots=True)
class Reservation:
    """A pattern that is reserved. Times are timestamps."""

    id: int
    pattern: Pattern
    agent: str
    principal: str
    session: str
    cause: str
    task: str
    created_at: str
    expires_at: str
    released_at: str | None
    released_by: str | None
    requested_by: str | None
    requested_at: str | None


_COLUMNS = (
    reservations.c.reservation,
    reservations.c.pattern,
    reservations.c.agent,
    reservations.c.principal,
    reservations.c.session,
    reservations.c.cause,
    reservations.c.task,
    reservations.c.created_at,
    reservations.c.expires_at,
    reservations.c.released_at,
    reservations.c.released_by,
    reservations.c.requested_by,
    reservations.c.requested_at,
)
_IS_LIVE = (
    reservations.c.project == bindparam("in_project"),
    reservations.c.released_at.is_(None),
    or_(reservations.c.expires_at > bindparam("now"), reservations.c.cause.startswith(OF_TASK)),
)
_LIVE = select(*_COLUMNS).where(*_IS_LIVE).order_by(reservations.c.reservation)
_OF_CAUSE = (
    select(*_COLUMNS)
    .where(reservations.c.project == bindparam("in_project"), reservations.c.cause == bindparam("of_cause"))
    .order_by(reservations.c.reservation)
)
_INSERT = insert(reservations)
_ENDING = update(reservations).values(released_at=bindparam("at"), released_by=bindparam("by"))
_END_ONE = _ENDING.where(reservations.c.reservation == bindparam("which"))
_END_CAUSE = _ENDING.where(*_IS_LIVE, reservations.c.cause == bindparam("of_cause"))
_END_TASK = _ENDING.where(*_IS_LIVE, reservations.c.task == bindparam("of_task"))
_RENEW = (
    update(reservations)
    .where(
        *_IS_LIVE,
        reservations.c.agent == bindparam("of_agent"),
        reservations.c.expires_at < bindparam("due"),
        reservations.c.cause.startswith("broadcast:"),
    )
    .values(expires_at=bindparam("until"))
)
_OF_QUEUE = (
    reservations.c.project == bindparam("in_project"),
    reservations.c.released_at.is_(None),
    reservations.c.cause.startswith(OF_TASK),
)
_PROLONG = (
    update(reservations)
    .where(*_OF_QUEUE, reservations.c.cause == bindparam("of_cause"))
    .values(expires_at=bindparam("until"))
)
_PROLONG_HELD = (
    update(reservations)
    .where(
        *_OF_QUEUE,
        reservations.c.principal == bindparam("of_holder"),
        reservations.c.session == bindparam("of_session"),
    )
    .values(expires_at=bindparam("until"))
)
_END_QUEUE = update(reservations).where(
    reservations.c.released_at.is_(None), reservations.c.cause.startswith(OF_TASK)
)
_DROP_ENDED = delete(reservations).where(
    reservations.c.project == bindparam("in_project"),
    or_(
        reservations.c.released_at < bindparam("before"),
        and_(reservations.c.expires_at < bindparam("before"), ~reservations.c.cause.startswith(OF_TASK)),
    ),
)
_ASK_FOR = (
    update(reservations)
    .where(reservations.c.reservation == bindparam("which"))
    .values(requested_by=bindparam("asker"), requested_at=bindparam("at"))
)
_GIVE = (
    update(reservations)
    .where(reservations.c.reservation == bindparam("which"))
    .values(
        agent=bindparam("to_agent"),
        principal=bindparam("to_principal"),
        session="",
        expires_at=bindparam("until"),
        requested_by=None,
        requested_at=None,
    )
)


@has_a_moment
def reserve(
    connection: Connection,
    project: str,
    holder: Holder,
    patterns: Sequence[Pattern],
    *,
    until: str,
    moment: str,
) -> None:
    """Reserve every pattern for the holder, or none.

    Args:
        connection: inside the writer's transaction.
        project: its id.
        holder: for whom.
        patterns: what.
        until: timestamp at which the lease ends.
        moment: now, a timestamp.

    Raises:
        Conflict: ``files_reserved``: somebody else holds files of them; ``details`` name holder and files.
        LimitReached: ``too_many_reservations``.
    """
    if not patterns:
        return
    alone(connection, lock_of(project))
    there = live(connection, project, moment)
    if len(there) + len(patterns) > MOST_LIVE:
        raise LimitReached(
            "too_many_reservations",
            f"A project has {MOST_LIVE} reservations at most.",
            "Reserve folders instead of files, or MERGE what is done.",
            limit=MOST_LIVE,
        )
    met = meeting(there, patterns)
    if met:
        raise _reserved(met)
    enter(connection, project, holder, patterns, until=until, moment=moment)


def lock_of(project: str) -> str:
    """Return what whoever reserves in a project holds; see `storage.locks.alone`."""
    return f"ownership:{project}"


def enter(
    connection: Connection,
    project: str,
    holder: Holder,
    patterns: Sequence[Pattern],
    *,
    until: str,
    moment: str,
) -> None:
    """Store reservations that meet none, as the caller has found while it was alone; see `reserve`."""
    rows = [
        {
            "project": project,
            "pattern": pattern.text,
            "agent": holder.agent,
            "principal": holder.principal,
            "session": holder.session,
            "cause": holder.cause,
            "task": holder.task,
            "created_at": moment,
            "expires_at": until,
        }
        for pattern in {each.parts: each for each in patterns}.values()
    ]
    connection.execute(_INSERT, rows)


def live(connection: Connection, project: str, moment: str) -> list[Reservation]:
    """Return the reservations that count now, oldest first."""
    return _read(connection.execute(_LIVE, {"in_project": project, "now": moment}))


def of_cause(connection: Connection, project: str, cause: str) -> list[Reservation]:
    """Return what was reserved for a broadcast or a task, ended ones included."""
    return _read(connection.execute(_OF_CAUSE, {"in_project": project, "of_cause": cause}))


def meeting(there: Iterable[Reservation], patterns: Sequence[Pattern]) -> list[Reservation]:
    """Return the reservations that have a file in common with one of the patterns."""
    return [each for each in there if any(overlap(each.pattern, pattern) for pattern in patterns)]


def holding(there: Iterable[Reservation], names: tuple[Part, ...]) -> Reservation | None:
    """Return the reservation that a file, given by its names from the top down, belongs to; None where none."""
    return next((each for each in there if covers(each.pattern, names)), None)


def release_task(connection: Connection, project: str, task: str, *, by: str, moment: str) -> int:
    """End what was reserved for a task, by its words; return how many reservations that were."""
    given = {"in_project": project, "of_task": task, "now": moment, "at": moment, "by": by}
    return connection.execute(_END_TASK, given).rowcount


def release_cause(connection: Connection, project: str, cause: str, *, by: str, moment: str) -> int:
    """End what was reserved for a broadcast or a task of the queue; return how many reservations that were."""
    given = {"in_project": project, "of_cause": cause, "now": moment, "at": moment, "by": by}
    return connection.execute(_END_CAUSE, given).rowcount


def release(connection: Connection, ended: Sequence[Reservation], *, by: str, moment: str) -> None:
    """End reservations."""
    for each in ended:
        connection.execute(_END_ONE, {"which": each.id, "at": moment, "by": by})


def renew(connection: Connection, project: str, agent: str, *, due: str, until: str, moment: str) -> int:
    """Let an agent's assigned reservations last longer, those that end before ``due``; return how many those were.

    What a task of the queue holds is renewed with the lease of that task.
    """
    given = {"in_project": project, "of_agent": agent, "due": due, "until": until, "now": moment}
    return connection.execute(_RENEW, given).rowcount


def prolong(connection: Connection, project: str, cause: str, until: str) -> None:
    """Let what a task of the queue holds be shown to last as long as the task's lease."""
    connection.execute(_PROLONG, {"in_project": project, "of_cause": cause, "until": until})


def prolong_held(connection: Connection, project: str, by: str, session: str, until: str) -> None:
    """Do so for all tasks that a principal's session holds."""
    given = {"in_project": project, "of_holder": by, "of_session": session, "until": until}
    connection.execute(_PROLONG_HELD, given)


def release_queue(connection: Connection, *, by: str, moment: str) -> None:
    """End what tasks of the queue hold, in every project of a store."""
    connection.execute(_END_QUEUE.values(released_at=moment, released_by=by))


def drop_ended(connection: Connection, project: str, before: str) -> int:
    """Delete reservations that ended before a timestamp; return how many."""
    return connection.execute(_DROP_ENDED, {"in_project": project, "before": before}).rowcount


def ask_for(connection: Connection, wanted: Sequence[Reservation], *, asker: str, moment: str) -> None:
    """Note on reservations that an agent asks to have them."""
    for each in wanted:
        connection.execute(_ASK_FOR, {"which": each.id, "asker": asker, "at": moment})


def give(connection: Connection, given: Sequence[Reservation], *, agent: str, until: str) -> None:
    """Hand reservations over to another agent."""
    for each in given:
        to = {"which": each.id, "to_agent": agent, "to_principal": f"agent:{agent}", "until": until}
        connection.execute(_GIVE, to)


def _read(rows: Any) -> list[Reservation]:
    return [Reservation(row[0], _pattern(row[1]), *row[2:]) for row in rows]


@lru_cache(maxsize=4 * MOST_LIVE)
def _pattern(text: str) -> Pattern:
    """Return a stored pattern; each is read before every write of a file."""
    return Pattern.of(text)


def _reserved(met: Sequence[Reservation]) -> Conflict:
    first = met[0]
    files = [each.pattern.text for each in met if each.cause == first.cause][:SHOWN]
    kind, _, ident = first.cause.partition(":")
    named = (
        {"conflicting_broadcast_id": int(ident)} if kind == "broadcast" else {"conflicting_task_id": ident}
    )
    return Conflict(
        "files_reserved",
        f"{first.agent} holds {', '.join(files[:3])} for {kind} {ident} until {first.expires_at[:16]}Z.",
        "Wait for its MERGE or the end of its task, ask for them with a DEPENDENCY that names them, or take others.",
        holder=first.agent,
        overlapping_files=files,
        **named,
    )
