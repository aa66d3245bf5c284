"""The allocator is told to be thrifty, and what is free is given back."""

from __future__ import annotations

import subprocess
import sys

THREADS = """
import ctypes, threading
from securecontext.boundaries.usage import resident_bytes
from securecontext.service import allocator
libc = ctypes.CDLL(None)
libc.malloc.restype = libc.fopen.restype = ctypes.c_void_p
libc.free.argtypes = libc.fflush.argtypes = [ctypes.c_void_p]
libc.malloc_info.argtypes = [ctypes.c_int, ctypes.c_void_p]
meet = threading.Barrier(12)

def work():
    meet.wait()  # all at once: each would have a pool of its own
    held = [libc.malloc(60_000) for _ in range(100)]
    for each in held:
        ctypes.memset(each, 1, 60_000)
    ctypes.memset(libc.malloc(60_000), 1, 60_000)  # stays in use at the end: what lies free below it is kept
    for each in held:
        libc.free(each)
    meet.wait()

def use():
    threads = [threading.Thread(target=work) for _ in range(12)]
    for each in threads: each.start()
    for each in threads: each.join()
"""


def _run(program: str) -> str:
    command = [sys.executable, "-c", THREADS + program]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


def test_all_threads_share_two_pools() -> None:
    told = """
use()
out = libc.fopen(b"/dev/stdout", b"w")
libc.malloc_info(0, out)
libc.fflush(out)
"""
    assert 1 <= _run("assert allocator.share()" + told).count("<heap nr=") <= 2
    assert _run(told).count("<heap nr=") > 2


def test_what_is_free_is_given_back() -> None:
    said = _run("""
use()
before = resident_bytes()
allocator.give_back()
print((before - resident_bytes()) >> 20)
""")
    assert int(said) >= 20
