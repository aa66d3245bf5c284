"""Backups: consistent copies of every database, with what is needed to read them again and nothing that signs.

A copy is signed to its end and verified before it goes in: what could not be restored is refused when it is made.
Into the file go the databases, the public keys of the signers, and the anchors; no root of any kind, no passphrase's
verifier, no token of a door. Data keys, which are wrapped, go in if the caller says so: without them a key that is
destroyed is destroyed for every backup as well.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection

from securecontext import __version__
from securecontext.app.checkpoints import Checkpoints
from securecontext.app.recorders import log_of, recorder
from securecontext.app.replacing import sync
from securecontext.boundaries import backup_file
from securecontext.boundaries.backup_file import ANCHORS, DATA_KEYS, MACHINE, SIGNERS, Manifest, Member
from securecontext.boundaries.keyring.data_keys import DataKeys
from securecontext.boundaries.keys import Keyring
from securecontext.boundaries.ledger import signers
from securecontext.boundaries.ledger.anchors import AnchorFile
from securecontext.boundaries.ledger.sequencer import newest
from securecontext.boundaries.ledger.verdict import Status
from securecontext.boundaries.ledger.verify import verify
from securecontext.projects import register
from securecontext.storage import snapshots, sqlite
from securecontext.types.errors import InvalidInput, Tampered, Unavailable
from securecontext.types.ids import timestamp

SUFFIX = ".zcbackup"
DRAFTS = ".backup-"
"""How the folders begin in which copies lie while a backup is made; what a crash leaves of them is removed."""


@dataclass(frozen=True, slots=True)
class Made:
    """A backup that was made.

    Attributes:
        file: where it lies.
        manifest: what is in it.
        fingerprints: of its signers, which whoever restores it elsewhere must know.
        entries: of all ledgers in it.
    """

    file: Path
    manifest: Manifest
    fingerprints: tuple[str, ...]
    entries: int


class Backups:
    """Makes backups of one installation.

    Args:
        home: the data folder.
        keyring: signs.
        data_keys: of encrypted texts.
        checkpoints: of the installation; wait while copies are made.
        clock: the present moment.
    """

    def __init__(
        self,
        home: Path,
        keyring: Keyring,
        data_keys: DataKeys,
        checkpoints: Checkpoints,
        clock: Callable[[], datetime],
    ) -> None:
        self._home = home
        self._keyring = keyring
        self._data_keys = data_keys
        self._checkpoints = checkpoints
        self._clock = clock
        sweep(home, DRAFTS)

    def make(self, target: Path, *, with_keys: bool = False) -> Made:
        """Make a backup, which is there whole or not at all.

        Args:
            target: the file to be, or a folder for it.
            with_keys: whether the wrapped data keys go in.

        Raises:
            InvalidInput: ``file_exists``, ``unwritable_file``.
            Unavailable: a database cannot be read; or the disk is full.
            Tampered: ``backup_not_sound``: a ledger does not verify, so that it could not be restored.
        """
        moment = self._clock()
        if target.is_dir():
            target = target / f"securecontext-{moment:%Y%m%dT%H%M%SZ}{SUFFIX}"
        with _draft_folder(self._home) as folder, self._checkpoints.held() as sign:
            self._copy_keys(folder, with_keys=with_keys)
            listed = signers.read(self._keyring)
            files, entries = [_member(folder, SIGNERS)], 0
            for name in self._databases(folder):
                note, size = self._sign(folder / name, name, sign)
                files.append(_member(folder, name, note))
                entries += size
            files += [_member(folder, name) for name in (DATA_KEYS, ANCHORS) if (folder / name).exists()]
            used = (key.id for key in self._data_keys.report().data_keys if key.uses and not key.destroyed)
            manifest = Manifest(timestamp(moment), __version__, tuple(files), tuple(used))
            keys = signers.signing_keys(self._keyring)
            _write(target, folder, backup_file.head(manifest, keys), manifest)
        return Made(target, manifest, listed.fingerprints, entries)

    def _copy_keys(self, folder: Path, *, with_keys: bool) -> None:
        """Copy what is no database. The anchors first: they must know no more of a ledger than its copy."""
        signers.enlist(self._keyring, self._clock())
        for name in (ANCHORS, SIGNERS, *([DATA_KEYS] if with_keys else [])):
            with suppress(FileNotFoundError):
                data = (self._home / name).read_bytes()
                if name == ANCHORS:
                    data = data[: data.rfind(b"\n") + 1]  # what is not finished was not anchored
                _make_file(folder / name, data)

    def _databases(self, folder: Path) -> Iterator[str]:
        """Copy the machine's database, then those of the projects that this copy names; yield each name."""
        snapshots.snapshot(self._home / MACHINE, folder / MACHINE)
        yield MACHINE
        store = sqlite.SqliteStore(folder / MACHINE, self._clock)
        try:
            with store.read() as connection:
                projects = [*register.with_files(connection), *self._merged(connection)]
        finally:
            store.close()
        for project in projects:
            name = f"projects/{project}.db"
            snapshots.snapshot(self._home / name, folder / name)
            yield name

    def _merged(self, connection: Connection) -> list[str]:
        """Return projects that went into another one: their files hold a ledger still."""
        merged = [entry.id for entry in register.every(connection, ("merged",))]
        return [each for each in merged if (self._home / "projects" / f"{each}.db").exists()]

    def _sign(self, path: Path, name: str, sign: Callable[[sqlite.SqliteStore], None]) -> tuple[str, int]:
        """Place and sign the end of a copy's ledger, verify it, and return its checkpoint and size."""
        project = "" if name == MACHINE else path.stem
        kind = "project" if project else "machine"
        store = sqlite.SqliteStore(path, self._clock, recorder(self._keyring, kind, project))
        try:
            sign(store)
            with store.read() as connection:
                log = log_of(connection)
                anchors = AnchorFile(path.parents[1 if project else 0] / ANCHORS)
                verdict = verify(connection, log, self._keyring, anchors=[anchors])
                if verdict.status is not Status.OK:
                    raise Tampered(
                        "backup_not_sound",
                        f"The ledger of {name} does not verify ({verdict.status}): it could not be restored.",
                        "No backup was made. `zc audit verify` says what is wrong; to keep it as it is, stop the "
                        "service and copy the data folder.",
                    )
                signed = newest(connection, log, signers.read(self._keyring))
                return (signed.note if signed else ""), verdict.entries
        finally:
            store.close()


