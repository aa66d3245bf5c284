"""What this process takes of the machine: memory and open files, and how many connections its files allow.

The limit on memory is watched, not set with RLIMIT_AS: address space is not memory. SQLite and a model's runtime map
files and reserve ranges many times larger than what they use, so a limit that lets them work limits nothing, and one
that limits makes an allocation fail in the middle of a commit. What is refused instead is new large work.
"""

from __future__ import annotations

import os
import resource
from pathlib import Path

FILES_WANTED = 8_192
"""More than connections, databases and logs of one service ever take."""


def resident_bytes() -> int:
    """Return the resident memory of this process; 0 where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def open_files() -> int:
    """Return how many files this process has open; 0 where the system does not tell."""
    try:
        return sum(1 for _ in Path("/proc/self/fd").iterdir()) - 1  # one is the look itself
    except OSError:
        return 0


def file_limit() -> int:
    """Return how many files this process may have open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return FILES_WANTED if soft == resource.RLIM_INFINITY else soft


def raise_file_limit() -> None:
    """Allow as many open files as the system lets us have: a connection is a file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES_WANTED if hard == resource.RLIM_INFINITY else min(hard, FILES_WANTED)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def within_files(most: int, part: int) -> int:
    """Return how many connections a door takes, so that it refuses by itself before the system does.

    Args:
        most: connections where files are no question.
        part: of the files that the process may open the door takes at most one in so many.
    """
    return max(1, min(most, file_limit() // part))
