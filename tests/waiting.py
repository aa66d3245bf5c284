"""Waiting for a state of another process or thread, never for a span of time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(probe: Callable[[], T], what: str, seconds: float = 30) -> T:
    """Call ``probe`` until its answer is true, and return that answer.

    Args:
        probe: looks at the state; must not change it.
        what: what is awaited, for the failure's sentence.
        seconds: when to give up. Generous: it bounds a broken run and measures nothing.
    """
    deadline = time.monotonic() + seconds
    while not (answer := probe()):
        if time.monotonic() > deadline:
            raise AssertionError(f"gave up after {seconds} s waiting for {what}")
        time.sleep(0.01)
    return answer
