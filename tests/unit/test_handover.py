"""Which version is newer."""

import pytest

from securecontext.handover import numbers


@pytest.mark.parametrize(
    ("older", "newer"), [("0.1.0", "0.1.1"), ("0.9.0", "0.10.0"), ("1.0.0+local", "1.0.1"), ("1", "1.0.1")]
)
def test_versions_are_compared_by_their_numbers(older: str, newer: str) -> None:
    assert numbers(older) < numbers(newer)


@pytest.mark.parametrize(
    "text", ["", "x", "1e9", "1..2", "-1.0", "\u0661.0", "1.0rc1", "9" * 5_000, "1." * 5_000 + "1"]
)
def test_what_is_no_version_is_older_than_any(text: str) -> None:
    assert numbers(text) == () < numbers("0.0.0")
