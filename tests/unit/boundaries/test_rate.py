"""The buckets: a burst, then a steady rate, each caller for itself; and of a flood of refusals some are entered."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from securecontext.boundaries.rate import ENTERED, ENTERED_SECONDS, SWEEP_AT, Rate
from securecontext.types.errors import LimitReached


class Clock:
    """Seconds that pass when a test says so."""

    now = 1_000.0

    def __call__(self) -> float:
        return self.now


def taken(rate: Rate, calls: int, caller: str = "a") -> int:
    """How many of so many calls are let through."""
    through = 0
    for _ in range(calls):
        try:
            rate.take(caller)
        except LimitReached:
            continue
        through += 1
    return through


def test_a_burst_then_the_steady_rate() -> None:
    clock = Clock()
    rate = Rate(10, 50, clock)
    assert taken(rate, 80) == 50
    clock.now += 1
    assert taken(rate, 80) == 10
    clock.now += 3_600
    assert taken(rate, 80) == 50, "a bucket holds no more than a burst"


def test_one_callers_flood_is_not_anothers() -> None:
    rate = Rate(10, 5, Clock())
    assert taken(rate, 100, "a") == 5
    assert taken(rate, 5, "b") == 5


def test_the_refusal_says_when_to_come_again() -> None:
    clock = Clock()
    rate = Rate(4, 1, clock)
    rate.take("a")
    with pytest.raises(LimitReached) as caught:
        rate.take("a")
    assert (caught.value.code, caught.value.details) == ("rate_limited", {"limit": 4, "retry_after_ms": 250})
    assert "0.250 s" in caught.value.hint
    clock.now += 0.25
    rate.take("a")


@given(st.lists(st.floats(0, 5), min_size=1, max_size=200))
def test_no_pattern_of_calls_gets_more_than_burst_and_rate(pauses: list[float]) -> None:
    clock = Clock()
    rate = Rate(2, 5, clock)
    through = 0
    for pause in pauses:
        clock.now += pause
        through += taken(rate, 3)
    assert through <= 5 + 2 * sum(pauses) + 1e-6


def test_some_of_a_flood_of_refusals_are_entered_and_the_next_says_how_many_were_not() -> None:
    clock = Clock()
    rate = Rate(1, 1, clock)
    taken(rate, 1)
    said = [rate.to_enter("a") for _ in range(ENTERED + 7)]
    assert said == [0] * ENTERED + [None] * 7
    assert rate.to_enter("b") == 0
    clock.now += ENTERED_SECONDS
    assert [rate.to_enter("a") for _ in range(2)] == [7, 0]


def test_callers_that_are_gone_are_forgotten_and_those_in_a_flood_are_not() -> None:
    clock = Clock()
    rate = Rate(1, 2, clock)
    for number in range(5 * SWEEP_AT):
        clock.now += 0.01
        taken(rate, 5 if number == 5 * SWEEP_AT - 2 else 1, f"caller {number}")
    assert len(rate._buckets) <= SWEEP_AT + 1
    assert taken(rate, 5, f"caller {5 * SWEEP_AT - 2}") == 0
