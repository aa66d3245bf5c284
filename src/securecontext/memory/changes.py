"""What changes working memory: remember, forget, undo. See ``facts`` for what a fact is and how it is read.

A key keeps its class until another is given, and once its class rises, the earlier values of the key are sealed too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from sqlalchemy import Connection, bindparam, delete, insert, or_, select, update

from securecontext.boundaries.keyring.bodies import Bodies, Place, fact_place
from securecontext.contracts import ensure, require
from securecontext.contracts.agent import names_an_agent, stores_a_key, stores_a_value
from securecontext.contracts.session import has_a_moment
from securecontext.memory.capacity import Capacity, choose_evicted
from securecontext.memory.facts import (
    COLUMNS,
    PLACE,
    Fact,
    Origin,
    count_active,
    fact_of,
    history,
    place_of,
)
from securecontext.storage.tables import facts, is_sealed
from securecontext.types.classification import CLASSIFICATIONS, SEALED, kept, rank
from securecontext.types.errors import NotFound


@dataclass(frozen=True, slots=True)
class Remembered:
    """What `remember` did.

    Attributes:
        fact: id of the fact that now holds the key.
        gone: ids that no longer count: replaced or superseded.
        archived: ids that were evicted into the archive.
        count: active facts in the notebook afterwards.
        unchanged: the very same value stood there already; nothing was written.
        classification: the class that it has now.
        concealed: earlier values of the key lay there as they are and are sealed now: their traces have to go.
    """

    fact: int
    gone: tuple[int, ...]
    archived: tuple[int, ...]
    count: int
    unchanged: bool = False
    classification: str = "internal"
    concealed: bool = False


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


_CURRENT = select(*COLUMNS).where(
    PLACE,
    facts.c.key == bindparam("of_key"),
    or_(
        facts.c.state == "active", facts.c.state == "archived", is_sealed(facts)
    ),  # `in_` costs more at each call
)
"""What counts under a key, and earlier values that are sealed: a key that held such a one keeps its class."""
_LOWER = select(*COLUMNS).where(
    PLACE,
    facts.c.key == bindparam("of_key"),
    facts.c.classification.in_(bindparam("lower", expanding=True)),
)
_COUNTING = ("active", "archived")
_COUNTS = select(facts.c.fact).where(
    PLACE,
    facts.c.key == bindparam("of_key"),
    or_(facts.c.state == "active", facts.c.state == "archived"),
)
_ACTIVE = select(facts.c.fact, facts.c.importance, facts.c.created_at).where(PLACE, facts.c.state == "active")
_INSERT = insert(facts)
_RETIRE = update(facts).where(facts.c.fact == bindparam("which")).values(state=bindparam("new_state"))
_POINT = update(facts).where(facts.c.fact == bindparam("which")).values(replaced_by=bindparam("by"))
_SEAL = (
    update(facts)
    .where(facts.c.fact == bindparam("which"))
    .values(value=bindparam("sealed"), classification=bindparam("new_class"))
)
_REPLACED_BY = select(*COLUMNS).where(facts.c.replaced_by == bindparam("which")).order_by(facts.c.fact.desc())
_IDS_OF_KEY = select(facts.c.fact).where(PLACE, facts.c.key == bindparam("of_key"))


class _Held(NamedTuple):
    """What eviction needs to know of a fact."""

    fact: int
    importance: int
    created_at: str


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
    bodies: Bodies,
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
        bodies: seals what is not stored as it is.
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
        ZcError: its value has to be sealed, and the data keys cannot be used.
    """
    place = {"in_project": project, "in_agent": agent}

    rows = connection.execute(_CURRENT, {**place, "of_key": key}).all()
    same = [fact_of(row, project, bodies) for row in rows if row.state in _COUNTING]
    other: list[Fact] = []
    if supersedes is not None and supersedes != key:
        found = connection.execute(_CURRENT, {**place, "of_key": supersedes})
        other = [fact_of(row, project, bodies) for row in found if row.state in _COUNTING]
        if not other:
            raise NotFound(
                "nothing_to_supersede",
                "There is no fact under the key that this one should supersede.",
                "Check the key with zc_search, or leave supersedes out.",
            )
    counting = [fact.classification for fact in (*same, *other)]
    classification = kept(origin.classification, counting or [row.classification for row in rows])
    current = next((f for f in same if f.state == "active"), None)
    if current and not other and _is_same(current, value, importance, origin, classification):
        count = count_active(connection, project, agent)
        return Remembered(current.id, (), (), count, unchanged=True, classification=classification)
    _retire(connection, [f.id for f in same], "replaced")
    _retire(connection, [f.id for f in other], "superseded")
    inserted = connection.execute(
        _INSERT,
        {
            "project": project,
            "agent": agent,
            "key": key,
            "value": "" if classification in SEALED else value,
            "importance": importance,
            "state": state,
            "created_at": moment,
            "provenance": origin.provenance,
            "trust": origin.trust,
            "classification": classification,
            "created_by": origin.created_by,
            "session": origin.session,
        },
    )
    new = int(inserted.inserted_primary_key[0])  # type: ignore[index]  # an insert of one row has it
    gone = tuple(f.id for f in (*same, *other))
    if gone:
        connection.execute(_POINT, [{"which": old, "by": new} for old in gone])
    concealed = False
    if classification in SEALED:
        labels = (origin.created_by, origin.trust, origin.provenance)
        _seal(connection, bodies, fact_place(project, new, agent, key, labels, classification), value)
        concealed = _raise(connection, bodies, project, agent, key, classification)
    count = count_active(connection, project, agent)
    archived = _evict(connection, place, count, capacity)
    return Remembered(
        new, gone, archived, count - len(archived), classification=classification, concealed=concealed
    )


