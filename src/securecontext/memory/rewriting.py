"""Facts and events that are stored already, read in the order of their arrival and rewritten without a secret.

The one exception to facts never being changed in place: a secret that was found later must be in no earlier value.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from sqlalchemy import Connection, bindparam, select, update

from securecontext.boundaries.keyring.bodies import Bodies
from securecontext.memory.facts import COLUMNS, Fact, fact_of, place_of
from securecontext.storage.tables import events, facts
from securecontext.types.classification import SEALED


class StoredFact(NamedTuple):
    """A fact, and the session that its place in the index needs."""

    fact: Fact
    session: str


class StoredEvent(NamedTuple):
    """What of an event may hold a secret."""

    id: int
    detail: str


_FACTS = (
    select(*COLUMNS, facts.c.session)
    .where(facts.c.project == bindparam("in_project"), facts.c.fact > bindparam("after"))
    .order_by(facts.c.fact)
    .limit(bindparam("most"))
)
_EVENTS = (
    select(events.c.event, events.c.detail)
    .where(events.c.project == bindparam("in_project"), events.c.event > bindparam("after"))
    .order_by(events.c.event)
    .limit(bindparam("most"))
)
_KEY_HELD = select(facts.c.fact).where(
    facts.c.project == bindparam("in_project"),
    facts.c.agent == bindparam("in_agent"),
    facts.c.key == bindparam("of_key"),
)


def facts_after(
    connection: Connection, bodies: Bodies, project: str, after: int, most: int
) -> list[StoredFact]:
    """Return the facts of a project after a row, of every state."""
    rows = connection.execute(_FACTS, {"in_project": project, "after": after, "most": most})
    return [StoredFact(fact_of(row[:-1], project, bodies), row[-1]) for row in rows]


def events_after(connection: Connection, project: str, after: int, most: int) -> list[StoredEvent]:
    """Return the events of a project after a row."""
    rows = connection.execute(_EVENTS, {"in_project": project, "after": after, "most": most})
    return [StoredEvent(*row) for row in rows]


def rewrite_fact(
    connection: Connection, bodies: Bodies, project: str, fact: Fact, key: str, value: str
) -> str:
    """Replace a fact's key and value; return the key that it has now: one that is held already gets a number.

    Raises:
        ZcError: the value has to be sealed, and the data keys cannot be used.
    """
    if key != fact.key:
        place = {"in_project": project, "in_agent": fact.agent, "of_key": key}
        if connection.execute(_KEY_HELD, place).first() is not None:
            key = f"{key} #{fact.id}"
    stored = value
    if fact.classification in SEALED:  # the key is part of what it is sealed for
        stored = bodies.seal(place_of(replace(fact, key=key), project, fact.classification), value)
    connection.execute(update(facts).where(facts.c.fact == fact.id).values(key=key, value=stored))
    return key


def rewrite_event(connection: Connection, event: StoredEvent, detail: str) -> None:
    """Replace an event's detail."""
    connection.execute(update(events).where(events.c.event == event.id).values(detail=detail))
