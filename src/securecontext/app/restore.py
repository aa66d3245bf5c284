"""A backup is made ready to take the place of what is there: checked, signed on by a new signer, and put beside it.

Nothing of a backup is believed before the signature of somebody trusted holds over its manifest, and nothing is changed
in the data folder but for a folder of drafts, until `app.replacing` puts the files in place. What is checked: form,
names, sizes, hashes; the schema; which project each database is of; every ledger, whole, against its checkpoints and
anchors.

The keys of the backup's ledgers are not in it. A new signer is made; each ledger gets an entry of kind ``recovered`` by
whoever restores it, under the new keys, and the list of signers says that nobody endorsed them (see ``signers``).
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import BinaryIO

from securecontext.app import chores
from securecontext.app.backups import make_folder, sweep, trusted_here, unwritable
from securecontext.app.checkpoints import Checkpoints
from securecontext.app.installed import REMEMBERED
from securecontext.app.recorders import log_of, recorder
from securecontext.app.replacing import KEYS, READY, commit, sync
from securecontext.boundaries import backup_file
from securecontext.boundaries.backup_file import ANCHORS, DATA_KEYS, MACHINE, Member, Opened, altered
from securecontext.boundaries.keyring.data_keys import DataKeys
from securecontext.boundaries.keyring.envelope import Envelope
from securecontext.boundaries.keys import Keyring
from securecontext.boundaries.ledger import signers
from securecontext.boundaries.ledger.anchors import AnchorFile
from securecontext.boundaries.ledger.sequencer import newest
from securecontext.boundaries.ledger.signers import Signers
from securecontext.boundaries.ledger.verdict import Status
from securecontext.boundaries.ledger.verify import verify
from securecontext.projects import register
from securecontext.storage import copies, meta_rows, schema, sqlite
from securecontext.storage.port import Store
from securecontext.types.errors import Conflict, InvalidInput, Unavailable, ZcError
from securecontext.types.ledger import EntryDraft

DRAFTS = ".restore-"
"""How the folders begin in which a restore is made ready."""


@dataclass(frozen=True, slots=True)
class Staged:
    """A restore that waits to be committed.

    Attributes:
        folder: where its files lie.
        made: when the backup was made, a timestamp.
        digest: names the backup.
        projects: how many.
        entries: of all ledgers.
        signer: the new signer's key id.
        fingerprint: of its keys, to be pinned from now on.
        data_keys: of the backup, to be added to those that are here.
    """

    folder: Path
    made: str
    digest: str
    projects: int
    entries: int
    signer: str
    fingerprint: str
    data_keys: Envelope | None = field(repr=False)


class Restores:
    """Makes backups ready to be restored into one installation.

    Args:
        home: the data folder.
        keyring: of the installation as it is.
        data_keys: of the same.
        machine_secret: what seeds roots here, if anything.
        machine: returns the machine's store as it is.
        clock: the present moment.
    """

    def __init__(
        self,
        home: Path,
        keyring: Keyring,
        data_keys: DataKeys,
        machine_secret: bytes | None,
        machine: Callable[[], Store],
        clock: Callable[[], datetime],
    ) -> None:
        self._home = home
        self._keyring = keyring
        self._data_keys = data_keys
        self._machine_secret = machine_secret
        self._machine = machine
        self._clock = clock
        sweep(home, DRAFTS)

    def stage(
        self,
        file: Path,
        trusted: Sequence[str],
        who: Callable[[dict[str, object]], EntryDraft],
        *,
        without_keys: bool = False,
    ) -> Staged:
        """Check a backup and make it ready; nothing that is there is changed.

        Args:
            file: the backup.
            trusted: fingerprints that the caller vouches for, beside those that this folder knows.
            who: makes the ``recovered`` entry of each ledger, of its arguments.
            without_keys: whether it is made ready although encrypted texts in it cannot be read here.

        Raises:
            InvalidInput: it is no backup, or of nobody who is trusted here.
            Conflict: a newer version made it; or another restore waits.
            Tampered: it is not what was made, or a ledger in it does not verify.
            Unavailable: it cannot be read, the keys of texts in it are not held here, or the disk is full.
        """
        if (self._home / READY).exists():
            raise Conflict(
                "restore_waits", "A restore waits for the service to start anew.", "`zc service restart`"
            )
        folder = make_folder(self._home, DRAFTS)
        try:
            with _opened(file) as (stream, length):
                opened = backup_file.read_head(stream, length)
                self._refuse_too_large(opened)
                self._extract(stream, opened, trusted, folder)
            data_keys = self._data_keys_for(folder, opened, without_keys=without_keys)
            return self._make_ready(folder, opened, who, data_keys)
        except OSError as error:
            self.drop(folder)
            raise unwritable(self._home, error) from error
        except BaseException:
            self.drop(folder)
            raise

    def drop(self, folder: Path) -> None:
        """Remove what was made ready, unless it was committed."""
        shutil.rmtree(folder, ignore_errors=True)

    def commit(self, staged: Staged) -> None:
        """Have a restore take place at the next start of the service. The caller has seen to it that nobody writes.

        Raises:
            Unavailable: it could not be decided; nothing was changed.
        """
        try:
            if staged.data_keys is not None:
                self._data_keys.add(staged.data_keys)
            commit(self._home, staged.folder)
        except OSError as error:
            raise unwritable(self._home, error) from error

    def _refuse_too_large(self, opened: Opened) -> None:
        free = shutil.disk_usage(self._home).free
        if opened.manifest.size > free:
            raise Unavailable(
                "disk_full",
                f"The backup holds {opened.manifest.size} bytes; there are {free} bytes of room.",
                "Free room, then try again. Nothing was changed.",
            )

    def _extract(self, stream: BinaryIO, opened: Opened, trusted: Sequence[str], folder: Path) -> None:
        """Write the files of a backup into a folder; names come from a closed list, and each file is new.

        The list of signers comes first: nothing else is written before the signature of one who is trusted holds.
        """
        for member in opened.manifest.files:
            path = folder / member.name
            with open(path, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as out:
                for piece in backup_file.pieces(stream, member):
                    out.write(piece)
            if member.name == backup_file.SIGNERS:
                listed = Signers(path.read_bytes().splitlines())
                opened.verify(listed, trusted_here(self._keyring, trusted))

    def _make_ready(
        self,
        folder: Path,
        opened: Opened,
        who: Callable[[dict[str, object]], EntryDraft],
        data_keys: Envelope | None,
    ) -> Staged:
        keyring = Keyring.open(folder / "keys", self._machine_secret)
        listed = signers.recover(keyring, self._clock())
        anchors = AnchorFile(folder / ANCHORS)
        checkpoints = Checkpoints(keyring, [anchors], self._clock)
        members = [each for each in opened.manifest.files if each.is_database]
        _refuse_foreign_projects(folder, members)
        entries = 0
        for member in members:
            store = self._open(folder, member, keyring)
            try:
                entries += _verified(store, member, keyring, anchors)
                about = {
                    "backup": opened.manifest.digest,
                    "made": opened.manifest.made,
                    "signer": keyring.kid,
                }
                chore = partial(chores.recover, draft=who({**about, "signer_before": _before(listed)}))
                store.write(partial(chore, stays=self._of_machine(member), moment=self._clock()))
                checkpoints.make(store)
            finally:
                store.close()
        _leave_what_is_put_in_place(folder, members)
        return Staged(
            folder,
            opened.manifest.made,
            opened.manifest.digest,
            len(members) - 1,
            entries,
            keyring.kid,
            listed.fingerprints[-1],
            data_keys,
        )

    def _data_keys_for(self, folder: Path, opened: Opened, *, without_keys: bool) -> Envelope | None:
        """Return the backup's data keys, which are to be added to those of here; None where there are none to add.

        Raises:
            Unavailable: ``data_keys_missing``: neither has the key of a text in the backup.
        """
        held = {key.id for key in self._data_keys.report().data_keys}
        found = None
        if opened.manifest.member(DATA_KEYS) is not None:
            with suppress(ZcError):  # of another root; whether that matters is decided below
                found = self._data_keys.read_from(folder / "keys")
        held |= {key.id for key in found.keys} if found is not None else set()
        missing = [each for each in opened.manifest.data_keys if each not in held]
        if missing and not without_keys:
            raise Unavailable(
                "data_keys_missing",
                f"Texts in the backup are encrypted under {len(missing)} data keys that this data folder cannot open.",
                "Put the keys/encryption.root and keys/data.keys of that time back first, or the ZC_MACHINE_SECRET; or "
                "say --without-keys: then those texts cannot be read here.",
                keys=missing,
            )
        return found

    def _of_machine(self, member: Member) -> dict[str, str] | None:
        """Return what the machine's database keeps of how things are here: None for a project's."""
        if member.name != MACHINE:
            return None
        with self._machine().read() as connection:
            return {REMEMBERED: meta_rows.read(connection, REMEMBERED) or ""}

    def _open(self, folder: Path, member: Member, keyring: Keyring) -> sqlite.SqliteStore:
        """Open a copy as the database that it says it is: with its own log, of the current schema and nothing more."""
        path = folder / member.name
        with copies.open_copy(path) as connection:
            schema.needs_upgrade(connection)  # refuses a newer one before anything is written
            log_of(connection)
        kind = "project" if member.project else "machine"
        store = sqlite.SqliteStore(path, self._clock, recorder(keyring, kind, member.project))
        try:
            with store.read() as connection:
                if not schema.is_pristine(connection):
                    raise altered(f"{member.name} has tables or triggers that SecureContext did not make")
        except BaseException:
            store.close()
            raise
        return store


@contextmanager
def _opened(file: Path) -> Iterator[tuple[BinaryIO, int]]:
    """Yield a backup for reading: a regular file, through no link."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise InvalidInput(
            "unreadable_file", f"{file} cannot be read ({error.strerror}).", "Name a readable file."
        ) from error
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise InvalidInput("not_a_file", f"{file} is not a file.", "Name a file that `zc backup` made.")
    with os.fdopen(descriptor, "rb") as stream:
        yield stream, status.st_size


