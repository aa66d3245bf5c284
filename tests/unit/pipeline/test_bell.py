"""Calls that wait for others: woken by a ring, bounded in number, answered at the end."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from tests.waiting import wait_until

from securecontext.pipeline import bell
from securecontext.pipeline.bell import Bell


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody looks by itself within a test: what wakes is the ring."""
    monkeypatch.setattr(bell, "LOOK_SECONDS", (3_000.0, 3_000.0))


class Waiting:
    """Threads that wait for a topic, and what each was told."""

    def __init__(self, bells: Bell) -> None:
        self.bells = bells
        self.there: list[str] = []
        self.answers: list[bool] = []
        self.threads: list[threading.Thread] = []

    def start(self, topic: str, seconds: float = 3_000) -> None:
        def wait() -> None:
            self.answers.append(self.bells.wait(topic, lambda: topic in self.there, seconds))

        self.threads.append(threading.Thread(target=wait))
        self.threads[-1].start()

    def end(self) -> None:
        for thread in self.threads:
            thread.join(60)


def test_a_ring_wakes_who_waits_for_that_topic(patient: None) -> None:
    at = Waiting(Bell())
    at.start("a")
    at.start("b")
    wait_until(lambda: at.bells.waiting == 2, "both to wait")
    at.there.append("a")
    at.bells.ring("a")
    wait_until(lambda: at.answers == [True], "the one to be woken")
    assert at.bells.waiting == 1
    at.bells.close()
    at.end()
    assert at.answers == [True, False] and at.bells.waiting == 0


def test_a_ring_wakes_as_many_as_there_is_something_for(patient: None) -> None:
    at = Waiting(Bell())
    for _ in range(4):
        at.start("a")
    wait_until(lambda: at.bells.waiting == 4, "all to wait")
    at.there.append("a")
    at.bells.ring("a", 2)
    wait_until(lambda: len(at.answers) == 2, "two to be woken")
    assert at.bells.waiting == 2
    at.bells.close()
    at.end()
    assert at.answers.count(True) == 4, "who is woken at the end looks first"


def test_a_ring_between_the_look_and_the_sleep_is_not_missed(patient: None) -> None:
    bells = Bell()
    looks: list[bool] = []

    def there() -> bool:
        if not looks:
            bells.ring("a")  # something came right after this look
        looks.append(True)
        return len(looks) == 2

    assert bells.wait("a", there, 3_000)


def test_without_a_ring_it_is_looked_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """What another service makes ready rings no bell here."""
    monkeypatch.setattr(bell, "LOOK_SECONDS", (0.0, 0.001))
    looks: list[bool] = []
    assert Bell().wait("a", lambda: looks.append(True) or len(looks) == 5, 3_000)


def test_what_is_there_needs_no_waiting_and_no_time_is_no_waiting() -> None:
    bells = Bell()
    assert bells.wait("a", lambda: True, 0)
    assert not bells.wait("a", lambda: False, 0)


def test_more_than_may_wait_are_answered_at_once(patient: None) -> None:
    at = Waiting(Bell(most=1))
    at.start("a")
    wait_until(lambda: at.bells.waiting == 1, "the first to wait")
    assert not at.bells.wait("a", lambda: False, 3_000)
    at.bells.close()
    at.end()


def test_who_waits_gives_its_place_up_and_takes_it_again(patient: None) -> None:
    bells = Bell()
    steps: list[str] = []

    @contextmanager
    def aside() -> Iterator[None]:
        steps.append("aside")
        yield
        steps.append("back")

    bells.aside = aside
    at = Waiting(bells)
    at.start("a")
    wait_until(lambda: bells.waiting == 1, "it to wait")
    bells.close()
    at.end()
    assert steps == ["aside", "back"]
    assert not bells.wait("a", lambda: False, 3_000), "after the end nobody waits"
    assert steps == ["aside", "back"]
