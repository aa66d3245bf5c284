"""The ledger's verifier: skips no entry of what it is to read, and never calls a ledger good that it could not read.

Statements that are each consistent in themselves, so a writer at work does not make a sound ledger look broken:

1. the signed checkpoints;
2. every entry with its body, with its stream's head if that names it, and with its leaf of the tree; then every head
   that names no entry, every body without an entry, every leaf without one, and every missing body against the
   entries of purges (``verify_entries``);
3. the nodes of the tree against the leaves, and each signed root against them (``verify_tree``);
4. what was anchored outside the database against the tree (``verify_anchors``).

A **full** check reads all of it. An **incremental** one begins at the mark of a good check (``marks``) and does the
same with what came after: entries, leaves, checkpoints, anchors. It begins from the tree that the mark names, so
nothing new can stand on another past; what was changed in the rows below the mark is for the full check to find. An
incremental check that stumbles over anything is not believed: a full one is made, and its answer is given. So it is
after a purge, whose entry names bodies below the mark.

What came after the last anchor out of the attacker's reach can be cut off with heads of that time, unseen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, func, select
from sqlalchemy.exc import SQLAlchemyError

from securecontext.boundaries.keys import Keyring
from securecontext.boundaries.ledger.anchors import Anchor, AnchorFile, Anchors
from securecontext.boundaries.ledger.marks import MOST_AGENTS, Mark
from securecontext.boundaries.ledger.signers import Signers, read
from securecontext.boundaries.ledger.tiles import Tiles
from securecontext.boundaries.ledger.verdict import Broken, Status, Verdict
from securecontext.boundaries.ledger.verify_anchors import Anchored, check_anchors
from securecontext.boundaries.ledger.verify_entries import Check, Pace
from securecontext.boundaries.ledger.verify_tree import Signed, check_tree, read_checkpoints, root_at
from securecontext.storage.tables import ledger_entries
from securecontext.types.errors import Tampered, Unavailable
from securecontext.types.ids import timestamp

GRACE = timedelta(minutes=10)
"""How old an entry may become before it must be under an anchor."""

e = ledger_entries.c


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a check says, and the mark at which the next one may begin; None where it may not."""

    verdict: Verdict
    mark: Mark | None


def verify(
    connection: Connection,
    log: str,
    keyring: Keyring,
    *,
    anchors: Sequence[Anchors] = (),
    moment: datetime | None = None,
    witness: Mark | None = None,
    pace: Pace | None = None,
) -> Verdict:
    """Check a whole log; see `full`."""
    return full(connection, log, keyring, anchors=anchors, moment=moment, witness=witness, pace=pace).verdict


def full(
    connection: Connection,
    log: str,
    keyring: Keyring,
    *,
    anchors: Sequence[Anchors] = (),
    moment: datetime | None = None,
    witness: Mark | None = None,
    pace: Pace | None = None,
) -> Outcome:
    """Check a whole log.

    Args:
        connection: for reading; no transaction of the caller's is changed.
        log: the log's id.
        keyring: holds the ledger root, and names the signers.
        anchors: what is known of the log outside the database; none where nobody keeps any.
        moment: now; without it no entry is too old to be without an anchor.
        witness: a mark of an earlier check, which knows how the log was then, as an anchor does.
        pace: called now and then, for a check that lets others pass.

    Returns:
        ``TAMPERED`` when something is not as it was written; else ``ROLLED_BACK`` when an anchor knows more than the
        log; else ``INCOMPLETE`` when not everything could be read; else ``UNANCHORED`` when entries older than `GRACE`
        are under no anchor; else ``OK``.
    """
    run = _Run(connection, log, keyring, Check(connection, log, keyring, None, pace), moment)
    run.all(anchors, witness)
    return run.outcome(None)


def incremental(
    connection: Connection,
    log: str,
    keyring: Keyring,
    since: Mark,
    *,
    anchors: Sequence[AnchorFile],
    moment: datetime,
) -> Outcome:
    """Check what came after a mark. Its answer counts only when it is ``OK`` or ``UNANCHORED``.

    Args:
        connection: for reading.
        log: the log's id.
        keyring: as for `full`.
        since: authentic, and of this log.
        anchors: the first of them is read behind the mark's offset.
        moment: now.
    """
    run = _Run(connection, log, keyring, Check(connection, log, keyring, since, None), moment)
    run.new(anchors, since)
    return run.outcome(since)