def _is_same(current: Fact, value: str, importance: int, origin: Origin, classification: str) -> bool:
    """Say whether a value stands there already; of another's restricted one nobody is told that they guessed it."""
    if current.classification == "restricted" and current.created_by != origin.created_by:
        return False
    known = (current.importance, current.provenance, current.classification)
    return known == (importance, origin.provenance, classification) and current.says(value)


def _seal(connection: Connection, bodies: Bodies, place: Place, value: str) -> None:
    connection.execute(
        _SEAL,
        {"which": place.row, "sealed": bodies.seal(place, value), "new_class": place.classification},
    )


def _raise(
    connection: Connection, bodies: Bodies, project: str, agent: str, key: str, classification: str
) -> bool:
    """Give the earlier values of a key at least this class; say whether one of them lay there as it is."""
    concealed = False
    lower = CLASSIFICATIONS[: rank(classification)]
    wanted = {"in_project": project, "in_agent": agent, "of_key": key, "lower": lower}
    for fact in [fact_of(row, project, bodies) for row in connection.execute(_LOWER, wanted).all()]:
        if fact.trouble is None:
            _seal(connection, bodies, place_of(fact, project, classification), fact.value)
            concealed = concealed or fact.classification not in SEALED
    return concealed


def _retire(connection: Connection, old: Sequence[int], state: str) -> None:
    if old:
        connection.execute(_RETIRE, [{"which": fact, "new_state": state} for fact in old])


def _evict(connection: Connection, place: dict[str, str], count: int, capacity: Capacity) -> tuple[int, ...]:
    if count <= capacity.limit:
        return ()
    held = [_Held(*row) for row in connection.execute(_ACTIVE, place)]
    evicted = tuple(each.fact for each in choose_evicted(held, capacity))
    _retire(connection, evicted, "archived")
    return evicted


@ensure(
    lambda connection, project, agent, key: not _ids_of(connection, project, agent, key),
    "of a forgotten key no row is left, earlier and archived values included",
)
def forget(connection: Connection, *, project: str, agent: str, key: str) -> tuple[int, ...]:
    """Delete every row of a key, history and archive included, and return their ids."""
    gone = _ids_of(connection, project, agent, key)
    if gone:
        connection.execute(delete(facts).where(facts.c.fact.in_(gone)))
    return gone


def _ids_of(connection: Connection, project: str, agent: str, key: str) -> tuple[int, ...]:
    place = {"in_project": project, "in_agent": agent, "of_key": key}
    return tuple(int(row[0]) for row in connection.execute(_IDS_OF_KEY, place))


@ensure(
    lambda result, connection, project, agent, capacity: (
        not result.back or count_active(connection, project, agent) <= capacity.limit
    ),
    "a notebook never holds more than its limit",
)
def undo(
    connection: Connection, bodies: Bodies, *, project: str, agent: str, key: str, capacity: Capacity
) -> Undone:
    """Take the newest value of a key back and let what it took the place of count again.

    The value before it comes back in the state that the taken one was in, active or archived. A fact that it
    superseded comes back too, unless its key has got another value since.

    Raises:
        NotFound: the key holds nothing.
    """
    place = {"in_project": project, "in_agent": agent}
    rows = history(connection, bodies, project=project, agent=agent, key=key)
    newest = next((f for f in reversed(rows) if f.state in ("active", "archived")), None)
    if newest is None:
        raise NotFound("no_such_fact", "There is no fact under that key.", "List keys with `zc memory list`.")
    connection.execute(delete(facts).where(facts.c.fact == newest.id))
    back: list[Fact] = []
    for fact in [fact_of(r, project, bodies) for r in connection.execute(_REPLACED_BY, {"which": newest.id})]:
        own = fact.key == key
        if not own and connection.execute(_COUNTS, {**place, "of_key": fact.key}).first() is not None:
            continue
        state = newest.state if own else "active"
        connection.execute(update(facts).where(facts.c.fact == fact.id).values(state=state, replaced_by=None))
        back.append(replace(fact, state=state, replaced_by=None))
    held = count_active(connection, project, agent)
    archived = _evict(connection, place, held, capacity) if back else ()
    return Undone(newest, next((f for f in back if f.key == key), None), tuple(back), archived)
