"""The four roots: ledger, encryption, tokens, skills. Independent secrets, from which all other keys are derived.

Each root is a file ``<folder>/<name>.root`` of one line, mode 0600 in a folder of mode 0700, both of this user::

    securecontext-root v1 <name> <signer id> <epoch> <base64 of 64 bytes>

How a file is checked: see ``private_files``. Derived keys carry labels, so no two uses share a key: see ``chain``
for the stream keys, ``signers`` for those that sign checkpoints.

The ledger root is **ratcheted**: at the end of an epoch ``R[i]`` is erased, and whoever takes today's root can make
neither yesterday's MACs nor yesterday's signatures. ``kid`` is ``<signer id>.<epoch>``, and ::

    R[i+1] = HKDF-SHA-256(R[i], info = canonical(["securecontext/ledger/v1/ratchet"])), 64 bytes

An epoch ends in two steps, because the entries of the old one must be under a checkpoint before its root is gone:
`begin_epoch` writes with the next root and still holds the old one, `end_epoch` erases the old one. After a death
between them the old epoch goes on.

The other three are **rotated** when somebody asks for it: `plan` makes the next root, ``<folder>/<name>.next``, and
at the next start, before anybody uses the old one, what depends on it is made anew and `adopt` puts it in its place
(see ``app/rotation.py``). A root's id changes with it. One that a machine secret seeds is not rotated.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import NoReturn

from securecontext.boundaries import private_files
from securecontext.boundaries.canonical import canonical
from securecontext.boundaries.chain import KEY_BYTES, STREAM_KEY_LABEL
from securecontext.boundaries.keyring.roots import (
    ROOT_BYTES,
    ROOTS,
    SEEDED,
    SEEDED_ID,
    Root,
    RootName,
    hkdf,
    load,
    parse,
    ratcheted,
    root_of,
    unusable,
)
from securecontext.contracts import ensure, require
from securecontext.types.errors import Conflict, InvalidInput, Unavailable
from securecontext.types.ids import new_id

SECRET_MIN_BYTES = 32
STREAM_KEYS_CACHED = 4096


class Keyring:
    """The roots of one installation, opened and checked. Make it with `Keyring.open`; safe to share by threads."""

    __slots__ = ("_derived", "_folder", "_lock", "_recalled", "_roots", "_writing")

    @require(
        lambda roots: (
            set(roots) == set(ROOTS) and len({root.secret for root in roots.values()}) == len(ROOTS)
        ),
        "the four roots are there, and no two are the same",
    )
    @require(
        lambda roots: all(len(root.secret) == ROOT_BYTES for root in roots.values()), "each root is whole"
    )
    def __init__(self, folder: Path, roots: dict[RootName, Root]) -> None:
        self._folder = folder
        self._roots = roots
        self._writing = roots["ledger"]
        """The ledger root of the epoch that is written in: the stored one, or while an epoch ends the one after it."""
        self._recalled: dict[int, Root] = {}
        """Roots of past epochs that an escrow gave back, by epoch: to check with, never to write."""
        self._lock = threading.Lock()
        self._derived: Callable[[Root, str, str], bytes] = lru_cache(maxsize=STREAM_KEYS_CACHED)(_stream_key)

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
                root's file says something else than the machine secret),
                ``key_folder_unusable``.
        """
        if machine_secret is not None and len(machine_secret) < SECRET_MIN_BYTES:
            raise InvalidInput(
                "machine_secret_short",
                f"The machine secret has {len(machine_secret)} bytes; {SECRET_MIN_BYTES} are the least.",
                "Set ZC_MACHINE_SECRET to the output of `head -c 48 /dev/urandom | base64 -w0`, or unset it.",
            )
        try:
            with private_files.opened(folder) as descriptor:
                roots = {name: root_of(descriptor, folder, name, machine_secret) for name in ROOTS}
        except OSError as error:
            raise unusable(folder, error) from error
        return cls(folder, roots)

    @property
    def folder(self) -> Path:
        """The key folder."""
        return self._folder

    @property
    def kid(self) -> str:
        """The key id under which entries are written now: ``<signer id>.<epoch>``."""
        return self._writing.kid

    @property
    def signer(self) -> str:
        """The id of this installation as a signer; it stays the same through all epochs."""
        return self._writing.signer

    def stream_key(self, log: str, stream: str) -> bytes:
        """Return the 32-byte MAC key with which entries of the stream are written now."""
        return self._derived(self._writing, log, stream)

    def stream_key_for(self, kid: str, log: str, stream: str) -> bytes:
        """Return the 32-byte MAC key of a stream as the key id names it.

        Raises:
            Unavailable: ``ledger_key_erased``: its epoch has ended; ``ledger_key_unknown``: this installation never
                had that key.
        """
        return self._derived(self._root_for(kid), log, stream)

    def erased(self, kid: str) -> bool:
        """Say whether a key was this installation's and is gone with its epoch."""
        epoch = self._epoch(kid)
        return epoch in range(self._roots["ledger"].epoch) and epoch not in self._recalled

    def derive(self, label: str, length: int, kid: str | None = None) -> bytes:
        """Return a key derived from the ledger root of an epoch, by default the one that is written in.

        Raises:
            Unavailable: as `stream_key_for`.
        """
        root = self._writing if kid is None else self._root_for(kid)
        return hkdf(root.secret, canonical([label]), length)

    def begin_epoch(self) -> str:
        """Write with the next root from now on; return the key id of the epoch that is to end."""
        with self._lock:
            ending = self._roots["ledger"]
            self._writing = ratcheted(ending)
            return ending.kid

    @ensure(
        lambda self: self._writing is self._roots["ledger"],
        "of an epoch that has ended no root is held any more",
    )
    def end_epoch(self) -> None:
        """Erase the root of the epoch that ends: its file first, then our memory of it as far as Python lets us.

        Raises:
            Unavailable: ``key_folder_unsafe``, ``key_folder_unusable``; the epoch has then not ended.
        """
        with self._lock:
            coming = self._writing
            if coming is self._roots["ledger"]:
                return
            with self._opened() as descriptor:
                private_files.replace(descriptor, "ledger.root", coming.line())
            self._roots["ledger"] = coming
            self._derived = lru_cache(maxsize=STREAM_KEYS_CACHED)(_stream_key)

    def ledger_line(self) -> bytes:
        """Return the line of the ledger root that is written with; for an escrow alone."""
        return self._writing.line()

    def recalling(self, line: bytes) -> Keyring:
        """Return a keyring that holds the erased ledger roots too, from the one of a line on. It is for checking only.

        Raises:
            InvalidInput: ``escrow_foreign``: the present root does not follow from that one.
        """
        present = self._roots["ledger"]
        past = parse(line, self._folder / "ledger.root", "ledger")
        recalled = Keyring(self._folder, dict(self._roots))
        while past.epoch < present.epoch:
            recalled._recalled[past.epoch] = past
            past = ratcheted(past)
        if past.kid != present.kid or not secrets.compare_digest(past.secret, present.secret):
            raise InvalidInput(
                "escrow_foreign",
                "The escrow is of another installation, or of a later epoch than this one has.",
                "Name the escrow that was made here.",
            )
        return recalled

    def root_id(self, name: RootName) -> str:
        """Return the id of a root: another one after a rotation."""
        return self._roots[name].signer

    def plan(self, name: RootName) -> str:
        """Make the root that takes another's place at the next start; return its id.

        Raises:
            Conflict: ``root_not_rotated``: the ledger's has epochs, or a machine secret seeds this one.
            Unavailable: ``key_folder_unsafe``, ``key_folder_unusable``; nothing is planned.
        """
        if name not in SEEDED or self._roots[name].signer == SEEDED_ID:
            raise Conflict(
                "root_not_rotated",
                f"The {name} root is not rotated so.",
                "The ledger's root is with `zc audit end-epoch`; a root from ZC_MACHINE_SECRET lasts as long as that.",
            )
        made = Root(name, new_id("sig"), 0, secrets.token_bytes(ROOT_BYTES))
        with self._lock, self._opened() as descriptor:
            private_files.replace(descriptor, f"{name}.next", made.line())
        return made.signer

    def planned(self, name: RootName) -> bytes | None:
        """Return the 64 bytes of the root that is to take another's place; None where none is.

        Raises:
            Unavailable: as `open`.
        """
        with self._opened() as descriptor:
            found = load(descriptor, self._folder, name, "next")
        return None if found is None else found.secret

    @ensure(lambda self, name: self._roots[name].signer != SEEDED_ID, "what was planned has an id of its own")
    def adopt(self, name: RootName) -> None:
        """Put the planned root in the place of the old one, which is erased. Can be repeated after a death.

        Raises:
            Unavailable: as `open`; the old root goes on.
        """
        with self._lock, self._opened() as descriptor:
            coming = load(descriptor, self._folder, name, "next")
            if coming is not None:
                private_files.replace(descriptor, f"{name}.root", coming.line())
                private_files.remove(descriptor, f"{name}.next")
                self._roots[name] = coming

    @contextmanager
    def _opened(self) -> Iterator[int]:
        try:
            with private_files.opened(self._folder) as descriptor:
                yield descriptor
        except OSError as error:
            raise unusable(self._folder, error) from error

    def _epoch(self, kid: str) -> int:
        """Return the epoch that a key id of ours names; -1 for another one."""
        signer, _, epoch = kid.rpartition(".")
        plain = epoch.isascii() and epoch.isdigit() and len(epoch) < 10 and str(int(epoch)) == epoch
        return int(epoch) if plain and signer == self._writing.signer else -1

    def _root_for(self, kid: str) -> Root:
        stored, writing = self._roots["ledger"], self._writing
        if kid == writing.kid:
            return writing
        if kid == stored.kid:
            return stored
        epoch = self._epoch(kid)
        if epoch in self._recalled:
            return self._recalled[epoch]
        if 0 <= epoch < stored.epoch:
            raise Unavailable(
                "ledger_key_erased",
                "The key of a past epoch of the ledger was erased, as it is meant to be.",
                "What was written with it is vouched for by the checkpoints: run `zc audit verify`.",
            )
        if epoch == stored.epoch + 1:  # a death left it in the database before the file was written
            return ratcheted(stored)
        raise Unavailable(
            "ledger_key_unknown",
            "The ledger names a key that this installation does not hold.",
            f"Look whether {self._folder} is the key folder that belongs to this database.",
        )

    def root(self, name: RootName) -> bytes:
        """Return the 64 bytes of a root; for modules of ``boundaries``, which derive labelled keys from it."""
        return self._roots[name].secret

    def __repr__(self) -> str:
        return f"<Keyring {self._folder} {self.kid}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a keyring is never serialised")


def _stream_key(root: Root, log: str, stream: str) -> bytes:
    return hkdf(root.secret, canonical([STREAM_KEY_LABEL, log, stream]), KEY_BYTES)
