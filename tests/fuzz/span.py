"""How long a run goes on: so many rounds, or so many seconds. The one place of the fuzzer that looks at a clock."""

from __future__ import annotations

import time
from collections.abc import Callable

GoesOn = Callable[[int], bool]
"""Says whether a run goes on, given how many inputs it has tried."""


def rounds(count: int) -> GoesOn:
    """Go on for so many inputs."""
    return lambda tried: tried < count


def seconds(count: float) -> GoesOn:
    """Go on for so many seconds."""
    until = time.monotonic() + count
    return lambda _tried: time.monotonic() < until


def countdown(count: float) -> Callable[[], float]:
    """Return what tells how many of so many seconds are left, one at least."""
    until = time.monotonic() + count
    return lambda: max(1.0, until - time.monotonic())
