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
    FOREIGN_BODY = "foreign_body"
    HEAD_MISMATCH = "head_mismatch"
    MISSING_HEAD = "missing_head"
    FOREIGN_KEY = "foreign_key"


EXPLAINED = {
    Broken.EMPTIED: "the log has no entries, although every log begins with one",
    Broken.MISSING_ENTRY: "an entry is missing",
    Broken.ALTERED_ENTRY: "the entry is not what was written: its MAC does not fit",
    Broken.ALTERED_COLUMN: "a column says something else than the signed entry",
    Broken.BROKEN_LINK: "the entry does not follow the one before it",
    Broken.ALTERED_BODY: "the body is not the one that the entry was written with",
    Broken.MISSING_BODY: "the body or its salt is missing",
    Broken.FOREIGN_BODY: "there is a body without an entry",
    Broken.HEAD_MISMATCH: "the stream's head does not name its newest entry, or its MAC does not fit",
    Broken.MISSING_HEAD: "the stream has entries and no head",
    Broken.FOREIGN_KEY: "the entry names a key that this installation does not hold",
}


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
        row = "" if self.entry is None else f" (row {self.entry})"
        return f"{self.stream} #{self.seq}{row}: {EXPLAINED[self.kind]}."


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a check found.

    Attributes:
        status: the answer.
        entries: entries that were read and checked.
        streams: streams among them.
        agents: distinct claimed agents, the empty name left out.
        findings: broken places in the order of the check, `MOST_FINDINGS` at most.
        broken: count of all broken places.
        unanchored: entries that no anchor outside the database vouches for.
        checkpoints: signed checkpoints that were checked.
        read_error: why the check could not read to the end; None when it did.
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
            "read_error": self.read_error,
            "findings": [{"kind": f.kind.value, **(_place(f) or {})} for f in self.findings],
        }

    def as_text(self) -> str:
        """Return the answer for people, in plain sentences."""
        lines = [f"{self.status.value}: {self.entries} entries in {self.streams} streams were checked."]
        lines += [finding.sentence() for finding in self.findings]
        if self.broken > len(self.findings):
            lines.append(f"… and {self.broken - len(self.findings)} more broken places.")
        if self.read_error is not None:
            lines.append(f"The ledger could not be read to its end: {self.read_error}.")
        if self.status is Status.OK and self.unanchored:
            lines.append(
                f"No anchor outside the database vouches for {self.unanchored} entries: they are as they were "
                "written, but whole streams removed with their heads, or a return to an older copy, would not show."
            )
        return "\n".join(lines)


MOST_FINDINGS = 100


def _place(finding: Finding | None) -> dict[str, Any] | None:
    return None if finding is None else {"stream": finding.stream, "seq": finding.seq, "entry": finding.entry}