class _Run:
    """One check, its parts in their order."""

    def __init__(
        self, connection: Connection, log: str, keyring: Keyring, check: Check, moment: datetime | None
    ) -> None:
        self._connection = connection
        self._log = log
        self._keyring = keyring
        self._check = check
        self._moment = moment
        self._signed = Signed()
        self._anchored = Anchored()
        self._offset = 0
        self._read_error: str | None = None
        self._late = False
        self._recovered = 0
        """Entries below the mark that say that the log went on from a backup."""

    def all(self, anchors: Sequence[Anchors], witness: Mark | None) -> None:
        """Read everything."""
        try:
            signers = self._signers()
            self._read_tree(signers, 0)
            for number, source in enumerate(anchors):
                self._anchors(signers, source, first=number == 0)
            self._hear(witness)
            self._judge_age()
        except (SQLAlchemyError, OSError, UnicodeDecodeError, Unavailable) as error:
            self._failed(error)

    def new(self, anchors: Sequence[AnchorFile], since: Mark) -> None:
        """Read what came after a mark."""
        self._anchored, self._offset = Anchored(since.anchored), since.offset
        try:
            signers = self._signers()
            self._read_tree(signers, since.size)
            if len(signers.begins) > 1:  # restored once: then it is told each time
                known = select(func.count()).select_from(ledger_entries)
                here = (e.log == self._log, e.kind == "recovered", e.leaf_index < since.size)
                self._recovered = int(self._connection.execute(known.where(*here)).scalar_one())
            self._hear(since)
            if anchors:
                self._new_anchors(signers, anchors[0])
            self._judge_age()
        except (SQLAlchemyError, OSError, UnicodeDecodeError, Unavailable) as error:
            self._failed(error)

    def _failed(self, error: Exception) -> None:
        cause = getattr(error, "orig", None) or error
        self._read_error = f"{cause} (after {self._check.entries} entries)"

    def _signers(self) -> Signers:
        try:
            return read(self._keyring)
        except Tampered:
            self._check.note(Broken.ALTERED_SIGNERS, "", 0)
            return Signers([])

    def _read_tree(self, signers: Signers, since: int) -> None:
        self._signed = read_checkpoints(self._connection, self._log, signers, self._check.note, since)
        self._check.run(self._signed, signers)
        check_tree(self._connection, self._log, self._signed, self._check.note, since)

    def _anchors(self, signers: Signers, source: Anchors, *, first: bool) -> None:
        """Hold what one source has anchored against the tree."""
        try:
            if first and isinstance(source, AnchorFile):
                known, self._offset = source.since(self._log, 0)
            else:
                known = source.read(self._log)
        except Tampered as error:
            self._check.note(Broken.ALTERED_ANCHOR, "", error.details.get("line", 0))
            return
        self._hold(signers, known)

    def _new_anchors(self, signers: Signers, source: AnchorFile) -> None:
        try:
            known, self._offset = source.since(self._log, self._offset)
        except Tampered:
            self._check.note(Broken.ALTERED_ANCHOR, "", 0)
            return
        self._hold(signers, known)

    def _hold(self, signers: Signers, known: Sequence[Anchor]) -> None:
        found = check_anchors(self._connection, self._log, signers, known, self._signed, self._check.note)
        self._anchored = Anchored(max(found.size, self._anchored.size), found.beyond or self._anchored.beyond)

    def _hear(self, witness: Mark | None) -> None:
        """Hold the log against what an earlier check saw."""
        if witness is None:
            return
        if witness.size > self._signed.size:
            self._anchored = Anchored(self._anchored.size, beyond=True)
        elif root_at(Tiles(self._connection, self._log), witness.size).hex() != witness.root:
            self._check.note(Broken.ANCHOR_MISMATCH, "", witness.size)

    def _judge_age(self) -> None:
        """See whether an entry that is under no anchor is older than it may be."""
        if self._moment is None:
            return
        old = select(e.entry).where(e.log == self._log, e.ts < timestamp(self._moment - GRACE)).limit(1)
        places = (
            old.where(e.leaf_index.is_(None)),
            old.where(e.leaf_index.is_not(None), e.leaf_index >= self._anchored.size),
        )
        self._late = any(self._connection.execute(query).first() is not None for query in places)

    def outcome(self, since: Mark | None) -> Outcome:
        """Return the answer."""
        check = self._check
        if check.broken:
            status = Status.TAMPERED
        elif self._anchored.beyond:
            status = Status.ROLLED_BACK
        elif self._read_error is not None:
            status = Status.INCOMPLETE
        else:
            status = Status.UNANCHORED if self._late else Status.OK
        entries = check.entries + (since.size if since else 0)
        checkpoints = len(self._signed.points) + (since.checkpoints if since else 0)
        full_at = since.full_at if since else timestamp(self._moment) if self._moment else ""
        verdict = Verdict(
            status, entries, check.streams, len(check.agents), tuple(check.findings), check.broken,
            unanchored=max(entries - self._anchored.size, 0), checkpoints=checkpoints, read_error=self._read_error,
            checked=check.entries, purged=check.gaps.bodies, recovered=check.recovered + self._recovered,
            incremental=since is not None, full_at=full_at,
        )  # fmt: skip
        good = status in (Status.OK, Status.UNANCHORED)
        return Outcome(verdict, self._mark(checkpoints, full_at) if good and full_at else None)

    def _mark(self, checkpoints: int, full_at: str) -> Mark | None:
        """Return the mark of a good check."""
        if not self._signed.points or len(self._check.agents) > MOST_AGENTS:
            return None
        newest = self._signed.points[-1]
        at_end = sum(point.size == newest.size for point in self._signed.points)
        return Mark(
            log=self._log,
            kid=self._keyring.kid,
            size=newest.size,
            root=newest.root.hex(),
            last=self._check.last_row,
            checkpoints=checkpoints - at_end,
            anchored=self._anchored.size,
            offset=self._offset,
            agents=tuple(sorted(self._check.agents)),
            full_at=full_at,
        )
