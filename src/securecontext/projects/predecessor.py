"""Under which names the predecessor may have kept a folder: hashes of every way it may have written the path.

It hashed the path as the caller gave it, with symbolic links resolved or not, and in some callers with each ``/``
rewritten to a backslash, so one folder can have several files.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

ALIAS = "predecessor:"
"""Begins the alias of a project under the predecessor's hash."""


def hash_of(path: str) -> str:
    """Return the predecessor's name for exactly this path: 16 hexadecimal digits of its SHA-256."""
    # A path with bytes that are no UTF-8 reached the predecessor with U+FFFD in their place.
    text = path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def hashes(paths: Iterable[str]) -> tuple[str, ...]:
    """Return the hashes that any of these folders may have had, the likeliest first.

    Args:
        paths: a folder in all spellings that are known; each is tried as it is and with its links resolved.
    """
    spellings: dict[str, None] = {}
    for path in paths:
        for form in (path, os.path.realpath(path) if "\0" not in path else path):
            bare = form.rstrip("/") or "/"
            spellings.update(dict.fromkeys((form, bare, bare if bare == "/" else bare + "/")))
    forms = [*spellings, *(each.replace("/", "\\") for each in spellings)]
    return tuple(dict.fromkeys(hash_of(each) for each in forms))


def spellings(path: str, top: Path) -> tuple[str, ...]:
    """Return the folders that a caller in ``path`` may mean: itself, its working tree, its project's top level."""
    real = Path(os.path.realpath(path))
    tree = None
    if real != top:  # within a repository: a linked worktree has a top level of its own
        tree = next((str(p) for p in (real, *real.parents) if os.path.lexists(p / ".git")), None)
    return tuple(dict.fromkeys(each for each in (path, tree, str(top)) if each))
