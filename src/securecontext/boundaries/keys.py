"""The four roots: ledger, encryption, tokens, skills. Independent secrets, from which all other keys are derived.

Each root is a file ``<folder>/<name>.root`` of one line, mode 0600 in a folder of mode 0700, both of this user::

    securecontext-root v1 <name> <signer id> <epoch> <base64 of 64 bytes>

A file that others could read or write is refused, not repaired: what was exposed may have been copied. Derived keys
carry labels, so no two uses share a key: see ``chain`` for the stream keys. The epoch is 0 until the ledger root is
ratcheted; ``kid`` already names signer and epoch.
"""

from __future__ import annotations

import base64
import binascii
import os
import secrets
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Literal, NoReturn

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from securecontext.boundaries.canonical import canonical
from securecontext.boundaries.chain import KEY_BYTES, STREAM_KEY_LABEL
from securecontext.contracts import invariant, require
from securecontext.types.errors import InvalidInput, Unavailable
from securecontext.types.ids import new_id

RootName = Literal["ledger", "encryption", "tokens", "skills"]
ROOTS: tuple[RootName, ...] = ("ledger", "encryption", "tokens", "skills")
SEEDED: tuple[RootName, ...] = ("encryption", "tokens", "skills")
ROOT_BYTES = 64
SECRET_MIN_BYTES = 32
STREAM_KEYS_CACHED = 4096
SEED_LABEL = "securecontext/root/v1/seeded"


@invariant(lambda self: len(self.secret) == ROOT_BYTES and self.epoch >= 0, "a root is whole")
@dataclass(frozen=True, slots=True)
class _Root:
    """A root in memory; its bytes never show in a repr."""

    name: RootName
    signer: str
    epoch: int
    secret: bytes = field(repr=False)

    @property
    def kid(self) -> str:
        return f"{self.signer}.{self.epoch}"

    def line(self) -> bytes:
        encoded = base64.b64encode(self.secret).decode()
        return f"securecontext-root v1 {self.name} {self.signer} {self.epoch} {encoded}\n".encode()


class Keyring:
    """The roots of one installation, opened and checked. Make it with `Keyring.open`; safe to share by threads."""

    __slots__ = ("_derived", "_folder", "_roots")

    @require(
        lambda roots: (
            set(roots) == set(ROOTS) and len({root.secret for root in roots.values()}) == len(ROOTS)
        ),
        "the four roots are there, and no two are the same",
    )
    def __init__(self, folder: Path, roots: dict[RootName, _Root]) -> None:
        self._folder = folder
        self._roots = roots
        self._derived: Callable[[str, str], bytes] = lru_cache(maxsize=STREAM_KEYS_CACHED)(self._derive)

    @classmethod
    def open(cls, folder: Path, machine_secret: bytes | None = None) -> Keyring:
        """Open the key folder; make it and its roots on the first use.

        Two processes that start at once end with the same roots.

        Args:
            folder: the key folder; its parent exists.
            machine_secret: at least 32 bytes that seed the encryption, tokens and skills roots (they then have no
                file); the ledger root is never seeded.

        Raises:
            InvalidInput: ``machine_secret_short``.
            Unavailable: ``key_folder_unsafe``, ``root_file_unsafe``, ``root_file_malformed``, ``root_conflict`` (a
                root's file says something else than the machine secret), ``root_epoch_unknown``,
                ``key_folder_unusable``.
        """
        if machine_secret is not None and len(machine_secret) < SECRET_MIN_BYTES:
            raise InvalidInput(
                "machine_secret_short",
                f"The machine secret has {len(machine_secret)} bytes; {SECRET_MIN_BYTES} are the least.",
                "Set ZC_MACHINE_SECRET to the output of `head -c 48 /dev/urandom | base64 -w0`, or unset it.",
            )
        try:
            descriptor = _open_folder(folder)
            try:
                roots = {name: _root(descriptor, folder, name, machine_secret) for name in ROOTS}
            finally:
                os.close(descriptor)
        except OSError as error:
            raise Unavailable(
                "key_folder_unusable",
                f"The key folder {folder} cannot be used: {error.strerror}.",
                f"Make sure that {folder.parent} exists, is writable and has free space, then start again.",
            ) from error
        return cls(folder, roots)

    @property
    def kid(self) -> str:
        """The key id under which entries are written now: ``<signer id>.<epoch>``."""
        return self._roots["ledger"].kid

    def stream_key(self, log: str, stream: str) -> bytes:
        """Return the 32-byte MAC key with which entries of the stream are written now."""
        return self._derived(log, stream)

    def stream_key_for(self, kid: str, log: str, stream: str) -> bytes:
        """Return the 32-byte MAC key of a stream as the key id names it.

        Raises:
            Unavailable: ``ledger_key_unknown``: this installation does not hold that key.
        """
        if kid != self.kid:
            raise Unavailable(
                "ledger_key_unknown",
                "The ledger names a key that this installation does not hold.",
                f"Look whether {self._folder} is the key folder that belongs to this database.",
            )
        return self._derived(log, stream)

    def root(self, name: RootName) -> bytes:
        """Return the 64 bytes of a root; for modules of ``boundaries``, which derive labelled keys from it."""
        return self._roots[name].secret

    def _derive(self, log: str, stream: str) -> bytes:
        return _hkdf(self._roots["ledger"].secret, canonical([STREAM_KEY_LABEL, log, stream]), KEY_BYTES)

    def __repr__(self) -> str:
        return f"<Keyring {self._folder} {self.kid}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a keyring is never serialised")


