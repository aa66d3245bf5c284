"""The formula of the limit, at its corners."""

from dataclasses import dataclass

import pytest

from securecontext.memory.capacity import Capacity, capacity, choose_evicted
from securecontext.types.errors import ContractBroken


@pytest.mark.parametrize(
    ("sources", "broadcasts", "agents", "expected"),
    [
        (0, 0, 0, Capacity(100, 0, 0, 0, 80)),
        (14, 29, 1, Capacity(115, 0, 0, 15, 92)),
        (15, 30, 3, Capacity(147, 1, 1, 45, 117)),
        (899, 1199, 4, Capacity(248, 59, 39, 50, 198)),
        (10**9, 10**9, 10**9, Capacity(250, 60, 40, 50, 200)),
    ],
)
def test_capacity(sources, broadcasts, agents, expected):
    assert capacity(sources=sources, broadcasts=broadcasts, agents=agents) == expected


def test_negative_counts_break_the_contract():
    with pytest.raises(ContractBroken):
        capacity(sources=-1, broadcasts=0, agents=0)


@dataclass(frozen=True)
class Fact:
    fact: int
    importance: int
    created_at: str


def test_eviction_waits_for_the_limit_and_then_goes_down_to_the_target():
    five = [Fact(1, 3, "b"), Fact(2, 3, "a"), Fact(3, 1, "z"), Fact(4, 5, "a"), Fact(5, 3, "a")]
    assert choose_evicted(five, Capacity(5, 0, 0, 0, 4)) == []
    six = [*five, Fact(6, 4, "a")]
    assert [fact.fact for fact in choose_evicted(six, Capacity(5, 0, 0, 0, 2))] == [3, 2, 5, 1]
