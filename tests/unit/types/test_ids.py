"""The one form of time."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from securecontext.types.ids import parse_timestamp, timestamp


@pytest.mark.parametrize("year", [1, 999, 2026, 9999])
def test_a_year_has_four_digits_so_that_text_order_is_time_order(year: int) -> None:
    moment = datetime(year, 11, 22, 1, 2, 3, 4, UTC)
    assert timestamp(moment) == f"{year:04}-11-22T01:02:03.000004Z"
    assert parse_timestamp(timestamp(moment)) == moment
