"""How often a caller may call: a bucket of tokens for each, which fills steadily and holds a burst.

Where services share a database they share the buckets too (`Shared`): beyond a trickle that each lets through by
itself, a service draws a caller's tokens from there, so many at a time.

Refusals cost a write each when they are entered in the ledger, so a flood of them is entered in part: ten a minute
for a caller, and the next one says how many were left out.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from securecontext.types.errors import LimitReached

RATE_LIMITED = "rate_limited"
ENTERED = 10
ENTERED_SECONDS = 60.0
SWEEP_AT = 1_024
"""Callers from which on those whose bucket is full again are forgotten."""
TRICKLE = 0.01
"""Of the limit: what each service lets through without asking, so that who calls now and then costs nothing."""
TRICKLE_BURST = 0.05
DRAUGHT_SECONDS = 1.0
"""How much is drawn at a time: what so many seconds allow."""
DRY_SECONDS = 0.2
"""How long a service does not ask again after a shared bucket was empty: who calls too fast must cost little."""


class Shared(Protocol):
    """Buckets that several services share; see `shared_rate`."""

    def draw(self, caller: str, wanted: float, per_second: float, burst: float) -> float:
        """Take so many tokens out of a caller's bucket, or what is in it; less than one takes nothing."""


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at: float
    trickle: float = 0.0
    drawn: float = 0.0
    dry_until: float = 0.0
    drawing: threading.Lock = field(default_factory=threading.Lock)
    refused_since: float = 0.0
    entered: int = 0
    left_out: int = 0


class Rate:
    """Buckets of all callers. Safe to share by threads.

    Args:
        per_second: calls a second that may go on for ever.
        burst: calls that may come at once.
        clock: monotonic seconds.
        shared: buckets that other services draw from too; None where there are none.
    """

    def __init__(
        self, per_second: float, burst: float, clock: Callable[[], float], shared: Shared | None = None
    ) -> None:
        self._shared = shared
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
            Unavailable: the shared buckets cannot be reached.
        """
        bucket, wait = self._taken(caller)
        if not wait and self._shared is not None:
            wait = self._drawn(self._shared, caller, bucket)
        if wait:
            raise self._refusal(wait)

    def _taken(self, caller: str) -> tuple[_Bucket, float]:
        """Take one token of this service's own bucket; return it, and the seconds until there is one."""
        with self._lock:
            now = self._clock()
            bucket = self._buckets.get(caller)
            if bucket is None:
                self._sweep(now)
                trickle = self._burst * TRICKLE_BURST
                bucket = self._buckets[caller] = _Bucket(self._burst, now, trickle)
            passed = now - bucket.at
            bucket.tokens = min(self._burst, bucket.tokens + passed * self._per_second)
            bucket.trickle = min(
                self._burst * TRICKLE_BURST, bucket.trickle + passed * self._per_second * TRICKLE
            )
            bucket.at = now
            if bucket.tokens < 1:
                return bucket, (1 - bucket.tokens) / self._per_second
            bucket.tokens -= 1
            return bucket, 0.0

    def _drawn(self, shared: Shared, caller: str, bucket: _Bucket) -> float:
        """Take one token of what was drawn, drawing if need be; return the seconds until there may be one."""
        if self._at_hand(bucket):
            return 0.0
        with bucket.drawing:  # not under the lock of all: a draught waits for the database
            if self._at_hand(bucket):
                return 0.0
            now = self._clock()
            if now < bucket.dry_until:
                return bucket.dry_until - now
            wanted = max(1.0, self._per_second * DRAUGHT_SECONDS)
            got = shared.draw(caller, wanted, self._per_second, self._burst)
            with self._lock:
                bucket.drawn += got
            if self._at_hand(bucket):
                return 0.0
            pause = max(DRY_SECONDS, (1 - got) / self._per_second)
            bucket.dry_until = now + pause
            return pause

    def _at_hand(self, bucket: _Bucket) -> bool:
        """Take one token that needs no draught, if there is one."""
        with self._lock:
            if bucket.drawn >= 1:
                bucket.drawn -= 1
            elif bucket.trickle >= 1:
                bucket.trickle -= 1
            else:
                return False
            return True

    def _refusal(self, wait: float) -> LimitReached:
        return LimitReached(
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
