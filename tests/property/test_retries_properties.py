"""Retries: bounded, spread, and never more than were asked for."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from securecontext.coordination.retries import FIRST_PAUSE, LONGEST_PAUSE, is_spent, pause_after
from securecontext.types.errors import ContractBroken

ATTEMPTS = st.integers(1, 10_000)
CHANCES = st.floats(0, 1, exclude_max=True)


@given(ATTEMPTS, CHANCES, CHANCES)
def test_a_pause_is_bounded_grows_and_is_at_least_half_certain(
    attempts: int, one: float, other: float
) -> None:
    pause = pause_after(attempts, one)
    assert FIRST_PAUSE / 2 <= pause <= LONGEST_PAUSE
    assert pause_after(attempts + 1, one) >= pause
    assert pause_after(attempts, other) >= pause / 2 - timedelta(microseconds=1)


@given(st.integers(1, 20), CHANCES)
def test_more_chance_is_more_pause(attempts: int, chance: float) -> None:
    assert pause_after(attempts, 0) <= pause_after(attempts, chance) <= pause_after(attempts, 0) * 2


@given(ATTEMPTS, ATTEMPTS, st.booleans())
def test_a_task_is_spent_when_its_attempts_are_or_when_another_is_of_no_use(
    tried: int, most: int, final: bool
) -> None:
    assert is_spent(tried, most, final=final) == (final or tried >= most)


@pytest.mark.parametrize(("attempts", "chance"), [(0, 0.5), (-1, 0.5), (1, 1.0), (1, -0.1)])
def test_what_was_never_tried_does_not_rest(attempts: int, chance: float) -> None:
    with pytest.raises(ContractBroken):
        pause_after(attempts, chance)
