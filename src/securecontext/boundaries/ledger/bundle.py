"""What an outsider is given to check a ledger with: signers, checkpoints and entries; and the check itself. Pure.

A bundle is lines of canonical JSON, in this order:

* ``{"type": "bundle", "v": 1, "log"}``
* ``{"type": "signer", "line"}``, oldest first: a line of ``signers.log`` as text (see ``signers``)
* ``{"type": "checkpoint", "note"}``, smallest first (see ``notes``)
* of an export, every leaf of the tree in order: ``{"type": "entry", "leaf", "canonical", "mac"}`` with the entry's
  canonical bytes as text and its MAC in hex; with bodies ``"salt"`` (hex) and ``"body"`` (text), or ``"purged"``: when
  the body was purged, which an entry of kind ``purge`` must say (see ``purge``)
* of a proof, one entry, and ``{"type": "inclusion", "leaf", "size", "hashes"}`` with the hashes in hex, lowest first

With the fingerprint of the first signer, which the auditor has from elsewhere, this proves: the entries are those that
were signed, at their places, complete up to the last checkpoint (an export) or part of it (a proof). MACs are not
checked, for that takes the secret key; they are part of what is signed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from securecontext.boundaries import chain, tree
from securecontext.boundaries.canonical import canonical
from securecontext.boundaries.ledger.notes import Checkpoint, open_note, parse_checkpoint, signer_of
from securecontext.boundaries.ledger.purge import Gaps
from securecontext.boundaries.ledger.signers import Signers
from securecontext.boundaries.ledger.verdict import EXPLAINED, Broken
from securecontext.types.errors import InvalidInput, Tampered

VERSION = 1
MOST_PROBLEMS = 100
_ORDER = {"bundle": 0, "signer": 1, "checkpoint": 2, "entry": 3, "inclusion": 3}
"""Kinds of lines in the order that is demanded: what is signed is known before anything is held against it."""


@dataclass(slots=True)
class Report:
    """What a check of a bundle found.

    Attributes:
        log: the log's id.
        pinned: fingerprint of the first signer.
        recovered: fingerprints of signers that nobody endorsed: the log was restored from a backup.
        entries: entries that were checked.
        size: leaves under the last checkpoint.
        checkpoints: whose signatures hold.
        purged: entries whose body was purged.
        proof: whether the bundle proves single entries instead of showing all.
        problems: what is wrong, a sentence each, `MOST_PROBLEMS` at most.
    """

    log: str = ""
    pinned: str = ""
    recovered: tuple[str, ...] = ()
    entries: int = 0
    size: int = 0
    checkpoints: int = 0
    purged: int = 0
    proof: bool = False
    problems: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether everything holds."""
        return not self.problems

    def problem(self, sentence: str) -> None:
        """Note what is wrong."""
        if len(self.problems) < MOST_PROBLEMS:
            self.problems.append(sentence)


def head_lines(log: str, signers: Signers, notes: Iterable[str]) -> Iterator[bytes]:
    """Yield the lines that every bundle begins with."""
    yield canonical({"type": "bundle", "v": VERSION, "log": log})
    for line in signers.lines:
        yield canonical({"type": "signer", "line": line.decode()})
    for note in notes:
        yield canonical({"type": "checkpoint", "note": note})


def entry_line(
    leaf: int, data: bytes, mac: bytes, salt: bytes | None, body: bytes | None, purged: str | None = None
) -> bytes:
    """Return the line of an entry."""
    out: dict[str, Any] = {"type": "entry", "leaf": leaf, "canonical": data.decode(), "mac": mac.hex()}
    if salt is not None and body is not None:
        out |= {"salt": salt.hex(), "body": body.decode()}
    elif purged is not None:
        out["purged"] = purged
    return canonical(out)


def inclusion_line(leaf: int, size: int, hashes: Iterable[bytes]) -> bytes:
    """Return the line that proves an entry to be in the tree."""
    shown = [each.hex() for each in hashes]
    return canonical({"type": "inclusion", "leaf": leaf, "size": size, "hashes": shown})


def check(lines: Iterable[bytes], *pinned: str) -> Report:
    """Return what a bundle proves. Never raises.

    Args:
        lines: of the bundle, without their newlines.
        pinned: the fingerprints that the auditor has from elsewhere; without any the bundle's first is taken and told,
            but none of a signer that nobody endorsed.
    """
    reading = _Reading(frozenset(pinned))
    for number, line in enumerate(lines, 1):
        try:
            reading.line(line)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, InvalidInput):
            reading.report.problem(f"Line {number} is no line of a bundle.")
        except Tampered as error:
            reading.report.problem(f"Line {number}: {error.message}")
    reading.end()
    return reading.report


