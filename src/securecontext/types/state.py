"""Stored state as the invariants see it, and what is wrong with it; see ``contracts.state``."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HeadState:
    """A stream of a ledger.

    Attributes:
        name: of the stream.
        seq, head: as the stored head says; None where there is no head.
        newest_seq, newest_hash: of the newest entry; 0 and empty where there is none.
        authentic: the head is made with our key, or its key is erased.
    """

    name: str
    seq: int | None
    head: str | None
    newest_seq: int
    newest_hash: str
    authentic: bool


@dataclass(frozen=True, slots=True)
class LeaseState:
    """A lease of the sequencer, with the present moment and how far ahead one may run; moments in their stored form."""

    name: str
    holder: str
    own: str
    fence: int
    until: str
    now: str
    longest: str


@dataclass(frozen=True, slots=True)
class TreeState:
    """The tree of a log: how many entries have a place, and how many the newest checkpoint signs."""

    name: str
    placed: int
    signed: int


@dataclass(frozen=True, slots=True)
class NotebookState:
    """A notebook: how many facts are active, and the most that one may ever hold."""

    name: str
    facts: int
    most: int


@dataclass(frozen=True, slots=True)
class SealedState:
    """A text of a class that is stored sealed: its id, and whether what lies there carries the mark of a sealed one."""

    name: str
    marked: bool


@dataclass(frozen=True, slots=True)
class TaskLeaseState:
    """A task that is claimed, with how far ahead a lease may run; moments in their stored form.

    Attributes:
        holder: the principal that claimed it; empty for none.
        until: when its lease ends; empty for never.
    """

    name: str
    fence: int
    holder: str
    until: str
    longest: str


@dataclass(frozen=True, slots=True)
class TokenState:
    """A session token that counts.

    Attributes:
        name: its id.
        issued, expires, longest: its times, and the latest end that one issued until now may have.
        key: id of the key that signed it; empty where it is not known.
        own_key: id of the key that signs now.
        issuer_revoked: whether the token that issued it was revoked.
    """

    name: str
    issued: str
    expires: str
    longest: str
    key: str
    own_key: str
    issuer_revoked: bool


@dataclass(frozen=True, slots=True)
class Flaw:
    """An invariant that does not hold in a file.

    Attributes:
        code: stable, snake case.
        where: ``machine``, or a project's id.
        count: how many cases.
        first: the name of the first one.
        says: what is wrong; follows the count.
        next: what to do.
    """

    code: str
    where: str
    count: int
    first: str
    says: str
    next: str

    def sentence(self) -> str:
        """Return the finding in one plain sentence."""
        return f"In {self.where}, {self.count} {self.says}; the first is {self.first}."
