"""How often one host is asked: some pages at once, then one a second; not at all while it wants to be left alone."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

from securecontext.types.errors import LimitReached

PER_SECOND: Final = 1.0
AT_ONCE: Final = 5.0
LONGEST: Final = 3_600.0
"""Seconds that a host may shut us out for."""
HOSTS: Final = 1_000
"""That are remembered; beyond that those that would be asked at once again are forgotten."""


class Pace:
    """Asked before each page. Safe to share by threads.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._hosts: dict[str, tuple[float, float]] = {}
        self._quiet: dict[str, float] = {}

    def take(self, host: str) -> None:
        """Take a turn at a host.

        Raises:
            LimitReached: ``host_rate``: says when there will be one.
        """
        with self._lock:
            now = self._clock()
            quiet = self._quiet.get(host, 0.0) - now
            if quiet > 0:
                raise _later(quiet)
            self._quiet.pop(host, None)
            turns, at = self._hosts.get(host, (AT_ONCE, now))
            turns = min(AT_ONCE, turns + (now - at) * PER_SECOND)
            if turns < 1:
                raise _later((1 - turns) / PER_SECOND)
            self._forget(now)
            self._hosts[host] = (turns - 1, now)

    def leave_alone(self, host: str, seconds: float) -> None:
        """Do as a host says that wants no questions for a while."""
        with self._lock:
            now = self._clock()
            self._forget(now)
            self._quiet[host] = now + min(max(seconds, 1.0), LONGEST)

    def _forget(self, now: float) -> None:
        if len(self._hosts) + len(self._quiet) < HOSTS:
            return
        self._hosts = {
            host: (turns, at)
            for host, (turns, at) in self._hosts.items()
            if turns + (now - at) * PER_SECOND < AT_ONCE
        }
        self._quiet = {host: until for host, until in self._quiet.items() if until > now}


def _later(seconds: float) -> LimitReached:
    return LimitReached(
        "host_rate",
        "This host was asked often enough for now.",
        f"Wait {seconds:.1f} s before you ask it again.",
        retry_after_ms=max(1, round(seconds * 1000)),
    )