def _member(folder: Path, name: str, note: str = "") -> Member:
    with (folder / name).open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return Member(name, file.tell(), digest, note)


@contextmanager
def _draft_folder(home: Path) -> Iterator[Path]:
    """Yield a private folder for copies, which is gone afterwards."""
    folder = make_folder(home, DRAFTS)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def make_folder(home: Path, begins: str) -> Path:
    """Make a private folder with the folders of a data folder in it.

    Raises:
        Unavailable: the data folder cannot be written.
    """
    folder = home / f"{begins}{secrets.token_hex(8)}"
    try:
        for each in (folder, *(folder / part for part in ("projects", "keys", "logs"))):
            each.mkdir(mode=0o700)
    except OSError as error:
        raise unwritable(home, error) from error
    return folder


def sweep(home: Path, begins: str) -> None:
    """Remove what a crash left of folders that begin so."""
    for folder in home.glob(f"{begins}*"):
        shutil.rmtree(folder, ignore_errors=True)


def unwritable(path: Path, error: OSError) -> Unavailable:
    """Return the refusal of a folder or disk that does not take what is to be written."""
    return Unavailable(
        "storage_failed",
        f"{path} cannot be written ({error.strerror}).",
        "Free room there, or look at its owner and mode; then try again.",
    )


def _make_file(path: Path, data: bytes) -> None:
    with open(path, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(data)


def _write(target: Path, folder: Path, head: bytes, manifest: Manifest) -> None:
    """Write the backup under another name, durably, then give it its own."""
    draft = target.with_name(f".{target.name}.{secrets.token_hex(8)}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise InvalidInput(
            "unwritable_file",
            f"{target} cannot be made ({error.strerror}).",
            "Name a file that you can make.",
        ) from None
    try:
        with os.fdopen(descriptor, "wb") as out:
            out.write(head)
            for member in manifest.files:
                with (folder / member.name).open("rb") as file:
                    shutil.copyfileobj(file, out, backup_file.AT_ONCE)
            out.flush()
            os.fsync(out.fileno())
        _name(draft, target)
    except FileExistsError:
        raise InvalidInput("file_exists", "Something has that name.", "Use another name.") from None
    except OSError as error:
        raise unwritable(target, error) from error
    finally:
        draft.unlink(missing_ok=True)


def _name(draft: Path, target: Path) -> None:
    try:
        os.link(draft, target)
    except FileExistsError:
        raise
    except OSError:  # a file system without links, such as that of a memory stick
        if target.exists():
            raise FileExistsError(17, "exists") from None
        draft.rename(target)
    sync(target.parent)


def trusted_here(keyring: Keyring, given: Sequence[str]) -> list[str]:
    """Return the fingerprints that this data folder trusts: those of its own signers, and those that a person gave."""
    return [*signers.read(keyring).fingerprints, *given]
