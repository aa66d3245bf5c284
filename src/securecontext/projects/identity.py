"""Which project a folder belongs to: its aliases, from the file system alone.

A project is the git working tree's top level. Worktrees of one repository share it (unless ``scope`` is
``worktree``); a submodule is its own. A repository that is the home folder itself is none: folders in it are judged
by themselves. A folder outside any repository is its own project.

Two kinds of alias: ``path:<machine>:<real path>``, and for repositories ``tree:<machine>:<inodes>`` of the top
level, ``.git``, ``.git/objects`` and ``.git/refs``, which survive a rename, so that a renamed folder keeps its
memory. File systems give the inodes of a deleted tree to the next one, so the alias also has the time at which
``.git/description`` was written: git does so once. A copy has inodes of its own. No program is run.

A folder may come from anybody, in an archive or a clone. What it says of itself is therefore read from regular files
alone, a bounded piece of each, and it belongs to another repository only where that repository says so too.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
from collections.abc import Collection
from itertools import islice
from pathlib import Path

from securecontext.types.errors import InvalidInput
from securecontext.types.places import Place
from securecontext.validators.input import one_line

NAME_CHARACTERS = 120
"""A folder's name for people is one line of at most so many characters."""
PATH_CHARACTERS = 1_000
"""Of a path that is kept as it is told."""
READ_BYTES = 64 * 1024
"""So much is read of a file of a repository; what is looked for stands in its first lines."""
MOST_BESIDE = 10_000
"""Folders beside one that are looked at for a repository that was renamed."""
_BARE = re.compile(r"^\s*bare\s*=\s*true\s*$", re.MULTILINE | re.IGNORECASE)


def machine_id() -> str:
    """Return a short id of this machine: a digest of ``/etc/machine-id``, or ``local`` where there is none."""
    for file in ("/etc/machine-id", "/var/lib/dbus/machine-id"):
        try:
            text = Path(file).read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            continue
        if text:
            return hashlib.sha256(b"securecontext machine\0" + text.encode()).hexdigest()[:12]
    return "local"


def locate(path: str, *, home: Path, machine: str, scope: str = "") -> Place:
    """Return the project that a folder belongs to.

    Args:
        path: a folder's path, absolute.
        home: the user's home folder.
        machine: `machine_id`.
        scope: ``worktree`` keeps each git worktree apart; anything else lets them share.

    Raises:
        InvalidInput: the path is not an existing folder, or cannot be read.
    """
    try:
        folder = Path(path).resolve(strict=True)
    except (OSError, RuntimeError, ValueError) as error:
        raise InvalidInput(
            "no_such_folder", "The project's folder does not exist.", "Call from an existing folder."
        ) from error
    try:
        str(folder).encode()
    except UnicodeEncodeError as error:
        raise InvalidInput(
            "bad_path", "The path of the project's folder is not valid UTF-8.", "Rename the folder."
        ) from error
    try:
        top, git = _top(folder if folder.is_dir() else folder.parent, home.resolve(), scope)
    except (OSError, RuntimeError, ValueError) as error:
        raise InvalidInput(
            "unreadable_folder",
            "The project's folder, or the repository around it, cannot be read.",
            "Check the owner and the mode of the folder and of its .git.",
        ) from error
    return Place(
        top=top,
        name=one_line(top.name or str(top), NAME_CHARACTERS) or "unnamed",
        path_alias=f"path:{machine}:{top}",
        tree_alias=_tree_alias(machine, top, git),
    )


def told(path: str, *, machine: str, owner: str) -> Place:
    """Return the project that a folder of another user is to us: its path says it, the folder is not looked at.

    Nothing is opened on another user's behalf, and whatever path somebody names leads to projects of its own alone.

    Args:
        path: a folder's path, absolute.
        machine: `machine_id`.
        owner: by whom it is named; no colon in it.

    Raises:
        InvalidInput: ``bad_path``.
    """
    top = Path(os.path.normpath("/" + path.lstrip("/")))
    if not str(top).isprintable() or len(str(top)) > PATH_CHARACTERS:
        raise InvalidInput(
            "bad_path", "The path of the project's folder cannot be kept.", "Call from another folder."
        )
    name = one_line(top.name or str(top), NAME_CHARACTERS) or "unnamed"
    return Place(top=top, name=name, path_alias=f"path:{machine}.{owner}:{top}", tree_alias=None)


