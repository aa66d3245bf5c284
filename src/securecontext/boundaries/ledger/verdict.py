"""What a check of the ledger may answer: five statuses, and the closed list of ways in which a ledger is broken."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Status(StrEnum):
    """The five answers. Only `OK` is good, and it says nothing about what an anchor would have to prove."""

    OK = "OK"
    TAMPERED = "TAMPERED"
    ROLLED_BACK = "ROLLED_BACK"
    UNANCHORED = "UNANCHORED"
    INCOMPLETE = "INCOMPLETE"


class Broken(StrEnum):
    """How a place in the ledger is broken."""

    EMPTIED = "emptied"
    MISSING_ENTRY = "missing_entry"
    ALTERED_ENTRY = "altered_entry"
    ALTERED_COLUMN = "altered_column"
    BROKEN_LINK = "broken_link"
    ALTERED_BODY = "altered_body"
    MISSING_BODY = "missing_body"
    RETURNED_BODY = "returned_body"
    FOREIGN_BODY = "foreign_body"
    HEAD_MISMATCH = "head_mismatch"
    MISSING_HEAD = "missing_head"
    FOREIGN_KEY = "foreign_key"
    UNVOUCHED = "unvouched"
    ALTERED_LEAF = "altered_leaf"
    MISSING_LEAF = "missing_leaf"
    ROOT_MISMATCH = "root_mismatch"
    ALTERED_CHECKPOINT = "altered_checkpoint"
    MISSING_CHECKPOINT = "missing_checkpoint"
    ALTERED_SIGNERS = "altered_signers"
    ALTERED_ANCHOR = "altered_anchor"
    ANCHOR_MISMATCH = "anchor_mismatch"


EXPLAINED = {
    Broken.EMPTIED: "the log has no entries, although every log begins with one",
    Broken.MISSING_ENTRY: "an entry is missing",
    Broken.ALTERED_ENTRY: "the entry is not what was written: its MAC does not fit",
    Broken.ALTERED_COLUMN: "a column says something else than the signed entry",
    Broken.BROKEN_LINK: "the entry does not follow the one before it",
    Broken.ALTERED_BODY: "the body is not the one that the entry was written with",
    Broken.MISSING_BODY: "the body or its salt is missing, and no purge is entered that took it",
    Broken.RETURNED_BODY: "a body that was purged is there again",
    Broken.FOREIGN_BODY: "there is a body without an entry",
    Broken.HEAD_MISMATCH: "the stream's head does not name its newest entry, or its MAC does not fit",
    Broken.MISSING_HEAD: "the stream has entries and no head",
    Broken.FOREIGN_KEY: "the entry names a key that this installation does not hold",
    Broken.UNVOUCHED: "the entry's key is erased, and no checkpoint of its time speaks for it",
    Broken.ALTERED_LEAF: "the entry is not the one that was placed in the tree",
    Broken.MISSING_LEAF: "the entry that was placed here in the tree is missing",
    Broken.ROOT_MISMATCH: "the tree is not the one that was signed at this size",
    Broken.ALTERED_CHECKPOINT: "the checkpoint of this size is not one that was signed",
    Broken.MISSING_CHECKPOINT: "the checkpoint that was anchored at this size is missing",
    Broken.ALTERED_SIGNERS: "the list of signing keys is not what was written",
    Broken.ALTERED_ANCHOR: "a line of the anchors is not what was written",
    Broken.ANCHOR_MISMATCH: "the ledger is not the one that was anchored at this size",
}
OF_THE_TREE = frozenset(
    {
        Broken.MISSING_LEAF,
        Broken.ROOT_MISMATCH,
        Broken.ALTERED_CHECKPOINT,
        Broken.MISSING_CHECKPOINT,
        Broken.ALTERED_SIGNERS,
        Broken.ALTERED_ANCHOR,
        Broken.ANCHOR_MISMATCH,
    }
)
"""Findings that belong to no stream; their number is a place in the tree, a size, or a line."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One broken place.

    Attributes:
        kind: how.
        stream: of the place; empty for the log as a whole.
        seq: number within the stream; 0 where there is none.
        entry: the row's ``ledger_entries.entry``; None when the row is what is missing.
    """

    kind: Broken
    stream: str
    seq: int
    entry: int | None

    def sentence(self) -> str:
        """Return the finding for people."""
        if self.kind is Broken.EMPTIED:
            return f"{EXPLAINED[self.kind]}."
        if self.kind in OF_THE_TREE:
            return f"Tree, at {self.seq}: {EXPLAINED[self.kind]}."
        row = "" if self.entry is None else f" (row {self.entry})"
        return f"{self.stream} #{self.seq}{row}: {EXPLAINED[self.kind]}."


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a check found.

    Attributes:
        status: the answer.
        entries: entries of the log.
        streams: streams among them.
        agents: distinct claimed agents, the empty name left out.
        findings: broken places in the order of the check, `MOST_FINDINGS` at most.
        broken: count of all broken places.
        unanchored: entries that no anchor outside the database vouches for.
        checkpoints: signed checkpoints that were checked.
        read_error: why the check could not read to the end; None when it did.
        purged: entries among them whose body was purged, as an entry says.
        recovered: entries, whether read or not, that say that the log went on from a backup.
        checked: entries that this check read; the others were found good before.
        incremental: whether it began where an earlier one ended.
        full_at: when everything was read last; empty where nobody knows the time.
    """

    status: Status
    entries: int
    streams: int
    agents: int
    findings: tuple[Finding, ...]
    broken: int
    unanchored: int
    checkpoints: int = 0
    read_error: str | None = None
    purged: int = 0
    recovered: int = 0
    checked: int = 0
    incremental: bool = False
    full_at: str = ""

    @property
    def broken_at(self) -> Finding | None:
        """The first broken place."""
        return self.findings[0] if self.findings else None

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "status": self.status.value,
            "entries": self.entries,
            "streams": self.streams,
            "agents": self.agents,
            "checkpoints": self.checkpoints,
            "broken_at": _place(self.broken_at),
            "broken_kind": self.broken_at.kind.value if self.broken_at else None,
            "broken": self.broken,
            "unanchored": self.unanchored,
            "purged": self.purged,
            "recovered": self.recovered,
            "read_error": self.read_error,
            "check": "incremental" if self.incremental else "full",
            "checked": self.checked,
            "full_at": self.full_at or None,
            "findings": [{"kind": f.kind.value, **(_place(f) or {})} for f in self.findings],
        }

    def as_text(self) -> str:
        """Return the answer for people, in plain sentences."""
        what = f"{self.entries} entries in {self.streams} streams and {self.checkpoints} checkpoints"
        lines = [f"{self.status.value}: {what} were checked."]
        if self.incremental:
            when = self.full_at[:16].replace("T", " ")
            lines = [
                f"{self.status.value}: {what}. {self.checked} entries are new and were checked; the others were at the "
                f"last full check, {when} UTC, or after it. `zc audit verify --full` reads all of them again."
            ]
        lines += [finding.sentence() for finding in self.findings]
        if self.broken > len(self.findings):
            lines.append(f"… and {self.broken - len(self.findings)} more broken places.")
        if self.purged:
            lines.append(
                f"{self.purged} bodies were purged; that is entered, and what they said is not known any more."
            )
        if self.recovered:
            lines.append(
                f"The log went on from a backup ({self.recovered} times): what was written after such a backup is not "
                "in it, and for what it held the checkpoints speak, not the keys."
            )
        if self.read_error is not None:
            lines.append(f"The ledger could not be read to its end: {self.read_error}.")
        if self.status is Status.ROLLED_BACK:
            lines.append(
                "The anchors know a longer ledger: this one was put back to an older copy, or its end was cut off."
            )
        if self.status in (Status.OK, Status.UNANCHORED) and self.unanchored:
            lines.append(
                f"No anchor outside the database vouches for {self.unanchored} entries: they are as they were "
                "written, but their removal with their heads, or a return to an older copy, would not show."
            )
        return "\n".join(lines)


MOST_FINDINGS = 100


def _place(finding: Finding | None) -> dict[str, Any] | None:
    return None if finding is None else {"stream": finding.stream, "seq": finding.seq, "entry": finding.entry}