def _before(listed: Signers) -> str:
    return listed.kids[-2]


def _refuse_foreign_projects(folder: Path, members: Sequence[Member]) -> None:
    """Refuse databases of projects that the machine's database does not know, or that are missing though it does."""
    with copies.open_copy(folder / MACHINE) as connection:
        known = {entry.id for entry in register.every(connection, ("active", "merged"))}
        needed = set(register.with_files(connection))
    there = {each.project for each in members if each.project}
    if not needed <= there <= known:
        raise altered("its projects are not those that its register names")


def _verified(store: Store, member: Member, keyring: Keyring, anchors: AnchorFile) -> int:
    """Return how many entries a copy's ledger has, after checking all of it."""
    with store.read() as connection:
        log = log_of(connection)
        verdict = verify(connection, log, keyring, anchors=[anchors])
        signed = newest(connection, log, signers.read(keyring))
        if verdict.status is not Status.OK:
            raise altered(f"the ledger of {member.name} does not verify ({verdict.status})")
        if signed is None or signed.note != member.note or signed.point.size != verdict.entries:
            raise altered(f"the ledger of {member.name} is not at the checkpoint that it had")
        return verdict.entries


def _leave_what_is_put_in_place(folder: Path, members: Sequence[Member]) -> None:
    """Remove from the folder whatever is not to be put in place, and make the rest durable."""
    wanted = {each.name for each in members} | {ANCHORS, *KEYS}
    for file in sorted(folder.rglob("*")):
        if not file.is_file():
            continue
        if str(file.relative_to(folder)) not in wanted:
            file.unlink()
            continue
        with file.open("rb") as done:
            os.fsync(done.fileno())
    for each in (folder / "projects", folder / "keys", folder / "logs", folder):
        sync(each)
