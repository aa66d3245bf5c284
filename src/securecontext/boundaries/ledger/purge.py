"""Bodies of the ledger are purged here, and what speaks for their absence is written down and checked here.

A purged body leaves its row with a time and neither salt nor body; entry, chain and tree stay as they are. Which bodies
were purged stands in the body of an entry of kind ``purge``, committed with the purge: ``purged_at`` and ``purged``, a
list of ``{"stream", "first", "last", "digest"}`` for each run of numbers, where ``digest`` is the hex SHA-256 over the
``body_digest`` (32 bytes each) of the entries from ``first`` to ``last``. A body that is missing without that was taken
by somebody else.
"""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, func, select, update

from securecontext.boundaries import chain
from securecontext.boundaries.ledger.verdict import Broken
from securecontext.contracts import ensure, require
from securecontext.storage.tables import ledger_bodies, ledger_entries, ledger_heads
from securecontext.types.ids import timestamp
from securecontext.types.ledger import PROOFS, EntryKind, stream_of

DIGEST_BYTES = 32
SYSTEM = "system/"
AT_ONCE = 5_000
"""Entries that retention looks at in one transaction."""

e, h, b = ledger_entries.c, ledger_heads.c, ledger_bodies.c
_same = (b.log == e.log) & (b.stream == e.stream) & (b.seq == e.seq)
_with_body = (
    select(e.stream, e.seq, e.kind, e.body_digest)
    .select_from(ledger_entries.join(ledger_bodies, _same))
    .where(e.log == bindparam("in_log"), b.body.is_not(None))
    .order_by(e.stream, e.seq)
)
_of_stream = _with_body.where(e.stream == bindparam("in_stream"))
_between = _with_body.where(e.entry > bindparam("after"), e.entry <= bindparam("up_to"))
_next = (
    select(e.entry, e.ts)
    .where(e.log == bindparam("in_log"), e.entry > bindparam("after"))
    .order_by(e.entry)
    .limit(AT_ONCE)
)
_streams = select(h.stream).where(h.log == bindparam("in_log")).order_by(h.stream)
_take = (
    update(ledger_bodies)
    .where(
        b.log == bindparam("in_log"),
        b.stream == bindparam("in_stream"),
        b.seq >= bindparam("from_seq"),
        b.seq <= bindparam("to_seq"),
    )
    .values(salt=None, body=None, purged_at=bindparam("moment"))
)
_blank = (
    update(ledger_bodies)
    .where(b.log == bindparam("in_log"), b.purged_at.is_(None))
    .values(salt=None, body=None, purged_at=bindparam("moment"))
)


@dataclass(frozen=True, slots=True)
class Range:
    """A run of entries of one stream whose bodies were purged together."""

    stream: str
    first: int
    last: int
    digest: str

    def as_dict(self) -> dict[str, Any]:
        """Return the form in which the entry of the purge names it."""
        return {"stream": self.stream, "first": self.first, "last": self.last, "digest": self.digest}


@dataclass(frozen=True, slots=True)
class Purged:
    """What was purged.

    Attributes:
        ranges: for the body of the entry.
        at: the time that its rows carry.
        bodies: how many.
        kept: bodies that were left because the caller said so.
        spans: the principals whose streams were purged, each with the time of its first and its last entry.
    """

    ranges: tuple[Range, ...]
    at: str
    bodies: int
    kept: int
    spans: tuple[tuple[str, str, str], ...] = ()

    def told(self) -> dict[str, Any]:
        """Return what the body of the purge's entry says."""
        return {"purged_at": self.at, "purged": [each.as_dict() for each in self.ranges]}


def blank(connection: Connection, logs: Sequence[str], moment: str) -> None:
    """Blank every body of some ledgers, whose project is deleted in a database where no entry is."""
    for log in logs:
        connection.execute(_blank, {"in_log": log, "moment": moment})


def streams_of(connection: Connection, log: str, session: str, by: str | None = None) -> list[str]:
    """Return the streams of a session: one for each principal that called in it, the system's own left out.

    Args:
        connection: for reading.
        log: the log's id.
        session: its name.
        by: one principal alone; None for every one.
    """
    found = connection.execute(_streams, {"in_log": log}).scalars().all()
    if by is not None:
        return [stream for stream in found if stream == stream_of(by, session)]
    return [s for s in found if s.partition("/")[2] == session and not s.startswith(SYSTEM)]


def purge_streams(
    connection: Connection, log: str, streams: Sequence[str], moment: datetime, kept: Iterable[EntryKind] = ()
) -> Purged:
    """Purge the bodies of whole streams, as far as they are committed. The caller enters what is returned.

    Args:
        connection: in a transaction that writes; the entry of the purge goes into it too.
        log: the log's id.
        streams: of the log.
        moment: now.
        kept: kinds whose bodies stay, beside those that a check of the ledger needs.
    """
    rows = [
        row
        for stream in streams
        for row in connection.execute(_of_stream, {"in_log": log, "in_stream": stream}).all()
    ]
    purged = _purge(connection, log, rows, moment, frozenset(kept))
    return replace(purged, spans=tuple(spans(connection, log, streams)))


def spans(connection: Connection, log: str, streams: Sequence[str]) -> list[tuple[str, str, str]]:
    """Return the principals of some streams, each with the time of its first and its last entry."""
    query = (
        select(e.principal, func.min(e.ts), func.max(e.ts))
        .where(e.log == log, e.stream.in_(streams))
        .group_by(e.principal)
    )
    return [(str(who), str(first), str(last)) for who, first, last in connection.execute(query)]


