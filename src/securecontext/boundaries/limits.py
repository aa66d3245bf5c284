"""Stated limits, as data, and the gate that keeps one caller from taking all of the service.

Large work and writes that store content are refused while memory or a project's quota is used up; reading, forgetting
and deleting never are, nor is what the ledger enters.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from securecontext import rendezvous
from securecontext.boundaries.rate import Rate, Shared
from securecontext.boundaries.usage import resident_bytes
from securecontext.types.errors import LimitReached

KEY_CHARACTERS = 100
VALUE_CHARACTERS = 4_000
SUMMARY_CHARACTERS = 8_000
SOURCE_CHARACTERS = 500
CONTENT_CHARACTERS = 1_000_000
QUERY_CHARACTERS = 2_000
QUERIES = 10
PAYLOAD_BYTES = 64 * 1024
"""A task's payload or result, as JSON."""
PAYLOAD_DEPTH = 16
REASON_CHARACTERS = 1_000
PROGRESS_CHARACTERS = 500
ARTEFACTS = 50
DEPENDENCIES = 50
WAIT_SECONDS = 60
"""How long a call may wait for others at most."""
WAITERS = 192
"""Calls that wait at once; what more there is gets its answer at once."""
LINE_BYTES = rendezvous.LINE_BYTES
"""A JSON-RPC line on the socket. Larger than any argument, so that an argument that is too long is refused by name."""
HTTP_BODY_BYTES = 4 * 1024 * 1024
"""Of an MCP message, which may hold what a line on the socket may."""
REST_BODY_BYTES = 1024 * 1024
"""Of a request to one of the other paths."""
CONNECTIONS = 2_000
FILES_FOR_SOCKET = 2
"""Of the files that the process may open the socket's connections take at most one in so many."""
HTTP_CONNECTIONS = 1_000
FILES_FOR_HTTP = 4
CALLS_IN_FLIGHT = 64
CALLS_PER_SECOND = 1_000.0
"""More than a session does that waits for its answers; a loop without end is what runs into it."""
BURST_SECONDS = 5
MEMORY_MB = 2_048.0
QUOTA_MB = 4_096.0
MB = 1 << 20
PREAMBLE_BYTES = 64 * 1024
RECALL_TOKENS = 1_500
HOOK_CHARACTERS = 10_000


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits that a caller can run into, adjustable in tests."""

    calls_in_flight: int = CALLS_IN_FLIGHT
    calls_per_second: float = CALLS_PER_SECOND
    memory_mb: float = MEMORY_MB
    quota_mb: float = QUOTA_MB


def refuse_over_quota(used_beyond: Callable[[int], int], quota_mb: float) -> None:
    """Refuse to store more in a project that has used up its quota.

    Args:
        used_beyond: returns the bytes that the project's store uses; see `storage.port.Store.used`.
        quota_mb: MiB that it may use.

    Raises:
        LimitReached: ``quota_reached``.
    """
    quota = int(quota_mb * MB)
    used = used_beyond(quota)
    if used >= quota:
        raise LimitReached(
            "quota_reached",
            f"This project's database uses {used / MB:.1f} MiB; its quota is {quota_mb:g} MiB.",
            "Forget what is not needed (zc_forget, `zc archive forget`), or raise ZC_QUOTA_MB.",
            used=used,
            limit=quota,
        )


class Gate:
    """Counts the calls of each caller that are under way, and how fast they come.

    Args:
        limits: what it holds callers to.
        clock: monotonic seconds.
        memory: returns the bytes of memory that the service takes.
        shared: what callers draw from at other services too; see `rate.Rate`.
    """

    def __init__(
        self,
        limits: Limits,
        clock: Callable[[], float] = time.monotonic,
        memory: Callable[[], int] = resident_bytes,
        shared: Shared | None = None,
    ) -> None:
        self._limits = limits
        self._memory = memory
        self._lock = threading.Lock()
        self._under_way: dict[str, int] = {}
        per_second = limits.calls_per_second
        self.rate = Rate(per_second, max(1.0, per_second * BURST_SECONDS), clock, shared)

    @property
    def under_way(self) -> int:
        """Calls of all callers that are under way."""
        with self._lock:
            return sum(self._under_way.values())

    def refuse_large_work(self) -> None:
        """Refuse to begin large work while the service takes more memory than it should.

        Raises:
            LimitReached: ``memory_limit``.
        """
        used, limit = self._memory(), self._limits.memory_mb
        if used >= limit * MB:
            raise LimitReached(
                "memory_limit",
                f"The service takes {used / MB:.0f} MiB of memory; above {limit:g} MiB it begins no large work.",
                "Try again later, run `zc service restart`, or raise ZC_MEMORY_LIMIT_MB.",
                used=used,
                limit=int(limit * MB),
            )

    @contextmanager
    def entered(self, caller: str) -> Iterator[None]:
        """Hold one place of the caller's.

        Raises:
            LimitReached: it has too many calls under way.
        """
        with self._lock:
            count = self._under_way.get(caller, 0)
            if count >= self._limits.calls_in_flight:
                raise LimitReached(
                    "too_many_calls",
                    f"{count} calls of this session are under way, which is the limit.",
                    "Wait for an answer before you call again.",
                    limit=self._limits.calls_in_flight,
                )
            self._under_way[caller] = count + 1
        try:
            yield
        finally:
            with self._lock:
                if self._under_way[caller] == 1:
                    del self._under_way[caller]
                else:
                    self._under_way[caller] -= 1