def _hkdf(secret: bytes, info: bytes, length: int) -> bytes:
    return HKDF(algorithm=SHA256(), length=length, salt=None, info=info).derive(secret)


def _root(descriptor: int, folder: Path, name: RootName, machine_secret: bytes | None) -> _Root:
    stored = _load(descriptor, folder, name)
    if machine_secret is not None and name in SEEDED:
        seed = _hkdf(machine_secret, canonical([SEED_LABEL, name]), ROOT_BYTES)
        if stored is not None and not secrets.compare_digest(stored.secret, seed):
            raise Unavailable(
                "root_conflict",
                f"{folder / name}.root holds another root than the machine secret gives; using either would hide "
                "what was made with the other.",
                f"Unset ZC_MACHINE_SECRET, or move {folder / name}.root away to give up what it protects.",
            )
        return stored or _Root(name, "seeded", 0, seed)
    if stored is not None:
        return stored
    _make(descriptor, _Root(name, new_id("sig"), 0, secrets.token_bytes(ROOT_BYTES)))
    stored = _load(descriptor, folder, name)  # ours, or that of a process that was first
    if stored is None:
        raise FileNotFoundError(2, "a root file vanished while it was made")
    return stored


def _open_folder(folder: Path) -> int:
    """Return a descriptor of the checked folder; all later access goes through it, so it cannot be exchanged."""
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        pass
    else:
        _sync_folder(folder.parent)
    if folder.is_symlink() or not folder.is_dir():
        raise _unsafe_folder(
            folder, "is not a folder of its own", f"Move it away: `mv {folder} {folder}.aside`."
        )
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    status = os.fstat(descriptor)
    if status.st_uid != os.geteuid():
        os.close(descriptor)
        raise _unsafe_folder(folder, "belongs to another user", f"Look who made it: `ls -ld {folder}`.")
    if status.st_mode & 0o077:
        os.close(descriptor)
        raise _unsafe_folder(folder, "is open to other users", f"Close it: `chmod 700 {folder}`.")
    return descriptor


def _unsafe_folder(folder: Path, what: str, hint: str) -> Unavailable:
    return Unavailable("key_folder_unsafe", f"The key folder {folder} {what}.", hint)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _load(descriptor: int, folder: Path, name: RootName) -> _Root | None:
    """Return the root in the file, or None when there is no file; refuse a file that is not private."""
    path = folder / f"{name}.root"
    try:
        status = os.lstat(path.name, dir_fd=descriptor)
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(status.st_mode):
        raise _unsafe_file(path, "is not a regular file", f"Move it away: `mv {path} {path}.aside`.")
    # O_NOFOLLOW and O_NONBLOCK: should the name be exchanged after the look, no link is followed, no pipe waited on.
    opened = os.open(path.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=descriptor)
    with os.fdopen(opened, "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise _unsafe_file(path, "is not a regular file", f"Move it away: `mv {path} {path}.aside`.")
        if status.st_uid != os.geteuid():
            raise _unsafe_file(path, "belongs to another user", f"Look who made it: `ls -l {path}`.")
        if status.st_mode & 0o177:
            raise _unsafe_file(
                path, "is open to others", f"If nobody has read it, close it: `chmod 600 {path}`."
            )
        return _parse(file.read(4096), path, name)


def _unsafe_file(path: Path, what: str, hint: str) -> Unavailable:
    return Unavailable("root_file_unsafe", f"The key file {path} {what}.", hint)


def _parse(data: bytes, path: Path, name: RootName) -> _Root:
    """Return the root that a file's one line holds; its exact spelling is demanded. No message shows its bytes."""
    malformed = Unavailable(
        "root_file_malformed",
        f"The key file {path} is damaged, or is not the {name} root.",
        f"Restore it from your backup; without one, move it away (`mv {path} {path}.aside`) to start a new root.",
    )
    try:
        mark, version, found, signer, epoch, encoded = data.decode("ascii").split(" ")
        number, secret = int(epoch), base64.b64decode(encoded, validate=False)
    except (ValueError, binascii.Error):
        raise malformed from None
    if (
        (mark, version, found) != ("securecontext-root", "v1", name)
        or len(secret) != ROOT_BYTES
        or number < 0
    ):
        raise malformed
    root = _Root(name, signer, number, secret)
    if root.line() != data or not 1 <= len(signer) <= 40 or "." in signer:
        raise malformed
    if root.epoch != 0:
        raise Unavailable(
            "root_epoch_unknown",
            f"The key file {path} stands at epoch {root.epoch}, which this version does not know.",
            "Install the newest version of SecureContext.",
        )
    return root


def _make(descriptor: int, root: _Root) -> None:
    """Put a complete root file in place, unless one is there: the name appears with its full content or not at all."""
    name = f"{root.name}.root"
    draft = f".{name}.{secrets.token_hex(8)}"
    opened = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=descriptor)
    try:
        with os.fdopen(opened, "wb") as file:
            file.write(root.line())
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, name, src_dir_fd=descriptor, dst_dir_fd=descriptor, follow_symlinks=False)
        except FileExistsError:
            return
        os.fsync(descriptor)
    finally:
        os.unlink(draft, dir_fd=descriptor)
