"""Working memory: facts by key, in a notebook per agent, with their history.

A fact is never changed in place. A new value makes a new row; the old one is kept as ``replaced``, or ``superseded``
where another key takes its place. ``archived`` facts were evicted: recall no longer shows them, search does.
Forgetting deletes every row of a key.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import (
    Connection,
    ScalarSelect,
    bindparam,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)

from securecontext.contracts import ensure, require
from securecontext.contracts.agent import names_an_agent, stores_a_key, stores_a_value
from securecontext.contracts.session import has_a_moment
from securecontext.memory.capacity import Capacity, choose_evicted
from securecontext.storage.tables import facts
from securecontext.types.errors import NotFound


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a text comes from and who may see it; see `storage.tables`."""

    created_by: str
    session: str
    trust: str = "agent"
    provenance: str = "EXTRACTED"
    classification: str = "internal"


@dataclass(frozen=True, slots=True)
class Fact:
    """One row of working memory.

    Attributes:
        id: row id; shown as ``m<id>``.
        state: ``active``, ``archived``, ``replaced`` or ``superseded``.
        replaced_by: the newer fact's id.
        created_at: timestamp.
    """

    id: int
    agent: str
    key: str
    value: str
    importance: int
    state: str
    replaced_by: int | None
    created_at: str
    provenance: str
    trust: str
    created_by: str

    @property
    def fact(self) -> int:
        """The id, under the name that eviction knows it by."""
        return self.id


@dataclass(frozen=True, slots=True)
class Remembered:
    """What `remember` did.

    Attributes:
        fact: id of the fact that now holds the key.
        gone: ids that no longer count: replaced or superseded.
        archived: ids that were evicted into the archive.
        count: active facts in the notebook afterwards.
        unchanged: the very same value stood there already; nothing was written.
    """

    fact: int
    gone: tuple[int, ...]
    archived: tuple[int, ...]
    count: int
    unchanged: bool = False


@dataclass(frozen=True, slots=True)
class Undone:
    """What `undo` did.

    Attributes:
        taken: the fact that was taken back; its row is deleted.
        now: the value that the key holds again; None if there was none before.
        back: all facts that count again: `now`, and what the taken one had superseded.
        archived: ids that were evicted because of them.
    """

    taken: Fact
    now: Fact | None
    back: tuple[Fact, ...]
    archived: tuple[int, ...]


COLUMNS = (
    facts.c.fact,
    facts.c.agent,
    facts.c.key,
    facts.c.value,
    facts.c.importance,
    facts.c.state,
    facts.c.replaced_by,
    facts.c.created_at,
    facts.c.provenance,
    facts.c.trust,
    facts.c.created_by,
)
_PLACE = (facts.c.project == bindparam("in_project")) & (facts.c.agent == bindparam("in_agent"))
_CURRENT = select(*COLUMNS).where(
    _PLACE,
    facts.c.key == bindparam("of_key"),
    or_(facts.c.state == "active", facts.c.state == "archived"),  # `in_` costs more at each call
)
_COUNT = select(func.count()).select_from(facts).where(_PLACE, facts.c.state == "active")
_ACTIVE = select(*COLUMNS).where(_PLACE, facts.c.state == "active")
_INSERT = insert(facts)
_RETIRE = update(facts).where(facts.c.fact == bindparam("which")).values(state=bindparam("new_state"))
_POINT = update(facts).where(facts.c.fact == bindparam("which")).values(replaced_by=bindparam("by"))
_REPLACED_BY = select(*COLUMNS).where(facts.c.replaced_by == bindparam("which")).order_by(facts.c.fact.desc())
_OF_KEY = select(*COLUMNS).where(_PLACE, facts.c.key == bindparam("of_key")).order_by(facts.c.fact)
_ACTIVE_OF = (
    select(*COLUMNS)
    .where(
        facts.c.project == bindparam("in_project"),
        facts.c.agent.in_(bindparam("of_agents", expanding=True)),
        facts.c.state == "active",
    )
    .order_by(facts.c.importance.desc(), facts.c.created_at.desc(), facts.c.fact.desc())
)
_BY_IDS = select(*COLUMNS).where(
    facts.c.project == bindparam("in_project"), facts.c.fact.in_(bindparam("ids", expanding=True))
)