def marks(path: str) -> tuple[int, ...] | None:
    """Return what tells a folder from another one made at its path later; None where there is none now."""
    found: list[int] = []
    for each in (path, f"{path}/.git"):
        try:
            status = Path(each).stat()
        except (OSError, ValueError):
            if each == path:
                return None
            continue
        found += (status.st_dev, status.st_ino)
    return tuple(found)


def _top(folder: Path, home: Path, scope: str) -> tuple[Path, Path | None]:
    """Return the folder that identifies the project, and its ``.git`` if it has one."""
    top, git = _repository(folder, home)
    shared = _shared_by_worktrees(git) if git is not None and scope != "worktree" else None
    if shared is None:
        return top, git
    return (shared.parent, shared) if shared.name == ".git" else (shared, shared)


def _repository(folder: Path, home: Path) -> tuple[Path, Path | None]:
    """Return the top level and its ``.git``, or the folder itself and None."""
    for candidate in (folder, *folder.parents):
        if candidate == home:
            break
        git = candidate / ".git"
        if git.is_dir() and (git / "HEAD").exists():
            return candidate, git
        if git.is_file():
            return candidate, git
    return folder, None


def _shared_by_worktrees(git: Path) -> Path | None:
    """Return what the worktrees of a repository share, if this ``.git`` file belongs to a linked worktree.

    That is the ``.git`` folder of the main working tree, or a bare repository.
    """
    if not git.is_file():
        return None
    try:
        first = _read(git)
        if not first.startswith("gitdir:"):
            return None
        private = (git.parent / first.removeprefix("gitdir:").strip()).resolve(strict=True)
        shared = (private / _read(private / "commondir")).resolve(strict=True)
        back = (private / _read(private / "gitdir")).resolve(strict=True)
        config = _read(shared / "config")
    except (OSError, RuntimeError, ValueError):
        return None
    if private.parent != shared / "worktrees" or back != git:
        return None  # anybody can write a `.git` file that names a repository; only its owner writes the way back
    bare = _BARE.search(config) is not None  # a submodule's repository is not: its worktrees are their own
    return shared if shared.name == ".git" or bare else None


def _read(path: Path) -> str:
    """Return the beginning of a regular file, without white space at its ends.

    Raises:
        OSError: it is none: a pipe would be waited for, and a device is not to be touched.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    # Not blocking, because what is there may have been replaced since.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        return os.read(descriptor, READ_BYTES).decode("utf-8", "surrogateescape").strip()
    finally:
        os.close(descriptor)


def _tree_alias(machine: str, top: Path, git: Path | None) -> str | None:
    try:
        if git is None or not git.is_dir():
            return None
        found = [p.stat() for p in (top, git, git / "objects", git / "refs")]
        written = (git / "description").stat().st_mtime_ns
    except OSError:
        return None
    return f"tree:{machine}:{found[0].st_dev}:{written}:" + ":".join(str(s.st_ino) for s in found)


def tree_at(path: str, machine: str) -> str | None:
    """Return the tree alias of the repository whose top level is this path; None where there is none."""
    top = Path(path)
    return _tree_alias(machine, top, top / ".git")


def lies_beside(top: Path, trees: Collection[str]) -> bool:
    """Say whether one of these trees has a folder beside this one now: it was renamed, it is not gone."""
    tops = {tree.split(":")[4]: tree for tree in trees}
    if not tops:
        return False
    try:
        with os.scandir(top.parent) as entries:
            for entry in islice(entries, MOST_BESIDE):
                tree = tops.get(str(entry.inode()))
                if tree is not None and tree_at(entry.path, tree.split(":")[1]) in trees:
                    return True
    except OSError:
        pass
    return False
