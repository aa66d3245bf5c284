"""The C library's allocator, told to be thrifty: a service with many threads keeps what they freed otherwise.

glibc gives threads pools of their own, up to eight a processor, and each keeps what was freed in it. Python's threads
take turns anyway, so two pools serve them as well. https://man7.org/linux/man-pages/man3/mallopt.3.html
"""

from __future__ import annotations

import ctypes
from typing import Final

_ARENA_MAX: Final = -8
_TRIM_THRESHOLD: Final = -1
POOLS: Final = 2
KEPT_BYTES: Final = 1024 * 1024
"""What may lie free at a pool's end before it is given back to the system."""


def share() -> bool:
    """Let all threads share two pools; call it before there are threads. False where the library cannot do that."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and bool(mallopt(_ARENA_MAX, POOLS) and mallopt(_TRIM_THRESHOLD, KEPT_BYTES))


def give_back() -> bool:
    """Give back to the system what is free, such as what a compiler left behind; False where there is no such call.

    Takes some milliseconds, in which other threads wait when they ask for memory.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return trim is not None and bool(trim(0))
