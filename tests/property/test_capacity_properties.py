"""The limit stays in its bounds, and eviction takes the right facts, no more and no fewer."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from securecontext.memory.capacity import CEILING, FLOOR, Capacity, capacity, choose_evicted

counts = st.integers(min_value=0, max_value=10_000)


@dataclass(frozen=True)
class Fact:
    fact: int
    importance: int
    created_at: str


facts = st.lists(
    st.tuples(st.integers(1, 5), st.sampled_from(["2026-01-01", "2026-02-01", "2026-03-01"])), max_size=60
).map(lambda rows: [Fact(i, importance, day) for i, (importance, day) in enumerate(rows)])


@given(counts, counts, counts)
def test_the_limit_is_the_sum_of_its_parts(sources, broadcasts, agents):
    found = capacity(sources=sources, broadcasts=broadcasts, agents=agents)
    assert FLOOR <= found.limit <= CEILING
    assert found.limit == FLOOR + found.from_sources + found.from_broadcasts + found.from_agents
    assert found.target * 5 <= found.limit * 4 < (found.target + 1) * 5


@given(counts, counts, counts)
def test_more_never_holds_less(sources, broadcasts, agents):
    less = capacity(sources=sources, broadcasts=broadcasts, agents=agents).limit
    assert capacity(sources=sources + 1, broadcasts=broadcasts + 1, agents=agents + 1).limit >= less


@given(facts, st.integers(min_value=2, max_value=10))
def test_the_least_important_and_oldest_leave(held, limit):
    target = limit * 4 // 5
    evicted = choose_evicted(held, Capacity(limit, 0, 0, 0, target))
    if len(held) <= limit:
        assert evicted == []
        return
    kept = [fact for fact in held if fact not in evicted]
    assert len(kept) == target
    last = max((fact.importance, fact.created_at, fact.fact) for fact in evicted)
    assert all((fact.importance, fact.created_at, fact.fact) > last for fact in kept)
    assert evicted == sorted(evicted, key=lambda fact: (fact.importance, fact.created_at, fact.fact))
