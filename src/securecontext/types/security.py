"""What is protected, and by what: an agent's state, its encrypted form, the key that opens it, and reports on keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NoReturn


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
