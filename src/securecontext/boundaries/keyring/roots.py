"""Roots, and the files in which they lie: one line each, which is written, read and derived from here alone.

See ``keys`` for what they are for, and for the line's form; how a file is checked: see ``private_files``.
"""

from __future__ import annotations

import base64
import binascii
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from securecontext.boundaries import private_files
from securecontext.boundaries.canonical import canonical
from securecontext.boundaries.keyring import aead
from securecontext.contracts import ensure
from securecontext.types.errors import Unavailable
from securecontext.types.ids import new_id

RootName = Literal["ledger", "encryption", "tokens", "skills"]
ROOTS: tuple[RootName, ...] = ("ledger", "encryption", "tokens", "skills")
SEEDED: tuple[RootName, ...] = ("encryption", "tokens", "skills")
ROOT_BYTES = 64
SEEDED_ID = "seeded"
SEED_LABEL = "securecontext/root/v1/seeded"
RATCHET_LABEL = "securecontext/ledger/v1/ratchet"


@dataclass(frozen=True, slots=True)
class Root:
    """A root in memory; its bytes never show in a repr."""

    name: RootName
    signer: str
    epoch: int
    secret: bytes = field(repr=False)

    @property
    def kid(self) -> str:
        """The key id: ``<signer id>.<epoch>``."""
        return f"{self.signer}.{self.epoch}"

    def line(self) -> bytes:
        """Return the line of the root's file."""
        encoded = base64.b64encode(self.secret).decode()
        return f"securecontext-root v1 {self.name} {self.signer} {self.epoch} {encoded}\n".encode()


@ensure(lambda result, root: result.secret != root.secret, "a root of the next epoch is another one")
def ratcheted(root: Root) -> Root:
    """Return the root of the next epoch."""
    secret = hkdf(root.secret, canonical([RATCHET_LABEL]), ROOT_BYTES)
    return Root(root.name, root.signer, root.epoch + 1, secret)


def unusable(folder: Path, error: OSError) -> Unavailable:
    """Return the refusal of a key folder that the system does not let us use."""
    return Unavailable(
        "key_folder_unusable",
        f"The key folder {folder} cannot be used: {error.strerror}.",
        f"Make sure that {folder.parent} exists, is writable and has free space, then start again.",
    )


def hkdf(secret: bytes, info: bytes, length: int) -> bytes:
    """Return key material by HKDF-SHA-256 without a salt: a root is one already."""
    return aead.derive(secret, b"", info, length)


def root_of(descriptor: int, folder: Path, name: RootName, machine_secret: bytes | None) -> Root:
    """Return a root from its file or a machine secret; make it at the first use.

    Raises:
        Unavailable: ``root_conflict``, and as `load`.
    """
    stored = load(descriptor, folder, name)
    if machine_secret is not None and name in SEEDED:
        seed = hkdf(machine_secret, canonical([SEED_LABEL, name]), ROOT_BYTES)
        if stored is not None and not secrets.compare_digest(stored.secret, seed):
            raise Unavailable(
                "root_conflict",
                f"{folder / name}.root holds another root than the machine secret gives; using either would hide "
                "what was made with the other.",
                f"Unset ZC_MACHINE_SECRET, or move {folder / name}.root away to give up what it protects.",
            )
        return stored or Root(name, SEEDED_ID, 0, seed)
    if stored is not None:
        return stored
    made = Root(name, new_id("sig"), 0, secrets.token_bytes(ROOT_BYTES))
    private_files.make(descriptor, f"{name}.root", made.line())
    stored = load(descriptor, folder, name)  # ours, or that of a process that was first
    if stored is None:
        raise FileNotFoundError(2, "a root file vanished while it was made")
    return stored


def load(descriptor: int, folder: Path, name: RootName, suffix: str = "root") -> Root | None:
    """Return the root that a file holds; None where there is no such file.

    Raises:
        Unavailable: ``root_file_unsafe``, ``root_file_malformed``.
    """
    path = folder / f"{name}.{suffix}"

    def refuse(what: str, hint: str) -> Unavailable:
        return Unavailable("root_file_unsafe", f"The key file {path} {what}.", hint)

    data = private_files.load(descriptor, path, refuse)
    return None if data is None else parse(data, path, name)


def parse(data: bytes, path: Path, name: RootName) -> Root:
    """Return the root that a file's one line holds; its exact spelling is demanded. No message shows its bytes."""
    malformed = Unavailable(
        "root_file_malformed",
        f"The key file {path} is damaged, or is not the {name} root.",
        f"Restore it from your backup; without one, move it away (`mv {path} {path}.aside`) to start a new root.",
    )
    try:
        mark, version, found, signer, epoch, encoded = data.decode("ascii").split(" ")
        root = Root(name, signer, int(epoch), base64.b64decode(encoded, validate=False))
    except (ValueError, binascii.Error):
        raise malformed from None
    if (mark, version, found) != ("securecontext-root", "v1", name) or len(root.secret) != ROOT_BYTES:
        raise malformed
    if root.epoch < 0 or root.line() != data or not 1 <= len(signer) <= 40 or "." in signer:
        raise malformed
    if root.epoch != 0 and name != "ledger":
        raise malformed
    return root