def _fact(row: Iterable[Any]) -> Fact:
    return Fact(*row)


def count_active(connection: Connection, project: str, agent: str) -> int:
    """Return how many facts a notebook holds."""
    return int(connection.execute(_COUNT, {"in_project": project, "in_agent": agent}).scalar_one())


def agents_up_to(most: int) -> ScalarSelect[int]:
    """Return a count of the notebooks that hold facts in the project ``in_project``; counting ends at so many."""
    found = select(facts.c.agent).distinct()
    found = found.where(facts.c.project == bindparam("in_project"), facts.c.state == "active")
    return select(func.count()).select_from(found.limit(most).subquery()).scalar_subquery()


@names_an_agent
@stores_a_key
@stores_a_value
@has_a_moment
@require(lambda importance: 1 <= importance <= 5, "importance is 1 to 5")
@require(lambda state: state in ("active", "archived"), "a fact is stored as active or as archived")
@ensure(lambda result, capacity: result.count <= capacity.limit, "a notebook never holds more than its limit")
@ensure(
    lambda result: result.fact not in result.gone, "what is remembered now is not what it took the place of"
)
def remember(
    connection: Connection,
    *,
    project: str,
    agent: str,
    key: str,
    value: str,
    importance: int,
    supersedes: str | None,
    origin: Origin,
    capacity: Capacity,
    moment: str,
    state: str = "active",
) -> Remembered:
    """Store a fact under its key and evict what no longer fits.

    Args:
        connection: inside the writer's transaction.
        project: id of the project.
        agent: the notebook.
        key: name of the fact.
        value: its text, whole.
        importance: 1 (ephemeral) to 5 (critical).
        supersedes: another key of the same notebook whose fact this one takes the place of.
        origin: where it comes from.
        capacity: the notebook's limit as it is now.
        moment: timestamp.
        state: ``archived`` for a fact that was evicted where it comes from: it takes no other's place.

    Raises:
        NotFound: there is no fact under the key that it is to supersede.
    """
    place = {"in_project": project, "in_agent": agent}
    same = [_fact(r) for r in connection.execute(_CURRENT, {**place, "of_key": key})]
    other: list[Fact] = []
    if supersedes is not None and supersedes != key:
        other = [_fact(r) for r in connection.execute(_CURRENT, {**place, "of_key": supersedes})]
        if not other:
            raise NotFound(
                "nothing_to_supersede",
                "There is no fact under the key that this one should supersede.",
                "Check the key with zc_search, or leave supersedes out.",
            )
    current = next((f for f in same if f.state == "active"), None)
    same_again = (value, importance, origin.provenance)
    if current and not other and (current.value, current.importance, current.provenance) == same_again:
        return Remembered(current.id, (), (), count_active(connection, project, agent), unchanged=True)
    _retire(connection, same, "replaced")
    _retire(connection, other, "superseded")
    inserted = connection.execute(
        _INSERT,
        {
            "project": project,
            "agent": agent,
            "key": key,
            "value": value,
            "importance": importance,
            "state": state,
            "created_at": moment,
            "provenance": origin.provenance,
            "trust": origin.trust,
            "classification": origin.classification,
            "created_by": origin.created_by,
            "session": origin.session,
        },
    )
    new = int(inserted.inserted_primary_key[0])  # type: ignore[index]  # an insert of one row has it
    gone = tuple(f.id for f in (*same, *other))
    if gone:
        connection.execute(_POINT, [{"which": old, "by": new} for old in gone])
    count = count_active(connection, project, agent)
    archived = _evict(connection, place, count, capacity)
    return Remembered(new, gone, archived, count - len(archived))


def _retire(connection: Connection, old: Sequence[Fact], state: str) -> None:
    if old:
        connection.execute(_RETIRE, [{"which": f.id, "new_state": state} for f in old])


