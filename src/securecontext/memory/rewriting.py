"""Facts and events that are stored already, read in the order of their arrival and rewritten without a secret.

The one exception to facts never being changed in place: a secret that was found later must be in no earlier value.
Texts of a class that is stored sealed are not looked at here: what lies in their rows is no text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, or_, select, update

from securecontext.storage.tables import events, facts


class StoredFact(NamedTuple):
    """What of a fact may hold a secret, and what its place in the index needs."""

    id: int
    agent: str
    key: str
    value: str
    session: str
    created_at: str


class StoredEvent(NamedTuple):
    """What of an event may hold a secret."""

    id: int
    detail: str


_FACTS = (
    select(facts.c.fact, facts.c.agent, facts.c.key, facts.c.value, facts.c.session, facts.c.created_at)
    .where(
        facts.c.project == bindparam("in_project"),
        facts.c.fact > bindparam("after"),
        or_(facts.c.classification == "public", facts.c.classification == "internal"),
    )
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


def facts_after(connection: Connection, project: str, after: int, most: int) -> list[StoredFact]:
    """Return the facts of a project after a row, of every state."""
    return [StoredFact(*row) for row in _rows(connection, _FACTS, project, after, most)]


def events_after(connection: Connection, project: str, after: int, most: int) -> list[StoredEvent]:
    """Return the events of a project after a row."""
    return [StoredEvent(*row) for row in _rows(connection, _EVENTS, project, after, most)]


def _rows(connection: Connection, query: Any, project: str, after: int, most: int) -> Sequence[Any]:
    return connection.execute(query, {"in_project": project, "after": after, "most": most}).all()


def rewrite_fact(connection: Connection, project: str, fact: StoredFact, key: str, value: str) -> str:
    """Replace a fact's key and value; return the key that it has now: one that is held already gets a number."""
    if key != fact.key:
        place = {"in_project": project, "in_agent": fact.agent, "of_key": key}
        if connection.execute(_KEY_HELD, place).first() is not None:
            key = f"{key} #{fact.id}"
    connection.execute(update(facts).where(facts.c.fact == fact.id).values(key=key, value=value))
    return key


def rewrite_event(connection: Connection, event: StoredEvent, detail: str) -> None:
    """Replace an event's detail."""
    connection.execute(update(events).where(events.c.event == event.id).values(detail=detail))
