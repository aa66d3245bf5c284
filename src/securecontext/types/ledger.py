"""What a caller hands to the ledger: a draft. The ledger turns it into an entry (see ``boundaries.chain``)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

EntryKind = Literal[
    "created", "call", "refusal", "failure", "observed", "intent", "result", "purge", "recovered"
]
"""Closed list of kinds. ``created`` opens a log; ``call`` is an operation that was done; ``refusal`` one that was
refused; ``failure`` one that broke; ``observed`` what a client's hook reported of its own tools; ``intent`` and
``result`` bracket an effect outside the database; ``purge`` says which bodies were purged; ``recovered`` that the log
goes on from a backup, under another signer."""

PROOFS: Final = frozenset({"created", "purge", "recovered"})
"""Kinds whose bodies are never purged: a check of the ledger needs them."""

FIELD_LIMITS: Final = {"principal": 200, "session": 200, "claimed_agent": 64, "stream": 500}
"""Characters that the ledger's columns hold."""


def stream_of(principal: str, session: str) -> str:
    """Return the name of the stream of a principal's session.

    A slash within the principal is escaped, so that no two pairs of principal and session share a stream.
    """
    return f"{principal.replace('%', '%25').replace('/', '%2F')}/{session}"


@dataclass(frozen=True, slots=True)
class EntryDraft:
    """An entry before it has a place in its stream.

    Attributes:
        principal: who was authenticated, e.g. ``uid:1000``.
        session: the session of the principal; principal and session together name the stream.
        claimed_agent: the agent name that the caller claims, unverified; empty when none.
        kind: see `EntryKind`.
        body: JSON object: operation, arguments (plain, or as digests), outcome. Kept apart from the entry, behind
            a salted digest.
        secrets: fields whose value must appear in the body only as a salted digest: name -> text. The ledger puts
            ``{"digest": hex HMAC-SHA-256(salt, text), "length": characters}`` into ``body["arguments"][name]``.
    """

    principal: str
    session: str
    claimed_agent: str
    kind: EntryKind
    body: Mapping[str, Any]
    secrets: Mapping[str, str] = field(default_factory=dict)

    @property
    def stream(self) -> str:
        """The stream's name: one writer each."""
        return stream_of(self.principal, self.session)
