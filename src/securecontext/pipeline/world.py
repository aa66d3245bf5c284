"""What operations may reach beyond their own project: a narrow view of the composition root."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal, Protocol

from sqlalchemy import Connection

from securecontext.boundaries.backup_file import Manifest
from securecontext.boundaries.code.integrity import Judgement
from securecontext.boundaries.egress.rules import Rule
from securecontext.boundaries.identity.credentials import Credentials
from securecontext.boundaries.keyring.bodies import Bodies
from securecontext.boundaries.ledger.purge import Purged
from securecontext.boundaries.ledger.signers import Signers
from securecontext.boundaries.ledger.tail import LedgerRow
from securecontext.boundaries.ledger.verdict import Verdict
from securecontext.boundaries.limits import Limits
from securecontext.boundaries.policy import Principal, Unlocked
from securecontext.pipeline.bell import Bell
from securecontext.storage.port import Store
from securecontext.types.ledger import EntryDraft, EntryKind
from securecontext.types.pages import Known, Page
from securecontext.types.places import Place
from securecontext.types.security import KeysReport
from securecontext.types.state import Flaw
from securecontext.validators.url import WebUrl


@dataclass(frozen=True, slots=True)
class Project:
    """A project as a call sees it.

    Attributes:
        id: opaque.
        name: for people.
        folder: the caller's folder as the caller named it; empty where the project was not found by a folder.
    """

    id: str
    name: str
    folder: str = ""


@dataclass(frozen=True, slots=True)
class ServiceFacts:
    """What the running service can say of itself.

    Attributes:
        for_many: a system service, which looks into nobody's folders.
        gateway: the data is kept by another service.
        open_to_others: callers of the HTTP door may be on other machines.
        engine: what keeps the data: ``sqlite`` or ``postgres``.
    """

    version: str
    home: Path
    pid: int
    started_at: datetime
    http_url: str
    connections: int
    for_many: bool = False
    gateway: bool = False
    engine: str = "sqlite"
    open_to_others: bool = False


class Code(Protocol):
    """The installed code against its baseline."""

    def check(self) -> Judgement:
        """Compare the code with its baseline; make a new one where the files vouch for themselves."""

    def accept(self) -> Judgement:
        """Make what is there now the baseline; return what would have been thought of it otherwise."""


class State(Protocol):
    """The stored state against its invariants."""

    def check(self) -> Sequence[Flaw]:
        """Return every invariant that is broken; a new one is an entry of the machine's ledger."""


class DataKeys(Protocol):
    """The keys of stored texts, without a byte of one."""

    def report(self) -> KeysReport:
        """Return what may be told of the keys."""

    def rotate(self) -> KeysReport:
        """Wrap every data key with a new key-encryption key, and write under a new data key from now on."""

    def destroy(self, key_id: str) -> KeysReport:
        """Erase a data key for good: what it protects cannot be read any more."""


class Ledgers(Protocol):
    """The ledgers of this installation."""

    def verify(self, connection: Connection) -> Verdict:
        """Check every entry of the ledger that this connection sees."""

    def verify_store(self, store: Store, *, whole: bool = False) -> Verdict:
        """Verify a store's ledger: what came after the last good check, or all of it."""

    @property
    def signer(self) -> str:
        """The id of who signs the ledgers of this installation now."""

    def verified_at(self, store: Store) -> str:
        """Return when a store's ledger was last read whole and found good, a timestamp; empty where nobody knows."""

    def checkpoint(self, store: Store) -> None:
        """Place, sign and anchor what a ledger holds; what is in the way is for the check to say."""

    def end_epoch(self) -> Sequence[str]:
        """End the epoch of the ledger's keys; return what could not be signed any more."""

    def signers(self) -> Signers:
        """Return the public keys that the ledgers of this installation are signed with."""

    def proof(self, connection: Connection, entry: int) -> Iterator[bytes]:
        """Yield the bundle that proves an entry of the ledger that this connection sees."""

    def export(self, connection: Connection, *, bodies: bool) -> Iterator[bytes]:
        """Yield the bundle of the whole ledger that this connection sees."""

    def purge(
        self,
        connection: Connection,
        session: str,
        by: str | None,
        moment: datetime,
        kept: Sequence[EntryKind],
    ) -> Purged:
        """Purge the bodies of a session's entries in the ledger that this connection writes.

        Args:
            connection: inside the writer's transaction.
            session: its name.
            by: the principal whose entries; None for every one's.
            moment: now.
            kept: kinds whose bodies stay.
        """

    def tail(
        self, connection: Connection, limit: int, before: int | None = None, kind: str | None = None
    ) -> Sequence[LedgerRow]:
        """Return the newest entries of the ledger that this connection sees, newest first; before one, of one kind."""

    def size(self, connection: Connection) -> tuple[int, int]:
        """Return (entries, streams) of the ledger that this connection sees."""


class Made(Protocol):
    """A backup that was made."""

    @property
    def file(self) -> Path:
        """Where it lies."""

    @property
    def manifest(self) -> Manifest:
        """What is in it."""

    @property
    def fingerprints(self) -> Sequence[str]:
        """Of its signers."""

    @property
    def entries(self) -> int:
        """Of all ledgers in it."""


