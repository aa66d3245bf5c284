"""What one input may cost: seconds of the processor and bytes of memory, beyond which it counts as a crash."""

from __future__ import annotations

import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager

SECONDS = 5.0
"""Of this process's own time on the processor, so that a busy machine changes nothing. An input has 64 KiB at most."""
MEMORY = 256 << 20
"""Bytes that the process may grow by."""


class TooMuch(BaseException):
    """An input costs more than it may; no parser catches it."""


def _stop(_number: int, _frame: object) -> None:
    raise TooMuch(f"one input took more than {SECONDS:.0f} s of the processor")


@contextmanager
def guarded() -> Iterator[None]:
    """Raise `TooMuch` when what is done within takes too long or too much memory."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    old = signal.signal(signal.SIGVTALRM, _stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, old)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    if grown > MEMORY:
        raise TooMuch(f"one input made the process grow by {grown >> 20} MiB")
