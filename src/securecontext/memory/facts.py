"""Working memory: facts by key, in a notebook per agent, with their history.

A fact is never changed in place. A new value makes a new row; the old one is kept as ``replaced``, or ``superseded``
where another key takes its place. ``archived`` facts were evicted: recall no longer shows them, search does.
Forgetting deletes every row of a key.

Values of the classes confidential and restricted are stored sealed (`boundaries.keyring.bodies`); one that cannot be
opened makes its fact unreadable and nothing else. What changes facts is in ``changes``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import (
    Connection,
    ScalarSelect,
    bindparam,
    func,
    or_,
    select,
)

from securecontext.boundaries.keyring.bodies import (
    Bodies,
    Body,
    Place,
    fact_place,
    is_plain,
    text_of,
    trouble_of,
)
from securecontext.storage.tables import facts, is_sealed
from securecontext.types.errors import ZcError


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a text comes from and who may see it; see `storage.tables`.

    Attributes:
        classification: None to keep that of the value before.
    """

    created_by: str
    session: str
    trust: str = "agent"
    provenance: str = "EXTRACTED"
    classification: str | None = None


@dataclass(frozen=True, slots=True)
class Fact:
    """One row of working memory.

    Attributes:
        id: row id; shown as ``m<id>``.
        body: the value, or why it cannot be read.
        state: ``active``, ``archived``, ``replaced`` or ``superseded``.
        replaced_by: the newer fact's id.
        created_at: timestamp.
    """

    id: int
    agent: str
    key: str
    body: Body
    importance: int
    state: str
    replaced_by: int | None
    created_at: str
    provenance: str
    trust: str
    created_by: str
    classification: str = "internal"

    @property
    def value(self) -> str:
        """The value.

        Raises:
            ZcError: it cannot be read; see `trouble`.
        """
        return text_of(self.body)

    @property
    def trouble(self) -> ZcError | None:
        """Why the value cannot be read; None where it can."""
        return trouble_of(self.body)

    def says(self, value: str) -> bool:
        """Say whether this is the value; one that cannot be read says nothing."""
        return self.body == value


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
    facts.c.classification,
)
PLACE = (facts.c.project == bindparam("in_project")) & (facts.c.agent == bindparam("in_agent"))
_COUNT = select(func.count()).select_from(facts).where(PLACE, facts.c.state == "active")
_OF_KEY = select(*COLUMNS).where(PLACE, facts.c.key == bindparam("of_key")).order_by(facts.c.fact)
_ACTIVE_OF = (
    select(*COLUMNS)
    .where(
        facts.c.project == bindparam("in_project"),
        facts.c.agent.in_(bindparam("of_agents", expanding=True)),
        facts.c.state == "active",
    )
    .order_by(facts.c.importance.desc(), facts.c.created_at.desc(), facts.c.fact.desc())
)
_SEALED_CLASSES = (
    select(facts.c.classification, facts.c.created_by)
    .distinct()
    .where(
        facts.c.project == bindparam("in_project"),
        facts.c.agent.in_(bindparam("of_agents", expanding=True)),
        facts.c.state == "active",
        is_sealed(facts),
    )
)
_BY_IDS = select(*COLUMNS).where(
    facts.c.project == bindparam("in_project"), facts.c.fact.in_(bindparam("ids", expanding=True))
)


def fact_of(row: Iterable[Any], project: str, bodies: Bodies) -> Fact:
    """Return the fact of a row of `COLUMNS`, its value opened where it is sealed."""
    fact = Fact(*row)
    stored: str = fact.body  # type: ignore[assignment]  # as the column has it
    if is_plain(stored, fact.classification):
        return fact
    return replace(fact, body=bodies.open(place_of(fact, project, fact.classification), stored))


def place_of(fact: Fact, project: str, classification: str) -> Place:
    """Return the place of a fact's value under a class."""
    labels = (fact.created_by, fact.trust, fact.provenance)
    return fact_place(project, fact.id, fact.agent, fact.key, labels, classification)


def count_active(connection: Connection, project: str, agent: str) -> int:
    """Return how many facts a notebook holds."""
    return int(connection.execute(_COUNT, {"in_project": project, "in_agent": agent}).scalar_one())


def agents_up_to(most: int) -> ScalarSelect[int]:
    """Return a count of the notebooks that hold facts in the project ``in_project``; counting ends at so many."""
    found = select(facts.c.agent).distinct()
    found = found.where(facts.c.project == bindparam("in_project"), facts.c.state == "active")
    return select(func.count()).select_from(found.limit(most).subquery()).scalar_subquery()


def history(connection: Connection, bodies: Bodies, *, project: str, agent: str, key: str) -> list[Fact]:
    """Return every row of a key, oldest first."""
    place = {"in_project": project, "in_agent": agent, "of_key": key}
    return [fact_of(r, project, bodies) for r in connection.execute(_OF_KEY, place)]


def active(connection: Connection, bodies: Bodies, *, project: str, agents: Sequence[str]) -> list[Fact]:
    """Return the facts of some notebooks: most important first, newest first within."""
    found = connection.execute(_ACTIVE_OF, {"in_project": project, "of_agents": list(agents)})
    return [fact_of(r, project, bodies) for r in found.all()]


def by_ids(connection: Connection, bodies: Bodies, project: str, ids: Sequence[int]) -> dict[int, Fact]:
    """Return facts by id, whatever their state."""
    if not ids:
        return {}
    found = connection.execute(_BY_IDS, {"in_project": project, "ids": list(ids)})
    return {f.id: f for f in (fact_of(row, project, bodies) for row in found)}


def sealed_classes(connection: Connection, project: str, agents: Sequence[str]) -> list[tuple[str, str]]:
    """Return the different pairs of class and author among the sealed facts that count in some notebooks."""
    found = connection.execute(_SEALED_CLASSES, {"in_project": project, "of_agents": list(agents)})
    return [(row.classification, row.created_by) for row in found]


def any_of(connection: Connection, project: str) -> bool:
    """Say whether a project has any fact, earlier values included."""
    return (
        connection.execute(select(facts.c.fact).where(facts.c.project == project).limit(1)).first()
        is not None
    )


def every(
    connection: Connection, bodies: Bodies, *, project: str, agent: str | None, states: Sequence[str]
) -> list[Fact]:
    """Return facts for a person's list or export: by notebook, then key, then age."""
    query = select(*COLUMNS).where(facts.c.project == project, or_(*(facts.c.state == s for s in states)))
    if agent is not None:
        query = query.where(facts.c.agent == agent)
    rows = connection.execute(query.order_by(facts.c.agent, facts.c.key, facts.c.fact))
    return [fact_of(row, project, bodies) for row in rows]
