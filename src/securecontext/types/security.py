"""Who acts, on what grounds and where it is recorded; what is protected, and by what."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import InitVar, dataclass, field
from datetime import datetime
from typing import Final, Generic, Literal, NewType, NoReturn, TypeVar

from securecontext.types.ledger import FIELD_LIMITS, stream_of

AgentId = NewType("AgentId", str)
"""An agent's name inside its alphabet; made by `validators.input.validate_agent_id`."""

T = TypeVar("T")
_SEAL: Final = object()


@dataclass(frozen=True, slots=True)
class ValidatedInput(Generic[T]):
    """A value from outside, with what it was checked for.

    Made by `vouched` alone, which only validators call: neither the class nor `dataclasses.replace` makes one.

    Attributes:
        value: as it may be used.
        checks: names of the checks that it passed, in their order.
    """

    value: T
    checks: tuple[str, ...]
    seal: InitVar[object]

    def __post_init__(self, seal: object) -> None:
        """Refuse to be made past the validators.

        Raises:
            TypeError: it was not made by `vouched`.
        """
        if seal is not _SEAL:
            raise TypeError("a validated input is made by a validator alone")

    @classmethod
    def vouched(cls, value: T, *checks: str) -> ValidatedInput[T]:
        """Return the value as one that passed the checks named; for the validators, and nobody else.

        Raises:
            TypeError: no check is named.
        """
        if not checks:
            raise TypeError("a validated input names what it was checked for")
        return cls(value, checks, _SEAL)


@dataclass(frozen=True, slots=True)
class SecurityContext:
    """On what grounds somebody acts, as at one moment.

    Attributes:
        principal: the authenticated identity, e.g. ``uid:1000``.
        session: the session; with the principal it makes the ledger's stream.
        door: the door that authenticated.
        rights: permissions granted; without any there is nothing to act on.
        moment: when this is judged; aware.
        until: when the grounds end, aware; None where they last as long as the connection.
    """

    principal: str
    session: str
    door: str
    rights: frozenset[str]
    moment: datetime
    until: datetime | None = None

    def is_valid(self) -> bool:
        """Say whether somebody is named, was granted something, and the grounds have not ended."""
        named = all(_is_name(text) for text in (self.principal, self.session, self.door))
        if not named or not self.rights or self.moment.tzinfo is None:
            return False
        return self.until is None or (self.until.tzinfo is not None and self.moment < self.until)


@dataclass(frozen=True, slots=True)
class AuditTrail:
    """Where the ledger records what somebody does.

    Attributes:
        principal: as each entry will name it.
        session: likewise.
        claimed_agent: likewise; empty when none is claimed.
        stream: the ledger's stream that takes the entries.
    """

    principal: str
    session: str
    claimed_agent: str
    stream: str

    def is_complete(self) -> bool:
        """Say whether nothing can go unrecorded: the ledger takes every name whole, and the stream is their own."""
        said = {
            "principal": self.principal,
            "session": self.session,
            "claimed_agent": self.claimed_agent,
            "stream": self.stream,
        }
        fit = all(
            len(text) <= FIELD_LIMITS[name] and (not text or _is_name(text)) for name, text in said.items()
        )
        return (
            fit
            and bool(self.principal and self.session)
            and self.stream == stream_of(self.principal, self.session)
        )


@dataclass(frozen=True, slots=True)
class SecureAgentContext:
    """An agent that may act: its name, on what grounds, and where it is recorded.

    Made by `contracts.security.create_secure_agent_context`.
    """

    agent_id: AgentId
    security: SecurityContext
    audit_trail: AuditTrail


@dataclass(frozen=True, slots=True)
class AgentState:
    """Something of an agent that is stored encrypted, and the place that it belongs to.

    Attributes:
        project: id of the project.
        agent: name of the notebook.
        kind: what it is, such as ``fact``.
        record: id of the record.
        content: the bytes; they never show in a repr.
    """

    project: str
    agent: str
    kind: str
    record: str
    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class EncryptedState:
    """An `AgentState` as it may be stored: it opens only under its key and in its place.

    Attributes:
        key_id: the data key.
        project, agent, kind, record: its place, as in `AgentState`.
        nonce: 12 random bytes.
        sealed: ciphertext and tag.
    """

    key_id: str
    project: str
    agent: str
    kind: str
    record: str
    nonce: bytes
    sealed: bytes


@dataclass(frozen=True, slots=True)
class DecryptionKey:
    """A key in memory, with its id; its bytes never show in a repr and are never serialised."""

    id: str
    secret: bytes = field(repr=False)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a key is never serialised")


@dataclass(frozen=True, slots=True)
class DataKeyReport:
    """What may be told of a data key.

    Attributes:
        id: names it; says nothing about it.
        state: ``writing`` (the newest one), ``reading`` (what it protects is read), ``destroyed``.
        made: timestamp.
        uses: texts that were encrypted under it; after a restart a number that is not too low.
        destroyed: timestamp; empty where it was not.
    """

    id: str
    state: Literal["writing", "reading", "destroyed"]
    made: str
    uses: int
    destroyed: str = ""


@dataclass(frozen=True, slots=True)
class KeysReport:
    """What may be told of the keys of stored texts; never a byte of one.

    Attributes:
        root: where the encryption root comes from: a file, or ``ZC_MACHINE_SECRET``.
        file: the file of the data keys.
        wrapping_key: id of the key-encryption key.
        wrapping_made: timestamp.
        data_keys: oldest first.
    """

    root: str
    file: str
    wrapping_key: str
    wrapping_made: str
    data_keys: Sequence[DataKeyReport]


def _is_name(text: str) -> bool:
    """Say whether a text can name somebody in a ledger: something visible, in characters that UTF-8 can say."""
    return bool(text.strip()) and all(unicodedata.category(c) not in ("Cc", "Cs") for c in text)