class Staged(Protocol):
    """A restore that is ready to take place."""

    @property
    def made(self) -> str:
        """When the backup was made, a timestamp."""

    @property
    def projects(self) -> int:
        """How many projects it holds."""

    @property
    def entries(self) -> int:
        """Of all ledgers in it."""

    @property
    def signer(self) -> str:
        """Key id of the new signer; names the restore."""

    @property
    def fingerprint(self) -> str:
        """Of the new signer's keys."""


class Backups(Protocol):
    """Backups of this installation."""

    def make(self, target: Path, *, with_keys: bool) -> Made:
        """Make a backup, a file or in a folder; it is there whole or not at all.

        Args:
            target: the file to be, or a folder for it.
            with_keys: whether the wrapped data keys go in.
        """

    def stage(
        self,
        file: Path,
        trusted: Sequence[str],
        who: Callable[[dict[str, object]], EntryDraft],
        *,
        without_keys: bool,
    ) -> Staged:
        """Check a backup and make it ready; nothing that is there is changed.

        Args:
            file: the backup.
            trusted: fingerprints that the caller vouches for.
            who: makes the entry of each ledger that says so, of its arguments.
            without_keys: whether it is made ready although encrypted texts in it cannot be read here.
        """

    def commit(self, signer: str) -> None:
        """Have the restore of a new signer take place: nothing is written from here on, and the service ends."""

    def drop(self, signer: str) -> None:
        """Forget a restore, and remove what was made ready for it unless it was committed."""


class Web(Protocol):
    """The web, behind its guard."""

    def fetch(
        self, who: Principal, project: str, url: WebUrl, rules: Sequence[Rule], known: Known | None = None
    ) -> Page:
        """Return a page that the operator's rules lead to; see `web.fetch.Fetcher`."""


class World(Protocol):
    """The composition root, as operations see it."""

    @property
    def machine(self) -> Store:
        """The machine's store."""

    @property
    def bell(self) -> Bell:
        """What wakes calls that wait."""

    @property
    def bodies(self) -> Bodies:
        """What seals and opens confidential and restricted texts."""

    @property
    def facts(self) -> ServiceFacts:
        """The running service."""

    @property
    def limits(self) -> Limits:
        """What callers are held to."""

    @property
    def operator(self) -> Unlocked:
        """Knows at which terminals the operator is."""

    @property
    def code(self) -> Code:
        """The installed code."""

    @property
    def state(self) -> State:
        """The stored state."""

    @property
    def credentials(self) -> Credentials:
        """What session tokens are worth."""

    @property
    def data_keys(self) -> DataKeys:
        """The keys of stored texts."""

    @property
    def backups(self) -> Backups:
        """Backups of this installation."""

    @property
    def ledgers(self) -> Ledgers:
        """The ledgers of this installation."""

    @property
    def web(self) -> Web:
        """The web, behind its guard."""

    @property
    def sandbox(self) -> object:
        """What runs code: the `Executor` of a room that this floor does not know."""

    @property
    def clock(self) -> Callable[[], datetime]:
        """The present moment, for what no transaction tells."""

    def connected(self, who: Principal) -> bool:
        """Say whether a session has a connection of its own just now; callers over HTTP never have one."""

    def store(self, project: str) -> Store:
        """Return the store of a project, opening it if need be."""

    def kept_in(self, project: str) -> str:
        """Return the name of what keeps a project's store; empty when nothing of it is there."""

    def find_project(self, path: str, scope: str, owner: str = "") -> Project:
        """Return the project of a folder, of another user where an owner is named; a folder that is new gets one."""

    def known_project(self, path: str, scope: str = "") -> str | None:
        """Return the id of a folder's project, registering nothing; None where it has none."""

    def project(self, project: str) -> Project:
        """Return a project by its id."""

    def locate(self, path: str, scope: str = "") -> Place:
        """Return what a folder is as a project, without registering it."""

    def recent_projects(self, limit: int) -> Sequence[Project]:
        """Return the projects used last, newest first."""

    def folders_changed(self, project: str) -> None:
        """Look every folder up again, and let the project's file say which ones lead to it now."""

    def end_project(self, project: str) -> Store:
        """Refuse every later write to a project, and return its store, which can still be read.

        What was acknowledged is in it. Until `settle_project` nobody can use the project.
        """

    def settle_project(self, project: str) -> None:
        """Bring a project in line with what the register says: used again, emptied as merged, removed as deleted."""

    def plan_root(self, name: Literal["encryption", "tokens", "skills"]) -> tuple[str, str]:
        """Have a root rotated at the next start of the service; return its id, and that of the next one."""

    def open_copy(self, path: Path) -> AbstractContextManager[Connection]:
        """Open a database file that is not ours to change, read-only."""

    def set_aside(self) -> Sequence[tuple[Path, Path | None]]:
        """Return the files that were set aside as broken (name they had, where they are kept), or are missing."""

    def recover(self, path: Path) -> None:
        """Let a fresh file be made in place of one that was set aside, or is missing."""
