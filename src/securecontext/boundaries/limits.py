"""Stated limits, as data, and the gate that keeps one caller from taking all of the service."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from securecontext import rendezvous
from securecontext.types.errors import LimitReached

KEY_CHARACTERS = 100
VALUE_CHARACTERS = 4_000
SUMMARY_CHARACTERS = 8_000
SOURCE_CHARACTERS = 500
CONTENT_CHARACTERS = 1_000_000
QUERY_CHARACTERS = 2_000
QUERIES = 10
LINE_BYTES = rendezvous.LINE_BYTES
"""A JSON-RPC line on the socket. Larger than any argument, so that an argument that is too long is refused by name."""
HTTP_BODY_BYTES = 4 * 1024 * 1024
CONNECTIONS = 2_000
HTTP_CONNECTIONS = 1_000
CALLS_IN_FLIGHT = 64
PREAMBLE_BYTES = 64 * 1024
RECALL_TOKENS = 1_500
HOOK_CHARACTERS = 10_000


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits that a caller can run into, adjustable in tests."""

    calls_in_flight: int = CALLS_IN_FLIGHT


class Gate:
    """Counts the calls of each caller that are under way."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._lock = threading.Lock()
        self._under_way: dict[str, int] = {}

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
