"""An agent's state, encrypted and bound to its place: what was moved, changed or is of another key does not open.

AES-256-GCM (see ``aead``) under a data key (see ``data_keys``), with a fresh random nonce, bound to
``canonical([format, key id, project, agent, kind, record])``.
"""

from __future__ import annotations

from securecontext.boundaries.canonical import canonical
from securecontext.boundaries.keyring import aead
from securecontext.boundaries.keyring.data_keys import DataKeys
from securecontext.contracts import ensure
from securecontext.types.errors import InvalidInput, Tampered
from securecontext.types.security import AgentState, EncryptedState

FORMAT = "securecontext/state/v1"
CONTENT_BYTES = 64 * 1024 * 1024


class StateEncryption:
    """Encrypts and decrypts what agents store. Safe to share by threads.

    Args:
        keys: the data keys of the installation.
    """

    def __init__(self, keys: DataKeys) -> None:
        self._keys = keys

    @ensure(
        lambda state, result: len(result.sealed) == len(state.content) + aead.TAG_BYTES,
        "the whole of a state is sealed, with a tag",
    )
    def encrypt_agent_state(self, state: AgentState) -> EncryptedState:
        """Return the state as it may be stored.

        Raises:
            InvalidInput: ``state_too_large``, or ``not_canonical``: a part of the place is no proper text.
            ZcError: the data keys cannot be used.
        """
        if len(state.content) > CONTENT_BYTES:
            raise InvalidInput(
                "state_too_large",
                f"A state of more than {CONTENT_BYTES} bytes is not encrypted.",
                "Store it in parts.",
                limit=CONTENT_BYTES,
            )
        place = (state.project, state.agent, state.kind, state.record)
        canonical(place)  # refused before a use of the key is counted
        key = self._keys.for_writing()
        nonce = aead.fresh_nonce()
        return EncryptedState(
            key.id, *place, nonce, aead.seal(key.secret, nonce, state.content, _bound(key.id, *place))
        )

    def decrypt_agent_state(self, encrypted: EncryptedState) -> AgentState:
        """Return the state, if it is what was encrypted, in the place that it was encrypted for.

        Raises:
            Expired: ``key_destroyed``.
            Tampered: ``state_tampered``.
            InvalidInput: ``not_canonical``.
            ZcError: its data key is not held, or the data keys cannot be used.
        """
        place = (encrypted.project, encrypted.agent, encrypted.kind, encrypted.record)
        bound = _bound(encrypted.key_id, *place)
        key = self._keys.for_reading(encrypted.key_id)
        content = aead.unseal(key.secret, encrypted.nonce, encrypted.sealed, bound)
        if content is None:
            raise Tampered(
                "state_tampered",
                f"A stored text under the data key {key.id} is not what was stored there.",
                "Restore the database from a backup, and look at `zc audit verify`.",
                key=key.id,
            )
        return AgentState(*place, content)


def _bound(key_id: str, project: str, agent: str, kind: str, record: str) -> bytes:
    return canonical([FORMAT, key_id, project, agent, kind, record])