class _Reading:
    """The state of one check."""

    def __init__(self, pinned: frozenset[str]) -> None:
        self.report = Report()
        self._pinned = pinned
        self._lines: list[bytes] = []
        self._signers: Signers | None = None
        self._points: dict[int, Checkpoint] = {}
        self._grown = tree.Growing()
        self._leaf: tuple[int, bytes] | None = None
        self._streams: dict[str, tuple[int, str]] = {}
        self._proved = 0
        self._gaps = Gaps()
        self._stage = -1

    def line(self, data: bytes) -> None:
        found = json.loads(data)
        stage = _ORDER[found["type"]]
        if stage < self._stage or (stage == 0) != (self._stage < 0):
            raise ValueError
        self._stage = stage
        match found["type"]:
            case "bundle":
                if found["v"] != VERSION or type(found["log"]) is not str:
                    raise ValueError
                self.report.log = found["log"]
            case "signer":
                self._lines.append(found["line"].encode())
            case "checkpoint":
                self._checkpoint(found["note"])
            case "entry":
                self._entry(found)
            case _:
                self._inclusion(found)

    def _known(self) -> Signers:
        if self._signers is None:
            self._signers = Signers([])  # a bad list is read once, not again for each checkpoint
            self._signers = Signers(self._lines)
            self.report.pinned = self._signers.pinned
            self.report.recovered = self._signers.fingerprints[1:]
            if self._pinned and self._signers.pinned not in self._pinned:
                self.report.problem("The first signer is not one whose fingerprint you gave.")
            for keys in self._signers.begins[1:]:
                if keys.fingerprint not in self._pinned:
                    self.report.problem(
                        f"From {keys.kid} on nobody endorsed the keys: the log was restored from a backup. If that is "
                        f"so, give the new fingerprint too, as you got it by another way: {keys.fingerprint}."
                    )
        return self._signers

    def _checkpoint(self, note: str) -> None:
        point = parse_checkpoint(open_note(note, self._known().keys(signer_of(note))))
        if point.log != self.report.log or point.size < self.report.size:
            raise ValueError
        known = self._points.setdefault(point.size, point)
        if known != point:
            self.report.problem(f"Two checkpoints of size {point.size} say different things.")
        self.report.size = point.size
        self.report.checkpoints += 1

    def _entry(self, found: dict[str, Any]) -> None:
        data, mac, leaf = found["canonical"].encode(), bytes.fromhex(found["mac"]), found["leaf"]
        entry = chain.decode(data)
        if entry.log != self.report.log:
            raise ValueError
        if "body" in found and (
            chain.body_digest(bytes.fromhex(found["salt"]), found["body"].encode()) != entry.body_digest
        ):
            self.report.problem(
                f"{entry.stream} #{entry.seq}: the body is not the one that it was written with."
            )
        if "purged" in found:
            self._gaps.missing(entry.stream, entry.seq, entry.body_digest, found["purged"])
        elif entry.kind == "purge" and "body" in found:
            self._gaps.claim(found["body"].encode())
        self.report.entries += 1
        self._leaf = (leaf, tree.leaf_hash(data + mac))
        if leaf == self._grown.size:
            self._follows(entry, chain.entry_hash(data, mac))
            self._grow(self._leaf[1])

    def _follows(self, entry: chain.Entry, digest: str) -> None:
        """Check that an entry of an export follows the one before it in its stream."""
        last, prev = self._streams.get(entry.stream, (0, chain.genesis(entry.log, entry.stream)))
        if (entry.seq, entry.prev) != (last + 1, prev):
            self.report.problem(f"{entry.stream} #{entry.seq} does not follow the entry before it.")
        self._streams[entry.stream] = (entry.seq, digest)

    def _grow(self, leaf: bytes) -> None:
        self._grown.append(leaf)
        point = self._points.get(self._grown.size)
        if point is not None and point.root != self._grown.root():
            self.report.problem(f"The entries are not those that were signed at size {point.size}.")

    def _inclusion(self, found: dict[str, Any]) -> None:
        self.report.proof = True
        hashes = [bytes.fromhex(each) for each in found["hashes"]]
        point = self._points[found["size"]]
        (leaf, digest), self._leaf = self._leaf or (-1, b""), None  # a proof speaks for one entry
        if leaf != found["leaf"] or not tree.included(digest, leaf, point.size, hashes, point.root):
            self.report.problem(f"The entry at {found['leaf']} is not proved to be in the tree.")
            return
        self._proved += 1

    def end(self) -> None:
        report = self.report
        if not report.log or not report.checkpoints or not report.entries:
            report.problem("The bundle lacks a head, a checkpoint or entries.")
        elif report.proof and self._proved != report.entries:
            report.problem("An entry has no proof.")
        elif not report.proof and not self._grown.size == report.size == report.entries:
            report.problem(f"The bundle holds {self._grown.size} entries of {report.size} that were signed.")
        report.purged = self._gaps.bodies
        for broken, stream, seq in () if report.proof else self._gaps.unexplained():
            if broken is Broken.MISSING_BODY:  # bodies may be left out of a bundle
                report.problem(f"{stream} #{seq}: {EXPLAINED[broken]}.")
