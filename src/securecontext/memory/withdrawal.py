"""What a session remembered is taken back: its facts are deleted, and what they took the place of counts again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from sqlalchemy import ColumnElement, Connection, delete, not_, select, update

from securecontext.boundaries.keyring.bodies import Bodies
from securecontext.contracts import ensure
from securecontext.memory.facts import COLUMNS, Fact, fact_of
from securecontext.storage.tables import facts

CURRENT = ("active", "archived")


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """What `withdraw` did.

    Attributes:
        gone: ids of the facts that were deleted.
        back: facts of others that count again, each with its session.
    """

    gone: tuple[int, ...]
    back: tuple[tuple[Fact, str], ...]


@ensure(
    lambda connection, project, session, by: not _of(connection, _whose(project, session, by)),
    "of what a session remembered no row is left",
)
def withdraw(
    connection: Connection, bodies: Bodies, project: str, session: str, by: str | None = None
) -> Withdrawn:
    """Delete the facts of a session in every notebook.

    Where such a fact was what counted under its key, the newest value before it counts again, in its state; so does
    what it superseded under another key, unless that key has got another value since.

    Args:
        connection: inside the writer's transaction.
        bodies: opens the values that count again.
        project: id of the project.
        session: its name.
        by: the principal who remembered; None for every one.
    """
    whose = _whose(project, session, by)
    gone = {fact.id: fact for fact in _of(connection, whose)}
    if not gone:
        return Withdrawn((), ())
    replaced = (
        select(*COLUMNS, facts.c.session)
        .where(not_(whose), facts.c.replaced_by.in_(select(facts.c.fact).where(whose)))
        .order_by(facts.c.fact.desc())
    )
    rows = connection.execute(replaced).all()
    older = [(fact_of(row[:-1], project, bodies), str(row[-1])) for row in rows]
    connection.execute(delete(facts).where(whose))
    back: list[tuple[Fact, str]] = []
    for fact, its_session in older:
        last = _successor(gone, fact)
        state = last.state if last.replaced_by is None and last.state in CURRENT else ""
        if state and not _counts(connection, project, fact):
            back.append((replace(fact, state=state, replaced_by=None), its_session))
            values: dict[str, object] = {"state": state, "replaced_by": None}
        else:
            values = {"state": fact.state, "replaced_by": last.replaced_by}
        connection.execute(update(facts).where(facts.c.fact == fact.id).values(values))
    return Withdrawn(tuple(gone), tuple(back))


def _whose(project: str, session: str, by: str | None) -> ColumnElement[bool]:
    whose = (facts.c.project == project) & (facts.c.session == session)
    return whose if by is None else whose & (facts.c.created_by == by)


class _Gone(NamedTuple):
    """What counts of a deleted fact: where it stood in the row of those that followed one another."""

    id: int
    state: str
    replaced_by: int | None


def _of(connection: Connection, whose: ColumnElement[bool]) -> Sequence[_Gone]:
    query = select(facts.c.fact, facts.c.state, facts.c.replaced_by).where(whose)
    return [_Gone(*row) for row in connection.execute(query)]


def _successor(gone: dict[int, _Gone], fact: Fact) -> _Gone:
    """Return the last of the deleted facts that followed one another in the place of this one."""
    at = gone[fact.replaced_by or 0]
    while at.replaced_by in gone:
        at = gone[at.replaced_by]
    return at


def _counts(connection: Connection, project: str, fact: Fact) -> bool:
    """Say whether the key of a fact holds a value."""
    query = select(facts.c.fact).where(
        facts.c.project == project,
        facts.c.agent == fact.agent,
        facts.c.key == fact.key,
        facts.c.state.in_(CURRENT),
    )
    return connection.execute(query.limit(1)).first() is not None
