"""The one owner of the data keys: their file, the count of their uses, rotation and destruction.

Everything is in ``<folder>/data.keys`` (see ``key_file`` and ``private_files``), which is replaced as a whole: a crash
leaves the file from before or the one from after, and each opens everything that was ever sealed.

Uses are counted before they happen: a block of them is entered in the file, then handed out from memory. A crash loses
what was left of a block, so the count may be too high, and is never too low.
"""

from __future__ import annotations

import fcntl
import threading
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Literal, NoReturn

from securecontext.boundaries import private_files
from securecontext.boundaries.keyring import envelope, key_file
from securecontext.boundaries.keyring.envelope import DataKey, Envelope
from securecontext.types.errors import Unavailable
from securecontext.types.ids import now, timestamp
from securecontext.types.security import DataKeyReport, DecryptionKey, KeysReport

FILE = "data.keys"
FILE_BYTES = 2 * 1024 * 1024
USES_BLOCK = 1_024
"""Uses that are entered in the file at once."""
USES_BEFORE_NEW = 2**24
"""A data key is followed by a new one then: two equal nonces have a chance below 2^-48, at 2^32 uses of 2^-33."""


class DataKeys:
    """The keys of stored texts of one installation. Safe to share by threads.

    Args:
        folder: the key folder.
        root: the encryption root.
        clock: the present moment.
        uses_before_new: uses of a data key after which a new one is made.
    """

    def __init__(
        self,
        folder: Path,
        root: bytes,
        clock: Callable[[], datetime] = now,
        uses_before_new: int = USES_BEFORE_NEW,
    ) -> None:
        self._path = folder / FILE
        self._root = root
        self._clock = clock
        self._uses_before_new = min(uses_before_new, envelope.USES_LIMIT)
        self._lock = threading.RLock()
        self._held: Envelope | None = None
        self._block: tuple[str, int] = ("", 0)
        """The key that uses were entered for, and how many of them are left."""

    def for_writing(self) -> DecryptionKey:
        """Return the data key for one encryption, which is counted.

        Raises:
            ZcError: the file cannot be used; nothing was counted.
        """
        with self._lock:
            held = self._envelope()
            key_id, left = self._block
            if key_id != held.writing.id or left == 0:
                held = self._change(self._count)
                key_id, left = held.writing.id, min(USES_BLOCK, self._uses_before_new)
            self._block = (key_id, left - 1)
        return held.opened(key_id)

    def for_reading(self, key_id: str) -> DecryptionKey:
        """Return a data key by its id.

        Raises:
            Expired: ``key_destroyed``.
            ZcError: the key is not held, or the file cannot be used.
        """
        return self._envelope().opened(key_id)

    def report(self) -> KeysReport:
        """Return what may be told of the keys."""
        with self._lock:
            held = self._envelope()
            unused = dict([self._block])
        root = self._path.parent / "encryption.root"
        return KeysReport(
            root=str(root) if root.exists() else "ZC_MACHINE_SECRET",
            file=str(self._path),
            wrapping_key=held.wrapping.id,
            wrapping_made=held.made,
            data_keys=[_told(key, held, key.uses - unused.get(key.id, 0)) for key in held.keys],
        )

    def rotate(self) -> KeysReport:
        """Make a new key-encryption key, wrap every data key with it, and write under a new data key from now on."""
        self._change(lambda held, moment: held.rotated(self._root, moment))
        return self.report()

    def destroy(self, key_id: str) -> KeysReport:
        """Erase a data key: what it protects can never be read again. A second time nothing is left to do.

        Raises:
            NotFound: ``no_such_key``.
        """
        self._change(lambda held, moment: held.without(key_id, moment))
        return self.report()

    def read_from(self, folder: Path) -> Envelope:
        """Return the keys of the file in another folder, such as a backup's, made with the same root.

        Raises:
            Unavailable: ``encryption_root_other``, or the file is none.
            Tampered: ``key_file_tampered``.
        """
        return DataKeys(folder, self._root, self._clock)._envelope()

    def add(self, other: Envelope) -> None:
        """Add keys that another file held; those that are known stay as they are here.

        Raises:
            Tampered: ``key_not_authentic``.
            LimitReached: ``too_many_keys``.
        """
        self._change(lambda held, _moment: held.joined(other))

    def _count(self, held: Envelope, moment: str) -> Envelope:
        block = min(USES_BLOCK, self._uses_before_new)
        if held.writing.uses + block > self._uses_before_new:
            held = held.with_new_key(moment)
        return held.counted(block)

    # The file

    def _envelope(self) -> Envelope:
        if (held := self._held) is None:
            with self._lock:
                held = self._held or self._change(lambda found, _moment: found)
        return held

    def _change(self, step: Callable[[Envelope, str], Envelope]) -> Envelope:
        """Take one step from what the file holds, and have it in the file before anything is done with it."""
        moment = timestamp(self._clock())
        with self._lock:
            try:
                with private_files.opened(self._path.parent) as descriptor:
                    fcntl.flock(descriptor, fcntl.LOCK_EX)
                    private_files.sweep(descriptor, FILE)
                    found = self._load(descriptor)
                    held = step(found or envelope.begin(self._root, moment), moment)
                    if held is not found:
                        private_files.replace(descriptor, FILE, key_file.written(held, self._root))
            except OSError as error:
                self._held = None  # nobody knows which of the two is in the file
                raise _unusable(self._path, error) from error
            self._held = held
            return held

    def _load(self, descriptor: int) -> Envelope | None:
        data = _loaded(descriptor, self._path)
        return None if data is None else key_file.read(data, self._root, self._path)

    def __repr__(self) -> str:
        return f"<DataKeys {self._path}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("keys are never serialised")


def rewrap(folder: Path, old: bytes, new: bytes, moment: datetime) -> None:
    """Wrap the data keys of a folder under another encryption root. Can be repeated; for nobody else to use meanwhile.

    Args:
        folder: the key folder.
        old: the root that they are under, if not under the new one already.
        new: the other root.
        moment: now.

    Raises:
        ZcError: the file cannot be used, or is not what was written; it is as it was.
    """
    path = folder / FILE
    try:
        with private_files.opened(folder) as descriptor:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            data = _loaded(descriptor, path)
            if data is not None and not key_file.is_under(data, new):
                held = key_file.read(data, old, path).rotated(new, timestamp(moment))
                private_files.replace(descriptor, FILE, key_file.written(held, new))
    except OSError as error:
        raise _unusable(path, error) from error


def _loaded(descriptor: int, path: Path) -> bytes | None:
    def refuse(what: str, hint: str) -> Unavailable:
        return Unavailable("key_file_unsafe", f"The file of data keys {path} {what}.", hint)

    return private_files.load(descriptor, path, refuse, FILE_BYTES)


def _unusable(path: Path, error: OSError) -> Unavailable:
    return Unavailable(
        "key_file_unusable",
        f"The file of data keys {path} cannot be used: {error.strerror}.",
        f"Make sure that {path.parent} is writable and has free space, then call again.",
    )


def _told(key: DataKey, held: Envelope, uses: int) -> DataKeyReport:
    state: Literal["writing", "reading", "destroyed"] = "reading"
    if key.destroyed:
        state = "destroyed"
    elif key.id == held.writing.id:
        state = "writing"
    return DataKeyReport(key.id, state, key.made, uses, key.destroyed)
