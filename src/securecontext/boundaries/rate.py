"""How often a caller may call: a bucket of tokens for each, which fills steadily and holds a burst.

Refusals cost a write each when they are entered in the ledger, so a flood of them is entered in part: ten a minute
for a caller, and the next one says how many were left out.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from securecontext.types.errors import LimitReached

RATE_LIMITED = "rate_limited"
ENTERED = 10
ENTERED_SECONDS = 60.0
SWEEP_AT = 1_024
"""Callers from which on those whose bucket is full again are forgotten."""


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at: float
    refused_since: float = 0.0
    entered: int = 0
    left_out: int = 0


class Rate:
    """Buckets of all callers. Safe to share by threads.

    Args:
        per_second: calls a second that may go on for ever.
        burst: calls that may come at once.
        clock: monotonic seconds.
    """

    def __init__(self, per_second: float, burst: float, clock: Callable[[], float]) -> None:
        self._per_second = per_second
        self._burst = burst
        self._clock = clock
        self._lock = threading.Lock()
        self._buckets: dict[str, _Bucket] = {}
        self._sweep_at = SWEEP_AT

    def take(self, caller: str) -> None:
        """Take one token of the caller's.

        Raises:
            LimitReached: ``rate_limited``, there is none; says when there will be.
        """
        with self._lock:
            now = self._clock()
            bucket = self._buckets.get(caller)
            if bucket is None:
                self._sweep(now)
                bucket = self._buckets[caller] = _Bucket(self._burst, now)
            bucket.tokens = min(self._burst, bucket.tokens + (now - bucket.at) * self._per_second)
            bucket.at = now
            if bucket.tokens >= 1:
                bucket.tokens -= 1
                return
            wait = (1 - bucket.tokens) / self._per_second
        raise LimitReached(
            RATE_LIMITED,
            f"This session calls more than {self._per_second:g} times a second, which is the limit.",
            f"Wait {max(wait, 0.001):.3f} s before you call again, or set ZC_CALLS_PER_SECOND.",
            limit=self._per_second,
            retry_after_ms=max(1, round(wait * 1000)),
        )

    def to_enter(self, caller: str) -> int | None:
        """Return how many refusals of a caller were left out before this one; None to leave this one out too."""
        with self._lock:
            now = self._clock()
            bucket = self._buckets.setdefault(caller, _Bucket(0.0, now))
            if bucket.entered == 0 or now - bucket.refused_since >= ENTERED_SECONDS:
                bucket.refused_since, bucket.entered = now, 0
            if bucket.entered >= ENTERED:
                bucket.left_out += 1
                return None
            bucket.entered += 1
            left_out, bucket.left_out = bucket.left_out, 0
            return left_out

    def _sweep(self, now: float) -> None:
        """Forget callers whose bucket would be full by now: they are as new ones."""
        if len(self._buckets) < self._sweep_at:
            return
        for caller, bucket in list(self._buckets.items()):
            if bucket.tokens + (now - bucket.at) * self._per_second >= self._burst and not bucket.left_out:
                del self._buckets[caller]
        self._sweep_at = max(SWEEP_AT, 2 * len(self._buckets))  # a sweep costs no more than what came since
