"""A control group for one run, where the kernel lets us make one: it counts all processes of a run together.

Both versions are looked for: a hierarchy of its own for each controller (version 1), or one for all (version 2, where
the group above has handed the controllers on). https://docs.kernel.org/admin-guide/cgroup-v2.html
"""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from securecontext.sandbox.limits import Limits

_count = itertools.count()
_LOOKS: Final = 200
_PAUSE: Final = 0.005
CONTROLLERS: Final = ("pids", "memory")


@dataclass(frozen=True, slots=True)
class Parents:
    """Folders below which groups can be made, by controller; the same one twice where one holds both.

    Attributes:
        version: 1 or 2.
        folders: controller to folder; what is missing cannot be had.
    """

    version: int
    folders: dict[str, Path]


def parents(mounts: str, own: str, writable: Callable[[Path], bool] | None = None) -> Parents:
    """Return where groups can be made.

    Args:
        mounts: text of ``/proc/self/mounts``.
        own: text of ``/proc/self/cgroup``.
        writable: tries a folder; by default by making a group there and taking it away.
    """
    may = writable or _tried
    groups: dict[str, str] = {}
    for line in own.splitlines():
        _, names, path = line.split(":", 2)
        groups.update(dict.fromkeys(names.split(","), path))
    found: dict[str, Path] = {}
    for line in mounts.splitlines():
        _, where, kind, options = line.split(" ", 4)[:4]
        if kind == "cgroup":
            for name in CONTROLLERS:
                if name in options.split(",") and name in groups:
                    found.update(_first(name, Path(where), groups[name], may))
    if found:
        return Parents(1, found)
    for line in mounts.splitlines():
        _, where, kind = line.split(" ", 3)[:3]
        if kind == "cgroup2" and "" in groups:
            here = Path(where + groups[""].rstrip("/"))
            for folder in (here, here.parent):
                handed_on = _read(folder / "cgroup.subtree_control").split()
                if "pids" in handed_on and folder.is_relative_to(where) and may(folder):
                    return Parents(2, {name: folder for name in CONTROLLERS if name in handed_on})
    return Parents(2, {})


def here() -> Parents:
    """Return where this process can make groups."""
    return parents(_read(Path("/proc/self/mounts")), _read(Path("/proc/self/cgroup")))


def _first(name: str, where: Path, path: str, may: Callable[[Path], bool]) -> dict[str, Path]:
    # Within a container the path may be told as it is outside: then the mount itself is where we are.
    for folder in (Path(str(where) + path.rstrip("/")), where):
        if folder.is_dir() and may(folder):
            return {name: folder}
    return {}


def _tried(folder: Path) -> bool:
    group = folder / _name()
    try:
        group.mkdir()
        group.rmdir()
    except OSError:
        return False
    return True


def _name() -> str:
    return f"securecontext-{os.getpid()}-{next(_count)}"


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


class Group:
    """The groups of one run, one a hierarchy. Make it with `made`."""

    def __init__(self, folders: dict[str, Path]) -> None:
        self._folders = folders

    @property
    def controllers(self) -> tuple[str, ...]:
        """What is counted together."""
        return tuple(self._folders)

    def take(self, pid: int) -> None:
        """Put a process in, before it starts others; raises OSError."""
        for folder in set(self._folders.values()):
            (folder / "cgroup.procs").write_text(str(pid))

    def end(self) -> None:
        """Kill what is left in it, and remove it."""
        for folder in set(self._folders.values()):
            for _ in range(_LOOKS):
                with contextlib.suppress(OSError):
                    (folder / "cgroup.kill").write_text("1")
                for pid in _read(folder / "cgroup.procs").split():
                    with contextlib.suppress(OSError):
                        os.kill(int(pid), 9)
                try:
                    folder.rmdir()
                    break
                except FileNotFoundError:
                    break
                except OSError:
                    time.sleep(_PAUSE)


@contextlib.contextmanager
def made(where: Parents, limits: Limits) -> Iterator[Group]:
    """Make the groups of a run, and take them away with whatever is left in them; raises OSError."""
    name = _name()
    group = Group({controller: folder / name for controller, folder in where.folders.items()})
    try:
        for folder in set(group._folders.values()):
            folder.mkdir()
        for controller, folder in group._folders.items():
            _limit(controller, folder, where.version, limits)
        yield group
    finally:
        group.end()


def _limit(controller: str, folder: Path, version: int, limits: Limits) -> None:
    if controller == "pids":
        # Those of the sandbox itself come on top: its first process, and what supervises.
        (folder / "pids.max").write_text(str(limits.processes + 2))
        return
    name = "memory.limit_in_bytes" if version == 1 else "memory.max"
    (folder / name).write_text(str(limits.memory_bytes))
    if version == 2:
        with contextlib.suppress(OSError):
            (folder / "memory.swap.max").write_text("0")
