"""Which project a folder belongs to: its aliases, from the file system alone.

A project is the git working tree's top level. Worktrees of one repository share it (unless ``scope`` is
``worktree``); a submodule is its own. A repository that is the home folder itself is none: folders in it are judged
by themselves. A folder outside any repository is its own project.

Two kinds of alias: ``path:<machine>:<real path>``, and for repositories ``tree:<machine>:<inodes>`` of the top
level, ``.git``, ``.git/objects`` and ``.git/refs``, which survive a rename, so that a renamed folder keeps its
memory. File systems give the inodes of a deleted tree to the next one, so the alias also has the time at which
``.git/description`` was written: git does so once. A copy has inodes of its own. No program is run.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from securecontext.types.errors import InvalidInput
from securecontext.types.places import Place
from securecontext.validators.input import one_line

NAME_CHARACTERS = 120
"""A folder's name for people is one line of at most so many characters."""
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
        InvalidInput: the path is not an existing folder.
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
    if not folder.is_dir():
        folder = folder.parent
    top, git = _repository(folder, home.resolve())
    if git is not None and scope != "worktree":
        shared = _shared_by_worktrees(git)
        if shared is not None:
            top, git = (shared.parent, shared) if shared.name == ".git" else (shared, shared)
    return Place(
        top=top,
        name=one_line(top.name or str(top), NAME_CHARACTERS) or "unnamed",
        path_alias=f"path:{machine}:{top}",
        tree_alias=_tree_alias(machine, top, git),
    )


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
        first = git.read_text(encoding="utf-8", errors="surrogateescape").strip()
        if not first.startswith("gitdir:"):
            return None
        private = (git.parent / first.removeprefix("gitdir:").strip()).resolve(strict=True)
        common = (private / "commondir").read_text(encoding="utf-8").strip()
        shared = (private / common).resolve(strict=True)
        config = (shared / "config").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    bare = _BARE.search(config) is not None  # a submodule's repository is not: its worktrees are their own
    return shared if shared.is_dir() and (shared.name == ".git" or bare) else None


def _tree_alias(machine: str, top: Path, git: Path | None) -> str | None:
    if git is None or not git.is_dir():
        return None
    try:
        found = [p.stat() for p in (top, git, git / "objects", git / "refs")]
        written = (git / "description").stat().st_mtime_ns
    except OSError:
        return None
    return f"tree:{machine}:{found[0].st_dev}:{written}:" + ":".join(str(s.st_ino) for s in found)


def tree_at(path: str, machine: str) -> str | None:
    """Return the tree alias of the repository whose top level is this path; None where there is none."""
    top = Path(path)
    return _tree_alias(machine, top, top / ".git")
