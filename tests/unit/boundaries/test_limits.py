"""Stated limits, and the gate that counts calls under way."""

import threading

import pytest

from securecontext.boundaries.limits import CALLS_IN_FLIGHT, MB, Gate, Limits, refuse_over_quota
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


@pytest.mark.parametrize(
    ("used", "refused"), [(0, False), (10 * MB - 1, False), (10 * MB, True), (11 * MB, True)]
)
def test_large_work_begins_below_the_limit_of_memory_alone(used, refused):
    gate = Gate(Limits(memory_mb=10), memory=lambda: used)
    if not refused:
        gate.refuse_large_work()
        return
    with pytest.raises(LimitReached) as caught:
        gate.refuse_large_work()
    assert (caught.value.code, caught.value.details["limit"]) == ("memory_limit", 10 * MB)


@pytest.mark.parametrize(
    ("used", "refused"), [(0, False), (2 * MB - 1, False), (2 * MB, True), (9 * MB, True)]
)
def test_a_project_stores_more_below_its_quota_alone(used, refused):
    if not refused:
        refuse_over_quota(lambda beyond: used, 2)
        return
    with pytest.raises(LimitReached) as caught:
        refuse_over_quota(lambda beyond: used, 2)
    assert (caught.value.code, caught.value.details) == ("quota_reached", {"used": used, "limit": 2 * MB})
    assert "2 MiB" in caught.value.message and "zc_forget" in caught.value.hint


def test_calls_under_way_are_told():
    gate = Gate(Limits())
    with gate.entered("a"), gate.entered("b"), gate.entered("b"):
        assert gate.under_way == 3
    assert gate.under_way == 0
