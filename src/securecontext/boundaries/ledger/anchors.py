"""Anchors: checkpoints kept outside the database, so that a return to an older copy of it shows.

A file of lines, each canonical JSON ``{"log", "size", "kid", "ts", "note"}``, only ever appended to, by one at a time
(``flock``), each durable before it counts. Every service of the machine appends to the same file. A line is appended
only after a proof that the log has grown out of what was anchored before; otherwise the file keeps what it has, which
is then the evidence.

What lies at its end without a newline was never finished: a reader passes over it, the next writer takes it away.
Anything else that is no anchor is never passed over.
"""

from __future__ import annotations

import fcntl
import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from securecontext.boundaries import tree
from securecontext.boundaries.canonical import canonical
from securecontext.boundaries.ledger.notes import Checkpoint, open_note, parse_checkpoint, signer_of
from securecontext.boundaries.ledger.sequencer import Signed
from securecontext.boundaries.ledger.signers import Signers
from securecontext.boundaries.ledger.tiles import Tiles
from securecontext.types.errors import InvalidInput, Tampered, Unavailable
from securecontext.types.ids import timestamp

_FIELDS = frozenset({"log", "size", "kid", "ts", "note"})


@dataclass(frozen=True, slots=True)
class Anchor:
    """One line.

    Attributes:
        point: what the checkpoint says; nothing is verified yet.
        note: the signed checkpoint.
        ts: when it was anchored.
    """

    point: Checkpoint
    note: str
    ts: str

    def verified(self, signers: Signers) -> Checkpoint:
        """Return the checkpoint after checking its signatures.

        Raises:
            Tampered: they do not hold.
        """
        return parse_checkpoint(open_note(self.note, signers.keys(signer_of(self.note))))


class Anchors(Protocol):
    """Where checkpoints are anchored."""

    def read(self, log: str) -> list[Anchor]:
        """Return the anchors of a log.

        Raises:
            Tampered: what is there is none; ``line`` in its details says where.
            Unavailable: it cannot be read.
        """

    def append(self, signed: Signed, tiles: Tiles, moment: datetime) -> bool:
        """Anchor a checkpoint, after a proof that its log has grown out of what was anchored before.

        Raises:
            Tampered: it has not.
            Unavailable: it cannot be anchored now.
        """


