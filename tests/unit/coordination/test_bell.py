"""Waiting for something to be stored: woken by the bell, bounded in time and number."""

from __future__ import annotations

import threading
from collections.abc import Callable

from tests.waiting import wait_until

from securecontext.coordination import bell as module
from securecontext.coordination.bell import Bell


class Waiter(threading.Thread):
    """One call that waits."""

    def __init__(
        self, bell: Bell, is_there: Callable[[], bool], topic: str = "p", seconds: float = 3600
    ) -> None:
        super().__init__(daemon=True)
        self.found: list[bool] = []
        self._work = lambda: self.found.append(bell.wait(topic, is_there, seconds))
        self.start()

    def run(self) -> None:
        self._work()


def test_what_is_there_is_not_waited_for() -> None:
    bell = Bell()
    assert bell.wait("p", lambda: True, 3600)
    assert not bell.wait("p", lambda: False, 0)


def test_the_bell_wakes_who_waits_for_its_topic(monkeypatch) -> None:
    monkeypatch.setattr(module, "POLL_SECONDS", 3600)
    bell, stored = Bell(), threading.Event()
    waiters = [Waiter(bell, stored.is_set) for _ in range(5)]
    other = Waiter(bell, stored.is_set, topic="q")
    wait_until(lambda: bell.waiting == 6, "all to wait")
    stored.set()
    bell.ring("p")
    for each in waiters:
        each.join(30)
        assert each.found == [True]
    assert other.found == [] and bell.waiting == 1
    bell.close()
    other.join(30)
    assert other.found == [True], "who is sent away looks a last time"


def test_what_another_service_stored_is_found_without_a_bell(monkeypatch) -> None:
    monkeypatch.setattr(module, "POLL_SECONDS", 0.01)
    bell, stored = Bell(), threading.Event()
    waiter = Waiter(bell, stored.is_set)
    wait_until(lambda: bell.waiting == 1, "it to wait")
    stored.set()
    waiter.join(30)
    assert waiter.found == [True]


def test_what_comes_between_the_look_and_the_wait_is_not_missed(monkeypatch) -> None:
    monkeypatch.setattr(module, "POLL_SECONDS", 3600)
    bell, looks = Bell(), []

    def is_there() -> bool:
        looks.append(None)
        if len(looks) == 1:
            bell.ring("p")  # just after this look
            return False
        return True

    waiter = Waiter(bell, is_there)
    waiter.join(30)
    assert waiter.found == [True]


def test_more_than_may_wait_are_answered_at_once() -> None:
    bell = Bell(most=1)
    first = Waiter(bell, lambda: False)
    wait_until(lambda: bell.waiting == 1, "the first to wait")
    assert not bell.wait("p", lambda: False, 3600)
    bell.close()
    first.join(30)
    assert first.found == [False] and bell.waiting == 0


def test_time_ends_the_wait() -> None:
    now = [0.0]

    def is_there() -> bool:
        now[0] += 10
        return False

    assert not Bell(clock=lambda: now[0]).wait("p", is_there, 5)
