"""Calls that wait for others: rung awake when something has come, and looking for themselves now and then.

A bell says when to look, never what is there: a ring may be missed, come from another service too late, or wake a call
whose task another one takes. So every call that waits looks again after a pause of its own, and the state is the truth.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

from securecontext.boundaries.limits import WAITERS

LOOK_SECONDS = (1.0, 3.0)
"""Between two looks, evenly spread so that those who wait do not look together."""

_chance = random.SystemRandom()


class _Topic:
    """One topic, and who waits for it.

    Attributes:
        rung: how often; whoever looked before a ring does not wait after it.
        waiting: how many wait.
    """

    def __init__(self) -> None:
        self.condition = threading.Condition()
        self.rung = 0
        self.waiting = 0


class Bell:
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
        self._places: dict[str, _Topic] = {}
        self._heard: dict[str, list[Callable[[], None]]] = {}
        self._waiting = 0
        self._closed = False

    @property
    def waiting(self) -> int:
        """How many wait."""
        with self._lock:
            return self._waiting

    def ring(self, topic: str, many: int | None = None) -> None:
        """Have those look again who wait for a topic; called once the change is durable.

        Args:
            topic: what is waited for.
            many: as many as there is something for; None for everybody.
        """
        with self._lock:
            place = self._places.get(topic)
            heard = tuple(self._heard.get(topic, ()))
        for wake in heard:
            wake()
        if place is not None:
            with place.condition:
                place.rung += 1
                place.condition.notify(place.waiting if many is None else many)

    def wait(self, topic: str, there: Callable[[], bool], seconds: float) -> bool:
        """Wait until something is there, at most so long; say whether it is.

        Args:
            topic: what is waited for.
            there: looks at the state.
            seconds: at most.
        """
        deadline = time.monotonic() + seconds
        with self._place(topic) as place:
            while True:
                with place.condition:
                    seen = place.rung
                if there():
                    return True
                left = deadline - time.monotonic()
                if left <= 0 or not self._sleep(place, seen, left):
                    return False

    @contextmanager
    def heard(self, topics: Sequence[str], wake: Callable[[], None]) -> Iterator[None]:
        """Have a function called at each ring for these topics, while this is held; no place is taken.

        Args:
            topics: what is waited for.
            wake: must not block; called on whichever thread rings.
        """
        with self._lock:
            for topic in topics:
                self._heard.setdefault(topic, []).append(wake)
        try:
            yield
        finally:
            with self._lock:
                for topic in topics:
                    self._heard[topic].remove(wake)
                    if not self._heard[topic]:
                        del self._heard[topic]

    def close(self) -> None:
        """Wake everybody for good: the service ends, and answers first."""
        with self._lock:
            self._closed = True
            places = list(self._places.values())
        for place in places:
            with place.condition:
                place.rung += 1
                place.condition.notify_all()

    def _sleep(self, place: _Topic, seen: int, left: float) -> bool:
        """Sleep until it rings or it is time to look; False where this is no time to wait."""
        with self._lock:
            if self._closed or self._waiting >= self._most:
                return False
            self._waiting += 1
        try:
            with self.aside(), place.condition:
                if place.rung == seen:
                    place.condition.wait(min(left, _chance.uniform(*LOOK_SECONDS)))
        finally:
            with self._lock:
                self._waiting -= 1
        return True

    @contextmanager
    def _place(self, topic: str) -> Iterator[_Topic]:
        """Hold a topic; one for which nobody waits is forgotten."""
        with self._lock:
            place = self._places.setdefault(topic, _Topic())
            place.waiting += 1
        try:
            yield place
        finally:
            with self._lock:
                place.waiting -= 1
                if not place.waiting:
                    del self._places[topic]