def _evict(connection: Connection, place: dict[str, str], count: int, capacity: Capacity) -> tuple[int, ...]:
    if count <= capacity.limit:
        return ()
    held = [_fact(r) for r in connection.execute(_ACTIVE, place)]
    evicted = choose_evicted(held, capacity)
    _retire(connection, evicted, "archived")
    return tuple(f.id for f in evicted)


@ensure(
    lambda connection, project, agent, key: not history(connection, project=project, agent=agent, key=key),
    "of a forgotten key no row is left, earlier and archived values included",
)
def forget(connection: Connection, *, project: str, agent: str, key: str) -> tuple[int, ...]:
    """Delete every row of a key, history and archive included, and return their ids."""
    place = {"in_project": project, "in_agent": agent, "of_key": key}
    gone = tuple(int(row[0]) for row in connection.execute(_OF_KEY, place))
    if gone:
        connection.execute(delete(facts).where(facts.c.fact.in_(gone)))
    return gone


def history(connection: Connection, *, project: str, agent: str, key: str) -> list[Fact]:
    """Return every row of a key, oldest first."""
    place = {"in_project": project, "in_agent": agent, "of_key": key}
    return [_fact(r) for r in connection.execute(_OF_KEY, place)]


@ensure(
    lambda result, connection, project, agent, capacity: (
        not result.back or count_active(connection, project, agent) <= capacity.limit
    ),
    "a notebook never holds more than its limit",
)
def undo(connection: Connection, *, project: str, agent: str, key: str, capacity: Capacity) -> Undone:
    """Take the newest value of a key back and let what it took the place of count again.

    The value before it comes back in the state that the taken one was in, active or archived. A fact that it
    superseded comes back too, unless its key has got another value since.

    Raises:
        NotFound: the key holds nothing.
    """
    place = {"in_project": project, "in_agent": agent}
    rows = history(connection, project=project, agent=agent, key=key)
    newest = next((f for f in reversed(rows) if f.state in ("active", "archived")), None)
    if newest is None:
        raise NotFound("no_such_fact", "There is no fact under that key.", "List keys with `zc memory list`.")
    connection.execute(delete(facts).where(facts.c.fact == newest.id))
    back: list[Fact] = []
    for fact in map(_fact, connection.execute(_REPLACED_BY, {"which": newest.id})):
        own = fact.key == key
        if not own and connection.execute(_CURRENT, {**place, "of_key": fact.key}).first() is not None:
            continue
        state = newest.state if own else "active"
        connection.execute(update(facts).where(facts.c.fact == fact.id).values(state=state, replaced_by=None))
        back.append(replace(fact, state=state, replaced_by=None))
    held = count_active(connection, project, agent)
    archived = _evict(connection, place, held, capacity) if back else ()
    return Undone(newest, next((f for f in back if f.key == key), None), tuple(back), archived)


def active(connection: Connection, *, project: str, agents: Sequence[str]) -> list[Fact]:
    """Return the facts of some notebooks: most important first, newest first within."""
    found = connection.execute(_ACTIVE_OF, {"in_project": project, "of_agents": list(agents)})
    return [_fact(r) for r in found.all()]


def by_ids(connection: Connection, project: str, ids: Sequence[int]) -> dict[int, Fact]:
    """Return facts by id, whatever their state."""
    if not ids:
        return {}
    found = connection.execute(_BY_IDS, {"in_project": project, "ids": list(ids)})
    return {f.id: f for f in map(_fact, found)}


def any_of(connection: Connection, project: str) -> bool:
    """Say whether a project has any fact, earlier values included."""
    return (
        connection.execute(select(facts.c.fact).where(facts.c.project == project).limit(1)).first()
        is not None
    )


def every(connection: Connection, *, project: str, agent: str | None, states: Sequence[str]) -> list[Fact]:
    """Return facts for a person's list or export: by notebook, then key, then age."""
    query = select(*COLUMNS).where(facts.c.project == project, or_(*(facts.c.state == s for s in states)))
    if agent is not None:
        query = query.where(facts.c.agent == agent)
    return [_fact(r) for r in connection.execute(query.order_by(facts.c.agent, facts.c.key, facts.c.fact))]
