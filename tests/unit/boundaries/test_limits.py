"""Stated limits, and the gate that counts calls under way."""

import threading

import pytest

from securecontext.boundaries.limits import CALLS_IN_FLIGHT, Gate, Limits
from securecontext.types.errors import LimitReached


def test_a_caller_may_have_so_many_calls_under_way_and_no_more():
    gate = Gate(Limits(calls_in_flight=2))
    with gate.entered("a"), gate.entered("a"):
        with pytest.raises(LimitReached) as caught, gate.entered("a"):
            pass
        assert (caught.value.code, caught.value.details["limit"]) == ("too_many_calls", 2)
        with gate.entered("b"):
            pass
    with gate.entered("a"), gate.entered("a"):
        pass


def test_a_call_that_fails_gives_its_place_back():
    gate = Gate(Limits(calls_in_flight=1))
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), gate.entered("a"):
            raise ZeroDivisionError
    with gate.entered("a"):
        pass


def test_nothing_is_kept_of_callers_that_are_gone():
    gate = Gate(Limits())
    for number in range(1_000):
        with gate.entered(f"caller {number}"):
            pass
    assert gate._under_way == {}


def test_counting_holds_with_many_threads():
    gate = Gate(Limits(calls_in_flight=CALLS_IN_FLIGHT))
    all_in, leave = threading.Barrier(CALLS_IN_FLIGHT + 1), threading.Event()

    def call():
        with gate.entered("a"):
            all_in.wait(30)
            assert leave.wait(30)

    threads = [threading.Thread(target=call) for _ in range(CALLS_IN_FLIGHT)]
    for thread in threads:
        thread.start()
    all_in.wait(30)
    with pytest.raises(LimitReached), gate.entered("a"):
        pass
    leave.set()
    for thread in threads:
        thread.join()
    with gate.entered("a"):
        pass
