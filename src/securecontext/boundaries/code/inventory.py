"""What lies in a folder of code: each file's SHA-256 by its name, and bytecode that does not come from its source.

Bytecode is not in an inventory: the interpreter writes it by itself, at any time. It is code all the same, and what
Python runs where its header fits the source. So each such file is compared with what its source compiles to. Files of
another interpreter, of a source that is gone or has changed since are never loaded, and not looked at.
"""

from __future__ import annotations

import hashlib
import importlib.util
import marshal
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType

CACHE = "__pycache__"
HEADER_BYTES = 16
UNCHECKED_HASH, CHECKED_HASH = 1, 3
"""Flags of bytecode that is tied to its source by a hash (PEP 552) instead of time and size."""


def files(folder: Path, name: str, pause: Callable[[], None]) -> dict[str, str]:
    """Return the SHA-256 of each file below a folder, bytecode left out; nothing where there is no folder.

    A link is not followed: it is entered as what it points to.

    Args:
        folder: where to look, at any depth.
        name: what the names begin with.
        pause: called between files; waits as long as others need the interpreter.

    Raises:
        OSError: a file or folder cannot be read.
    """
    found = {}
    for path in _below(folder):
        pause()
        if not _is_bytecode(path):
            target = f"link to {path.readlink()}".encode() if path.is_symlink() else path.read_bytes()
            found[_named(name, folder, path)] = hashlib.sha256(target).hexdigest()
    return found


def forged_bytecode(folder: Path, name: str, pause: Callable[[], None]) -> list[str]:
    """Return the names of bytecode below a folder that Python would run, and that is not what its source compiles to.

    Args:
        folder: where to look, at any depth.
        name: what the names begin with.
        pause: called between files; all of the package compile in about a quarter of a second.

    Raises:
        OSError: a file or folder cannot be read.
    """
    forged = []
    for path in _below(folder):
        if _is_bytecode(path):
            pause()
            if not _is_its_source(path, path.read_bytes()):
                forged.append(_named(name, folder, path))
    return forged


def _below(folder: Path) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        if Path(error.filename) != folder or not isinstance(error, FileNotFoundError):
            raise error  # what cannot be read is not taken for empty

    for where, folders, names in os.walk(folder, onerror=refuse):
        links = [each for each in folders if (Path(where) / each).is_symlink()]
        for each in sorted([*names, *links]):
            yield Path(where) / each


def _named(name: str, folder: Path, path: Path) -> str:
    said = f"{name}/{path.relative_to(folder).as_posix()}"
    return said.encode("utf-8", "backslashreplace").decode()  # a name on disk need not be text


def _is_bytecode(path: Path) -> bool:
    return path.parent.name == CACHE and path.suffix == ".pyc" and not path.is_symlink()


def _is_its_source(path: Path, data: bytes) -> bool:
    """Say whether bytecode is what its source compiles to, or is nothing that this interpreter would load."""
    _, _, rest = path.name.partition(f".{sys.implementation.cache_tag}.")
    optimised, _, suffix = rest.rpartition("pyc")
    level = optimised.removeprefix("opt-").removesuffix(".")
    source = path.parent.parent / f"{path.name.partition('.')[0]}.py"
    if suffix or level not in ("", "1", "2") or not source.is_file():
        return True
    if not rest or data[:4] != importlib.util.MAGIC_NUMBER:
        return True
    flags = int.from_bytes(data[4:8], "little")
    status, text = source.stat(), source.read_bytes()
    made_of = (int(status.st_mtime) & 0xFFFFFFFF).to_bytes(4, "little")
    size = (status.st_size & 0xFFFFFFFF).to_bytes(4, "little")
    if flags == 0 and data[8:HEADER_BYTES] != made_of + size:
        return True
    if flags == CHECKED_HASH and data[8:HEADER_BYTES] != importlib.util.source_hash(text):
        return True
    try:
        code = marshal.loads(data[HEADER_BYTES:])  # noqa: S302 - it is looked at, not run; importing would load it too
        wanted = compile(text, str(source), "exec", dont_inherit=True, optimize=int(level or 0))
    except (EOFError, ValueError, TypeError, SyntaxError):
        return False
    return isinstance(code, CodeType) and bool(code == wanted)
