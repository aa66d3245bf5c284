"""What the tests of encryption share: an installation's keys in a folder, and states to encrypt."""

import base64
from dataclasses import replace
from datetime import UTC, datetime

from securecontext.boundaries.crypto import StateEncryption
from securecontext.boundaries.keyring.data_keys import DataKeys
from securecontext.types.security import AgentState

ROOT = bytes(range(64))
MOMENT = datetime(2026, 11, 25, 1, 2, 3, tzinfo=UTC)
STATE = AgentState("prj_one", "dev", "fact", "rec_1", b"the pelican flies at dawn")


class Keys:
    """The keys of one installation and what encrypts with them."""

    def __init__(self, folder, root=ROOT, **more):
        self.folder = folder
        self.keys = DataKeys(folder, root, lambda: MOMENT, **more)
        self.states = StateEncryption(self.keys)

    @property
    def file(self):
        return self.folder / "data.keys"

    def encrypt(self, content=STATE.content, **place):
        return self.states.encrypt_agent_state(replace(STATE, content=content, **place))

    def decrypt(self, encrypted):
        return self.states.decrypt_agent_state(encrypted)

    def reports(self):
        return {key.id: key for key in self.keys.report().data_keys}

    def state_of(self, key_id):
        return self.reports()[key_id].state


def spellings(secret):
    """A secret as a leak might show it."""
    return [secret, secret.hex().encode(), base64.b64encode(secret)[:-3], repr(secret).encode()[2:-1]]
