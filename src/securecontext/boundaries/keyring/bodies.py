"""The one place where stored texts are sealed and opened: those of the classes confidential and restricted.

A text of these classes reaches no column, index or log as it is: what is stored is
``MARK ‖ key id ‖ "." ‖ base64url(nonce ‖ ciphertext ‖ tag)``. The mark holds a control character, which no validator
lets into a stored text, so that a sealed text whose row was relabelled is told from a plain one and never shown.

Sealed is for one place: project, notebook or author, kind with class, and as the record's id the row's id together
with what is shown beside the text (name, author, labels). Row ids are known after the insert, so a row is inserted
without its text and gets the sealed one in the same transaction; an opaque id could be moved along with the text.

What cannot be opened is an answer, not an exception: one row is never in the way of the others.
"""

from __future__ import annotations

import base64
import hmac
from dataclasses import dataclass
from typing import Final

from securecontext.boundaries.canonical import canonical
from securecontext.boundaries.crypto import StateEncryption
from securecontext.boundaries.keyring import aead
from securecontext.contracts import ensure, require
from securecontext.types.classification import SEALED
from securecontext.types.errors import Tampered, ZcError
from securecontext.types.security import AgentState, EncryptedState

DIGEST_LABEL: Final = "securecontext/blinded-digest/v1"
MARK: Final = "\x01sealed/1 "

Body = str | ZcError
"""A stored text, or why it cannot be read."""


def text_of(body: Body) -> str:
    """Return the text.

    Raises:
        ZcError: it cannot be read.
    """
    if isinstance(body, ZcError):
        raise body
    return body


def trouble_of(body: Body) -> ZcError | None:
    """Return why a text cannot be read; None where it can."""
    return body if isinstance(body, ZcError) else None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a text belongs; it opens nowhere else.

    Attributes:
        project: id of the project.
        agent: the notebook of a fact, the author of a document.
        kind: ``fact``, or ``document`` with its kind.
        row: id of its row.
        beside: what is shown beside the text and may not be exchanged either, in a fixed order.
        classification: its class.
    """

    project: str
    agent: str
    kind: str
    row: int
    beside: tuple[str, ...]
    classification: str

    def state(self, content: bytes) -> AgentState:
        """Return the content in this place."""
        record = canonical([str(self.row), *self.beside]).decode()
        return AgentState(self.project, self.agent, f"{self.kind}/{self.classification}", record, content)


def fact_place(
    project: str, row: int, agent: str, key: str, labels: tuple[str, str, str], classification: str
) -> Place:
    """Return the place of a fact's value; ``labels`` are author, trust and provenance."""
    return Place(project, agent, "fact", row, (key, *labels), classification)


def document_place(
    project: str, row: int, kind: str, source: str, labels: tuple[str, str, str], classification: str
) -> Place:
    """Return the place of a document's content; ``labels`` are author, trust and provenance."""
    return Place(project, labels[0], f"document/{kind}", row, (source, *labels), classification)


def is_plain(stored: str, classification: str) -> bool:
    """Say whether a stored text is there as it is."""
    # Whoever writes an SQLite file may have put no text at all into the column.
    return classification not in SEALED and isinstance(stored, str) and not stored.startswith(MARK)


class Bodies:
    """Seals and opens the texts of one installation. Safe to share by threads.

    Args:
        states: encrypts under the installation's data keys.
        root: the encryption root, 64 bytes.
    """

    def __init__(self, states: StateEncryption, root: bytes) -> None:
        self._states = states
        self._digest_key = aead.derive(root, b"", canonical([DIGEST_LABEL]))

    @require(lambda place: place.classification in SEALED, "a text is sealed because of its class")
    @ensure(lambda result: result.startswith(MARK), "what is stored of a sealed text carries the mark")
    def seal(self, place: Place, text: str) -> str:
        """Return what may be stored of a text.

        Raises:
            ZcError: the data keys cannot be used.
        """
        made = self._states.encrypt_agent_state(place.state(text.encode()))
        return f"{MARK}{made.key_id}.{base64.urlsafe_b64encode(made.nonce + made.sealed).decode()}"

    def blinded(self, text: str) -> str:
        """Return a digest for the ledger, whose own salt lies beside it: without the root no guess can be tested."""
        return hmac.digest(self._digest_key, text.encode("utf-8", "surrogatepass"), "sha256").hex()

    def open(self, place: Place, stored: str) -> Body:
        """Return a text out of what is stored of it, or why it cannot be read."""
        try:
            return self._opened(place, stored)
        except ZcError as error:
            return error

    def _opened(self, place: Place, stored: str) -> str:
        if not (isinstance(stored, str) and stored.startswith(MARK) and place.classification in SEALED):
            raise _tampered()
        key_id, _, coded = stored.removeprefix(MARK).partition(".")
        try:
            data = base64.urlsafe_b64decode(coded)
        except ValueError:
            raise _tampered() from None
        if base64.urlsafe_b64encode(data).decode() != coded:  # the decoder passes over what is no base64
            raise _tampered()
        where = place.state(b"")
        nonce, sealed = data[: aead.NONCE_BYTES], data[aead.NONCE_BYTES :]
        found = self._states.decrypt_agent_state(
            EncryptedState(key_id, where.project, where.agent, where.kind, where.record, nonce, sealed)
        )
        return found.content.decode()


def _tampered() -> Tampered:
    return Tampered(
        "state_tampered",
        "A stored text is not what was stored there.",
        "Restore the database from a backup, and look at `zc audit verify`.",
    )
