"""How many facts an agent's memory holds, and which leave it: a pure decision.

The limit grows with what the project has: ``100 + min(sources // 15, 60) + min(broadcasts // 30, 40) +
min(agents * 15, 50)``, between 100 and 250. Once it is exceeded, facts leave down to four fifths of it in one
batch, so that the next writes need no eviction.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Protocol, TypeVar

from securecontext.contracts import ensure, require
from securecontext.contracts.security import keeps_its_target

FLOOR: Final = 100
CEILING: Final = 250
MOST_SOURCES: Final = 15 * 60
MOST_BROADCASTS: Final = 30 * 40
MOST_AGENTS: Final = 4
"""From these counts on the limit grows no further, so nobody needs to count beyond them."""


@keeps_its_target
@dataclass(frozen=True, slots=True)
class Capacity:
    """The limit of one memory namespace, and where it comes from.

    Attributes:
        limit: facts that may be active, `FLOOR` to `CEILING`.
        from_sources: facts granted for documents in the knowledge base, 0 to 60.
        from_broadcasts: facts granted for broadcasts, 0 to 40.
        from_agents: facts granted for active agents, 0 to 50.
        target: facts that stay after an eviction, four fifths of the limit.
    """

    limit: int
    from_sources: int
    from_broadcasts: int
    from_agents: int
    target: int


class Evictable(Protocol):
    """What the order of eviction needs to know of a fact."""

    @property
    def fact(self) -> int:
        """The row id, which settles ties."""

    @property
    def importance(self) -> int:
        """1 (first to leave) to 5."""

    @property
    def created_at(self) -> str:
        """The stored timestamp, whose text order is time order."""


E = TypeVar("E", bound=Evictable)


@require(
    lambda sources, broadcasts, agents: min(sources, broadcasts, agents) >= 0,
    "counts of rows are not negative",
)
@ensure(
    lambda result: FLOOR <= result.limit <= CEILING,
    "a notebook's limit lies between the floor and the ceiling",
)
def capacity(*, sources: int, broadcasts: int, agents: int) -> Capacity:
    """Return the capacity for a project of so many sources, broadcasts and active agents."""
    from_sources = min(sources // 15, 60)
    from_broadcasts = min(broadcasts // 30, 40)
    from_agents = min(agents * 15, 50)
    limit = max(FLOOR, min(FLOOR + from_sources + from_broadcasts + from_agents, CEILING))
    return Capacity(limit, from_sources, from_broadcasts, from_agents, limit * 4 // 5)


@ensure(
    lambda result: all(a.importance <= b.importance for a, b in pairwise(result)),
    "nothing leaves before something less important",
)
def choose_evicted(facts: Iterable[E], capacity: Capacity) -> list[E]:
    """Return the facts that leave memory, first to leave first: least important, then oldest.

    Empty as long as the facts do not exceed the limit; then as many as it takes to come down to the target.
    """
    held = list(facts)
    if len(held) <= capacity.limit:
        return []
    held.sort(key=lambda each: (each.importance, each.created_at, each.fact))
    return held[: len(held) - capacity.target]
