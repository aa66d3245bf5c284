"""``zc hooks``: a pre-commit hook of git that refuses to commit files which another agent holds.

A hook that is there already is kept beside ours and run after it; taking ours away puts it back. Without an answer of
the service a commit goes on, with a line that says so, unless ``ZC_OWNERSHIP_STRICT=1``.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from securecontext import rendezvous
from securecontext.cli.answers import refuse
from securecontext.rpc.client import Client
from securecontext.types.errors import Conflict, InvalidInput, Unavailable, ZcError

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Hooks of git: refuse to commit files that another agent holds.",
)
HOOK = "pre-commit"
KEPT = "pre-commit.before-securecontext"
MARK = "# SecureContext: whose files are committed. `zc hooks git --remove` takes this away."
AT_ONCE = 5_000
"""Files that one call asks about."""


@app.command()
def git(
    remove: Annotated[bool, typer.Option("--remove", help="Take the hook away again.")] = False,
) -> None:
    """Have git refuse to commit files that another agent holds, in this repository."""
    folder = hooks_folder(Path.cwd())
    typer.echo(taken_away(folder) if remove else installed(folder))


@app.command()
def check() -> None:
    """Refuse if another agent holds a file that is about to be committed; what the hook of git runs."""
    try:
        top = Path(_git("rev-parse", "--show-toplevel", folder=Path.cwd()))
        staged = _git("diff", "--cached", "--name-only", "--no-renames", "-z", folder=top).split("\0")
        files = [str(top / name) for name in staged if name]
        client = Client(rendezvous.home(), str(top))
        try:
            for start in range(0, len(files), AT_ONCE):
                client.call("ownership.check", {"files": files[start : start + AT_ONCE]})
        finally:
            client.close()
    except ZcError as error:
        if error.code == "file_held" or os.environ.get("ZC_OWNERSHIP_STRICT") == "1":
            refuse(error)
        typer.echo(f"zc: not checked whose files these are: {error.message} [{error.code}]", err=True)


def hooks_folder(folder: Path) -> Path:
    """Return where git looks for the hooks of the repository around a folder.

    Raises:
        InvalidInput: ``no_repository``; ``shared_hooks``: they are those of other repositories too.
    """
    found, common, top = (
        Path(folder, _git("rev-parse", *words, folder=folder)).resolve()
        for words in (("--git-path", "hooks"), ("--git-common-dir",), ("--show-toplevel",))
    )
    if not (found.is_relative_to(common) or found.is_relative_to(top)):
        raise InvalidInput(
            "shared_hooks",
            f"git takes this repository's hooks from {found}, which others use as well.",
            f"Have that folder's {HOOK} run `zc hooks check`.",
        )
    return found


def installed(folder: Path) -> str:
    """Put the hook into a folder, what is there aside, and return what was done.

    Raises:
        Conflict: ``hook_kept_before``: there is a hook of somebody else's, and another one that was kept.
        InvalidInput: ``unwritable_file``.
    """
    hook, kept = folder / HOOK, folder / KEPT
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if os.path.lexists(hook) and not _is_ours(hook):
            if os.path.lexists(kept):
                raise Conflict(
                    "hook_kept_before",
                    f"{hook} is not ours, and {kept} holds an earlier one.",
                    "Merge the two by hand, or remove one.",
                )
            hook.rename(kept)
        draft = folder / f".{HOOK}.{os.getpid()}"
        draft.write_text(_script(), encoding="utf-8")
        draft.chmod(0o755)
        draft.replace(hook)
    except OSError as error:
        raise _unwritable(folder, error) from error
    after = f", then {kept.name}, which was there before" if os.path.lexists(kept) else ""
    return f"{hook} asks before each commit whether another agent holds the files{after}."


def taken_away(folder: Path) -> str:
    """Take the hook away, put back what was there before, and return what was done.

    Raises:
        InvalidInput: ``unwritable_file``.
    """
    hook, kept = folder / HOOK, folder / KEPT
    try:
        if not _is_ours(hook):
            return f"{hook} is not ours; nothing was changed."
        hook.unlink()
        if os.path.lexists(kept):
            kept.rename(hook)
            return f"{hook} is what it was before."
    except OSError as error:
        raise _unwritable(folder, error) from error
    return f"{hook} is gone."


def _is_ours(hook: Path) -> bool:
    try:
        return MARK in hook.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return False


def _script() -> str:
    home = shlex.quote(rendezvous.home())
    return (
        f"#!/bin/sh\n{MARK}\n"
        f'[ -n "$ZC_HOME" ] || ZC_HOME={home}\nexport ZC_HOME\n'
        f"{shlex.quote(sys.executable)} -I -m securecontext hooks check || exit $?\n"
        f'kept="$(dirname "$0")/{KEPT}"\n'
        'if [ -x "$kept" ]; then exec "$kept" "$@"; fi\n'
    )


def _git(*words: str, folder: Path) -> str:
    """Return what git prints, without the line's end; bytes that are no UTF-8 become U+FFFD."""
    try:
        done = subprocess.run(["git", *words], cwd=folder, capture_output=True, check=False)  # noqa: S603, S607 - the user's own git, as the shell finds it
    except OSError as error:
        raise Unavailable("git_missing", "git cannot be run.", "Install git.") from error
    if done.returncode != 0:
        raise InvalidInput(
            "no_repository", "This folder is in no git repository.", "Call from a repository's working tree."
        )
    return done.stdout.decode("utf-8", "replace").removesuffix("\n")


def _unwritable(folder: Path, error: OSError) -> InvalidInput:
    return InvalidInput(
        "unwritable_file",
        f"{folder} cannot be changed ({error.strerror}).",
        "Check the folder's owner and mode.",
    )
