"""Buckets in the database: one limit for a caller at two services, and few transactions for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from securecontext.boundaries import shared_rate
from securecontext.boundaries.rate import DRY_SECONDS, Rate
from securecontext.boundaries.shared_rate import SharedBuckets
from securecontext.storage.tables import rates
from securecontext.types.errors import LimitReached
from tests.engines.test_services_beside_each_other import Town, service, town  # noqa: F401 - a fixture
from tests.house_case import House, make_house
from tests.unit.boundaries.test_rate import Clock, taken


class Counted(SharedBuckets):
    """Buckets that count how often they are drawn from."""

    draughts = 0

    def draw(self, caller: str, wanted: float, per_second: float, burst: float) -> float:
        Counted.draughts += 1
        return super().draw(caller, wanted, per_second, burst)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = make_house(tmp_path / "house")
    yield made
    made.app.close()


def test_two_services_let_through_what_one_may_and_a_draught_of_each(town: Town) -> None:  # noqa: F811
    clock = Clock()
    both = [Rate(10, 50, clock, SharedBuckets(lambda h=h: h.app.machine)) for h in (town.one, town.two)]  # type: ignore[misc]
    through = [taken(rate, 100) for rate in both]
    trickle = 2 * 2  # of 50 a twentieth each, whole calls
    assert 50 <= sum(through) <= 50 + trickle + 2, through
    assert taken(both[0], 100, "somebody else") == 50, "each caller has a bucket of its own"


def test_a_call_now_and_then_costs_no_transaction_and_a_flood_few(town: Town) -> None:  # noqa: F811
    clock = Clock()
    Counted.draughts = 0
    rate = Rate(100, 500, clock, Counted(lambda: town.one.app.machine))
    for _ in range(20):
        rate.take("a")
        clock.now += 2
    assert Counted.draughts == 0
    assert taken(rate, 2_000, "b") >= 500
    assert Counted.draughts <= 7, "five draughts of a hundred, and the one that found nothing"
    with pytest.raises(LimitReached) as caught:
        rate.take("b")
    assert caught.value.details["retry_after_ms"] >= 1
    clock.now += 5
    rate._buckets["b"].drawn = rate._buckets["b"].trickle = 0.0
    rate._buckets["b"].dry_until = clock.now + DRY_SECONDS
    before = Counted.draughts
    assert taken(rate, 500, "b") <= 5 and Counted.draughts == before, "while it is dry nobody asks"


def test_a_bucket_fills_with_time_and_its_row_goes(house: House) -> None:
    buckets = SharedBuckets(lambda: house.app.machine)
    assert buckets.draw("a", 30, 10, 50) == 30
    assert buckets.draw("a", 30, 10, 50) == pytest.approx(20, abs=10)
    with house.app.machine.read() as connection:
        assert connection.execute(select(rates.c.caller)).scalars().all() == ["a"]
    house.app.machine.write(lambda t: shared_rate.drop_old(t.connection, t.moment + 2 * shared_rate.KEPT))
    assert buckets.draw("a", 100, 10, 50) == 50


def test_a_limit_that_one_service_used_up_is_a_refusal_at_the_other(tmp_path: Path, service_url: str) -> None:
    ones = [service(tmp_path, service_url, name, calls_per_second=2) for name in ("one", "two")]
    try:
        codes = [
            answer.error.code if answer.error else ""
            for _ in range(12)
            for answer in (ones[0].ask("zc_status"), ones[1].ask("zc_status"))
        ]
        assert codes.count("") <= 10 + 4 and "rate_limited" in codes[12:]
    finally:
        for each in ones:
            each.app.close()