class AnchorFile:
    """One file of anchors.

    Args:
        path: the file; its folder is made at the first use.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self, log: str) -> list[Anchor]:
        """Return the anchors of a log, in the order in which they were appended.

        Raises:
            Tampered: ``anchor_malformed``: a line is no anchor.
            Unavailable: ``anchor_file_unusable``.
        """
        return self.since(log, 0)[0]

    def since(self, log: str, offset: int) -> tuple[list[Anchor], int]:
        """Return the anchors of a log behind an offset, and the offset behind them all.

        Args:
            log: the log's id.
            offset: 0, or what was returned before.

        Raises:
            Tampered: ``anchor_malformed``: as `read`, or the file is shorter than it was.
            Unavailable: ``anchor_file_unusable``.
        """
        try:
            with self._opened(os.O_RDONLY) as descriptor:
                fcntl.flock(descriptor, fcntl.LOCK_SH)
                if offset and os.pread(descriptor, 1, offset - 1) != b"\n":
                    raise _malformed(0)
                return self._of(descriptor, log, offset)
        except FileNotFoundError:
            if offset:
                raise _malformed(0) from None
            return [], 0

    def append(self, signed: Signed, tiles: Tiles, moment: datetime) -> bool:
        """Anchor a checkpoint; return False where the log was anchored so far, or further, already.

        Args:
            signed: the checkpoint, committed.
            tiles: of its log, to prove that it has grown out of what was anchored before.
            moment: now.

        Raises:
            Tampered: ``anchor_inconsistent``: it has not; or ``anchor_malformed``.
            Unavailable: ``anchor_file_unusable``.
        """
        point = signed.point
        data = line_of(signed, moment) + b"\n"
        with self._opened(os.O_RDWR | os.O_CREAT | os.O_APPEND) as descriptor:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            self._drop_unfinished(descriptor)
            known, _ = self._of(descriptor, point.log)
            if known and goes_on(known[-1].point, point, tiles):
                return False
            _write(descriptor, data)
            return True

    def _of(self, descriptor: int, log: str, offset: int = 0) -> tuple[list[Anchor], int]:
        wanted = canonical({"log": log})[1:-1]
        found = []
        for number, line in enumerate(_lines(descriptor, offset), 1):
            offset += len(line) + 1
            anchor = parse_line(line, number) if wanted in line or not _plain(line) else None
            if anchor is not None and anchor.point.log == log:
                found.append(anchor)
        return found, offset

    def _drop_unfinished(self, descriptor: int) -> None:
        size = os.fstat(descriptor).st_size
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            whole = b"".join(line + b"\n" for line in _lines(descriptor))
            os.ftruncate(descriptor, len(whole))

    @contextmanager
    def _opened(self, flags: int) -> Iterator[int]:
        try:
            if flags & os.O_CREAT:
                self.path.parent.mkdir(mode=0o700, exist_ok=True)
            descriptor = os.open(self.path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise self._unusable(error) from error
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise Unavailable(
                    "anchor_file_unusable",
                    f"{self.path} is not a regular file.",
                    f"Move it away: `mv {self.path} …`.",
                )
            yield descriptor
        except OSError as error:
            raise self._unusable(error) from error
        finally:
            os.close(descriptor)

    def _unusable(self, error: OSError) -> Unavailable:
        return Unavailable(
            "anchor_file_unusable",
            f"The anchors in {self.path} cannot be read or written: {error.strerror}.",
            "Let the file be written to and free some room; nothing is lost meanwhile.",
        )


def goes_on(last: Checkpoint, point: Checkpoint, tiles: Tiles) -> bool:
    """Say whether the last anchor covers a checkpoint already.

    Raises:
        Tampered: the two cannot both be true.
    """
    if point.size <= last.size:
        same = point.root == last.root if point.size == last.size else tiles.root(last.size) == last.root
        if not same:
            raise _inconsistent(point.log)
        return True
    proof = tree.consistency_proof(last.size, point.size, tiles.node)
    if not tree.consistent(last.size, point.size, last.root, point.root, proof):
        raise _inconsistent(point.log)
    return False


def _plain(line: bytes) -> bool:
    """Say cheaply whether a line can be an anchor of another log: what cannot is looked at in full."""
    return line.startswith(b'{"kid":"') and line.endswith(b'"}') and b',"log":"' in line


def _lines(descriptor: int, offset: int = 0) -> Iterator[bytes]:
    """Yield the finished lines of a file, from an offset at which one begins."""
    rest = b""
    while chunk := os.pread(descriptor, 1 << 20, offset):
        offset += len(chunk)
        *whole, rest = (rest + chunk).split(b"\n")
        yield from whole


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
    os.fsync(descriptor)


def line_of(signed: Signed, moment: datetime) -> bytes:
    """Return the line by which a checkpoint is anchored."""
    point = signed.point
    line = {"log": point.log, "size": point.size, "kid": signer_of(signed.note)}
    return canonical({**line, "ts": timestamp(moment), "note": signed.note})


def parse_line(line: bytes, number: int) -> Anchor:
    """Return the anchor that a line holds; its exact spelling is demanded.

    Raises:
        Tampered: ``anchor_malformed``, with the line's number.
    """
    try:
        found = json.loads(line)
        if found.keys() != _FIELDS or canonical(found) != line or not isinstance(found["ts"], str):
            raise _malformed(number)
        text = found["note"].rpartition("\n\n")[0] + "\n"
        point = parse_checkpoint(text)
        if (point.log, point.size, signer_of(found["note"])) != (found["log"], found["size"], found["kid"]):
            raise _malformed(number)
    except (ValueError, TypeError, AttributeError, RecursionError, InvalidInput, Tampered):
        raise _malformed(number) from None
    return Anchor(point, found["note"], found["ts"])


def _malformed(number: int) -> Tampered:
    return Tampered(
        "anchor_malformed",
        f"Line {number} of the anchors is not what was written.",
        "Compare the file with another copy of it; put it back from a backup.",
        line=number,
    )


def _inconsistent(log: str) -> Tampered:
    return Tampered(
        "anchor_inconsistent",
        "The ledger has not grown out of what was anchored before: it was changed or put back.",
        "Run `zc audit verify`; keep both the database and the anchors as they are.",
        log=log,
    )
