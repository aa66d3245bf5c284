"""Anchors in a git repository of the user's: a note on the present commit, under ``refs/notes/securecontext``.

Whoever pushes that ref has the ledger's checkpoints where the machine's attacker does not write. The note of a commit
holds a line for each log, as in the file of anchors (see ``anchors``): its newest checkpoint while that commit was
HEAD. Older ones stand in the history of the ref, and on the commits before.

Only the object store and that one ref are written, by git itself: no working tree, no index, no hook is run, nothing is
fetched, and what the configuration of system and user says does not count. At most one note in `PAUSE` for each log:
every one is a few objects.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

from securecontext.boundaries.ledger.anchors import Anchor, goes_on, line_of, parse_line
from securecontext.boundaries.ledger.sequencer import Signed
from securecontext.boundaries.ledger.tiles import Tiles
from securecontext.types.errors import Unavailable

REF = "refs/notes/securecontext"
PAUSE = timedelta(minutes=10)
SECONDS = 20.0
"""How long one command of git may take."""
MOST_BYTES = 16 * 1024 * 1024
_NEUTRAL = (
    *("-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false"),
    *("-c", "gc.auto=0", "-c", "maintenance.auto=false", "-c", "commit.gpgSign=false", "-c", "log.showSignature=false"),
)  # fmt: skip
_ENVIRONMENT = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_ALLOW_PROTOCOL": "none",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_AUTHOR_NAME": "SecureContext",
    "GIT_AUTHOR_EMAIL": "securecontext@localhost",
    "GIT_COMMITTER_NAME": "SecureContext",
    "GIT_COMMITTER_EMAIL": "securecontext@localhost",
    "LC_ALL": "C",
}


class GitNotes:
    """The anchors in one repository.

    Args:
        repository: a folder in it.
    """

    def __init__(self, repository: Path) -> None:
        self._repository = repository
        self._noted: dict[str, datetime] = {}
        """When this service noted a log last."""

    def read(self, log: str) -> list[Anchor]:
        """Return the anchors of a log, one for each commit that has one, smallest first.

        Raises:
            Tampered: ``anchor_malformed``: a line of a note is no anchor.
            Unavailable: ``git_witness_unusable``.
        """
        found = [anchor for lines in self._notes() for anchor in _of(lines, log)]
        return sorted(found, key=lambda anchor: anchor.point.size)

    def append(self, signed: Signed, tiles: Tiles, moment: datetime) -> bool:
        """Note a checkpoint on the present commit; False where nothing is to be done, or not yet.

        Raises:
            Tampered: ``anchor_inconsistent``: the log has not grown out of what was noted; or ``anchor_malformed``.
            Unavailable: ``git_witness_unusable``.
        """
        log = signed.point.log
        last = self._noted.get(log)
        if last is not None and timedelta() <= moment - last < PAUSE:
            return False
        with self._locked():
            known = self.read(log)
            if known and goes_on(known[-1].point, signed.point, tiles):
                return False
            commit = self._git("rev-parse", "--verify", "--end-of-options", "HEAD^{commit}").strip()
            kept = [line for line in self._note(commit) if not _of([line], log)]
            note = b"".join(line + b"\n" for line in [*kept, line_of(signed, moment)])
            self._git("notes", "--ref", REF, "add", "--force", "--file", "-", commit.decode(), given=note)
            self._noted[log] = moment
            return True

    def _notes(self) -> Iterator[list[bytes]]:
        """Yield the lines of every note."""
        if not self._git("for-each-ref", "--format=%(objectname)", REF).strip():
            return
        listed = self._git("notes", "--ref", REF, "list").decode().splitlines()
        wanted = "".join(f"{line.split()[0]}\n" for line in listed).encode()
        told = self._git("cat-file", "--batch", given=wanted)
        while told:
            head, _, rest = told.partition(b"\n")
            size = int(head.split()[-1]) if head.split()[1:2] == [b"blob"] else -1
            if size < 0:
                raise self._unusable("a note of it cannot be read")
            yield rest[:size].splitlines()
            told = rest[size + 1 :]

    def _note(self, commit: bytes) -> list[bytes]:
        for line in self._git("notes", "--ref", REF, "list").decode().splitlines():
            blob, _, of = line.partition(" ")
            if of == commit.decode():
                return self._git("cat-file", "blob", blob).splitlines()
        return []

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the repository's folder: of our services one at a time notes anything there."""
        try:
            descriptor = os.open(self._repository, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise self._unusable(str(error.strerror)) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _git(self, *words: str, given: bytes = b"") -> bytes:
        """Return what a command of git says."""
        program = shutil.which("git")
        if program is None:
            raise self._unusable("git is not installed")
        environment = _ENVIRONMENT | {"PATH": os.environ.get("PATH", os.defpath), "HOME": os.devnull}
        try:
            done = subprocess.run(  # noqa: S603 - fixed words, in a repository that the user named
                [program, *_NEUTRAL, "-C", str(self._repository), *words],
                input=given,
                env=environment,
                capture_output=True,
                timeout=SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise self._unusable(str(error)) from error
        if done.returncode != 0 or len(done.stdout) > MOST_BYTES:
            said = done.stderr.decode("utf-8", "replace").strip().splitlines()
            raise self._unusable(said[-1] if said else "git refused")
        return done.stdout

    def _unusable(self, why: str) -> Unavailable:
        return Unavailable(
            "git_witness_unusable",
            f"The repository {self._repository} cannot be used for anchors: {why}.",
            "Name a git repository of yours that has a commit in ZC_WITNESS_GIT, or unset it.",
        )


def _of(lines: list[bytes], log: str) -> list[Anchor]:
    found = [parse_line(line, number) for number, line in enumerate(lines, 1) if line]
    return [anchor for anchor in found if anchor.point.log == log]