@dataclass(frozen=True, slots=True)
class Aged:
    """What a step of retention did.

    Attributes:
        purged: the bodies.
        up_to: the last row that was looked at and needs no second look.
        more: whether rows after it may be old enough too.
    """

    purged: Purged
    up_to: int
    more: bool


@require(lambda before, moment: before <= moment, "what is yet to come is not old")
def purge_old(connection: Connection, log: str, after: int, before: datetime, moment: datetime) -> Aged:
    """Purge the bodies of entries from before a time, in the order of their arrival, `AT_ONCE` rows at most.

    Args:
        connection: in a transaction that writes; the entry of the purge goes into it too.
        log: the log's id.
        after: the row that an earlier step came to; 0 for none.
        before: younger bodies stay.
        moment: now.
    """
    rows = connection.execute(_next, {"in_log": log, "after": after}).all()
    border = timestamp(before)
    old: list[int] = []
    for row in rows:
        if row.ts >= border:
            break
        old.append(row.entry)
    up_to = old[-1] if old else after
    found = connection.execute(_between, {"in_log": log, "after": after, "up_to": up_to}).all()
    purged = _purge(connection, log, found, moment, frozenset())
    return Aged(purged, up_to, more=len(old) == AT_ONCE)


@ensure(
    lambda result: sum(r.last - r.first + 1 for r in result.ranges) == result.bodies,
    "every purged body is named by the entry of the purge",
)
def _purge(
    connection: Connection, log: str, rows: Sequence[Any], moment: datetime, kept: frozenset[str]
) -> Purged:
    at = timestamp(moment)
    taken = [row for row in rows if row.kind not in PROOFS and row.kind not in kept]
    ranges = list(_ranges(taken))
    if ranges:
        connection.execute(
            _take,
            [
                {"in_log": log, "in_stream": r.stream, "from_seq": r.first, "to_seq": r.last, "moment": at}
                for r in ranges
            ],
        )
    return Purged(tuple(ranges), at, len(taken), sum(row.kind in kept for row in rows))


def _ranges(rows: Iterable[Any]) -> Iterator[Range]:
    """Yield the runs of rows in the order of stream and number."""
    run: list[Any] = []
    for row in rows:
        if run and (row.stream, row.seq) != (run[-1].stream, run[-1].seq + 1):
            yield _range(run)
            run = []
        run.append(row)
    if run:
        yield _range(run)


def _range(run: Sequence[Any]) -> Range:
    try:
        digests = b"".join(bytes.fromhex(row.body_digest) for row in run)
    except (ValueError, TypeError):
        raise chain.malformed() from None
    return Range(run[0].stream, run[0].seq, run[-1].seq, hashlib.sha256(digests).hexdigest())


# The check


@dataclass(slots=True)
class _Run:
    """Entries of one stream without a body, one after another, purged at one time as their rows say."""

    first: int
    at: object
    digests: bytearray = field(default_factory=bytearray)
    covered: bytearray = field(default_factory=bytearray)

    @property
    def last(self) -> int:
        return self.first + len(self.covered) - 1


class Gaps:
    """Bodies that are missing, held against the entries that say that they were purged. Pure."""

    def __init__(self) -> None:
        self._runs: dict[str, list[_Run]] = {}
        self._claims: list[tuple[Range, str]] = []
        self.bodies = 0

    def missing(self, stream: str, seq: int, digest: str, at: object) -> None:
        """Note that an entry has no body; the numbers of a stream come in their order.

        Args:
            stream: of the entry.
            seq: its number there.
            digest: its ``body_digest``.
            at: when its body was purged, as its row says; None where it says nothing.
        """
        runs = self._runs.setdefault(stream, [])
        if not runs or runs[-1].last != seq - 1 or runs[-1].at != at:
            runs.append(_Run(seq, at))
        runs[-1].digests += bytes.fromhex(digest)
        runs[-1].covered.append(0)
        self.bodies += 1

    def claim(self, body: bytes) -> None:
        """Take the body of an authentic entry of kind ``purge``; one that names nothing explains nothing."""
        try:
            found: Mapping[str, Any] = json.loads(body)
            at = found["purged_at"]
            self._claims += [
                (Range(str(r["stream"]), int(r["first"]), int(r["last"]), str(r["digest"])), at)
                for r in found["purged"]
            ]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return

    def unexplained(self) -> Iterator[tuple[Broken, str, int]]:
        """Yield every body that is missing without a purge, and the first of each purge that is there again."""
        for claimed, at in self._claims:
            again = self._cover(claimed, at)
            if again is not None:
                yield Broken.RETURNED_BODY, claimed.stream, again
        for stream, runs in self._runs.items():
            for run in runs:
                for index, covered in enumerate(run.covered):
                    if not covered:
                        yield Broken.MISSING_BODY, stream, run.first + index

    def _cover(self, claimed: Range, at: str) -> int | None:
        """Mark what a purge explains; return the first number that it names and that has a body, if any."""
        runs = self._runs.get(claimed.stream, [])
        index = bisect_right(runs, claimed.first, key=lambda each: each.first) - 1
        run = runs[index] if index >= 0 else None
        if run is None or run.last < claimed.first:
            return claimed.first
        if run.last < claimed.last:
            following = runs[index + 1] if index + 1 < len(runs) else None
            split = (
                following is not None and following.first == run.last + 1
            )  # by its time: that is not explained
            return None if split else run.last + 1
        start, end = claimed.first - run.first, claimed.last - run.first + 1
        digest = hashlib.sha256(run.digests[start * DIGEST_BYTES : end * DIGEST_BYTES]).hexdigest()
        if (run.at, digest) == (at, claimed.digest) and start < end:
            run.covered[start:end] = b"\1" * (end - start)
        return None
