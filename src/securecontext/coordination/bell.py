"""Wakes calls that wait for something to be stored, so that a long poll costs neither the answer's time nor a loop.

The store is the truth: who waits looks there before it sleeps, whenever the bell rings, and every second or so besides,
since another service on the same database rings no bell here.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import Final

MOST_WAITING: Final = 32
"""Each takes a worker thread of the service; so many may, and further ones are answered at once."""
POLL_SECONDS: Final = 1.0


class Bell:
    """Rings by topic. Safe to share by threads.

    Args:
        most: calls that may wait at once.
        clock: monotonic seconds.
    """

    def __init__(self, most: int = MOST_WAITING, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._clock = clock
        self._changed = threading.Condition()
        self._rung: dict[str, int] = {}
        self._waiting = 0
        self._closed = False

    def ring(self, topic: str) -> None:
        """Have everybody look again who waits for this topic; called once the change is durable."""
        with self._changed:
            self._rung[topic] = self._rung.get(topic, 0) + 1
            self._changed.notify_all()

    def wait(self, topic: str, is_there: Callable[[], bool], seconds: float) -> bool:
        """Wait until something is there, at most so long; say whether it is.

        Args:
            topic: what rings.
            is_there: looks into the store; called without a lock.
            seconds: 0 to look once.
        """
        until = self._clock() + seconds
        admitted = False
        try:
            while True:
                with self._changed:
                    rung = self._rung.get(topic, 0)  # before looking, so that nothing comes between
                if is_there():
                    return True
                left = until - self._clock()
                with self._changed:
                    if not admitted and left > 0 and self._waiting < self._most:
                        self._waiting += 1
                        admitted = True
                    if self._closed or not admitted or left <= 0:
                        return False
                    pause = min(left, POLL_SECONDS * random.uniform(0.7, 1.3))  # noqa: S311 - spreads who polls
                    self._changed.wait_for(
                        lambda before=rung: self._closed or self._rung.get(topic, 0) != before,  # type: ignore[misc]
                        pause,
                    )
        finally:
            if admitted:
                with self._changed:
                    self._waiting -= 1

    @property
    def waiting(self) -> int:
        """Calls that wait now."""
        with self._changed:
            return self._waiting

    def close(self) -> None:
        """Let nobody wait any more: the service ends."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
