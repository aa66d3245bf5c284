"""Calls that wait for others: rung awake when something has come, and looking for themselves now and then.

A bell says when to look, never what is there: a ring may be missed, come from another service too late, or wake a call
whose task another one takes. So every call that waits looks again after a pause of its own, and the state is the truth.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from securecontext.boundaries.limits import WAITERS

LOOK_SECONDS = (1.0, 3.0)
"""Between two looks, evenly spread so that those who wait do not look together."""

_chance = random.SystemRandom()


class _Bell:
    """One topic's bell.

    Attributes:
        rung: how often; whoever looked before a ring does not wait after it.
        waiting: how many wait.
    """

    def __init__(self) -> None:
        self.condition = threading.Condition()
        self.rung = 0
        self.waiting = 0


class Wakeups:
    """Everybody who waits in this service. Safe to share by threads.

    Args:
        most: how many may wait at once.

    Attributes:
        aside: held by a thread while it waits; lets another one work meanwhile.
    """

    def __init__(self, most: int = WAITERS) -> None:
        self.aside: Callable[[], AbstractContextManager[None]] = nullcontext
        self._most = most
        self._lock = threading.Lock()
        self._bells: dict[str, _Bell] = {}
        self._waiting = 0
        self._closed = False

    @property
    def waiting(self) -> int:
        """How many wait."""
        with self._lock:
            return self._waiting

    def ring(self, topic: str, many: int = 1) -> None:
        """Wake as many who wait for a topic as there is something for."""
        with self._lock:
            bell = self._bells.get(topic)
        if bell is not None:
            with bell.condition:
                bell.rung += 1
                bell.condition.notify(many)

    def until(self, topic: str, there: Callable[[], bool], seconds: float) -> bool:
        """Wait until something is there, at most so long; say whether it is.

        Args:
            topic: what is waited for.
            there: looks at the state.
            seconds: at most.
        """
        deadline = time.monotonic() + seconds
        with self._place(topic) as bell:
            while True:
                with bell.condition:
                    seen = bell.rung
                if there():
                    return True
                left = deadline - time.monotonic()
                if left <= 0 or not self._sleep(bell, seen, left):
                    return False

    def close(self) -> None:
        """Wake everybody for good: the service ends, and answers first."""
        with self._lock:
            self._closed = True
            bells = list(self._bells.values())
        for bell in bells:
            with bell.condition:
                bell.rung += 1
                bell.condition.notify_all()

    def _sleep(self, bell: _Bell, seen: int, left: float) -> bool:
        """Sleep until it rings or it is time to look; False where this is no time to wait."""
        with self._lock:
            if self._closed or self._waiting >= self._most:
                return False
            self._waiting += 1
        try:
            with self.aside(), bell.condition:
                if bell.rung == seen:
                    bell.condition.wait(min(left, _chance.uniform(*LOOK_SECONDS)))
        finally:
            with self._lock:
                self._waiting -= 1
        return True

    @contextmanager
    def _place(self, topic: str) -> Iterator[_Bell]:
        """Hold a topic's bell; a bell for which nobody waits is forgotten."""
        with self._lock:
            bell = self._bells.setdefault(topic, _Bell())
            bell.waiting += 1
        try:
            yield bell
        finally:
            with self._lock:
                bell.waiting -= 1
                if not bell.waiting:
                    del self._bells[topic]
