"""Everything that has one owner, put together: stores, keys, ledgers, the corridor."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

from sqlalchemy import Connection, func, select

import securecontext.operations  # noqa: F401 - declares the catalogue
from securecontext import __version__
from securecontext.app import chores
from securecontext.app.checkpoints import Checkpoints
from securecontext.app.installed import InstalledCode
from securecontext.app.ledgers import log_of, recorder
from securecontext.app.verification import Verification
from securecontext.boundaries import audit, export, signers
from securecontext.boundaries.anchors import AnchorFile
from securecontext.boundaries.credentials import Credentials
from securecontext.boundaries.data_keys import DataKeys
from securecontext.boundaries.door_token import FILE as TOKEN_FILE
from securecontext.boundaries.door_token import DoorToken, open_token
from securecontext.boundaries.installation import Installation
from securecontext.boundaries.keys import Keyring
from securecontext.boundaries.limits import Gate, Limits
from securecontext.boundaries.operator import Operator
from securecontext.boundaries.policy import Policy
from securecontext.boundaries.tokens import TokenKey
from securecontext.boundaries.verdict import Status, Verdict
from securecontext.boundaries.verify_entries import Pace
from securecontext.pipeline.corridor import Corridor
from securecontext.pipeline.world import Project, ServiceFacts
from securecontext.projects import census, emptying, register
from securecontext.projects.identity import locate, machine_id, marks
from securecontext.settings import Settings
from securecontext.storage import aside, copies, sqlite
from securecontext.storage.port import Store
from securecontext.storage.tables import ledger_entries, ledger_heads
from securecontext.types.errors import Expired, InvalidInput, Unavailable, ZcError
from securecontext.types.ids import new_id, now, timestamp
from securecontext.types.places import Place
from securecontext.types.security import KeysReport

log = logging.getLogger("securecontext.app")
ANCHORS = "anchors.log"
"""Not `audit.log`, which is the predecessor's."""
EPOCH = timedelta(days=1)
"""How long the ledger's keys are used before they are erased."""
USED_AGAIN = timedelta(hours=1)
"""How stale a project's `last used` may become before it is written again."""


@dataclass(frozen=True, slots=True)
class _Known:
    """A folder that was looked up: its project, when that was, and what tells it from one made there later."""

    project: Project
    moment: datetime
    marks: tuple[int, ...] | None


class App:
    """Everything that has one owner: stores, keys, ledgers, the corridor. Satisfies `pipeline.world.World`.

    Args:
        settings: where the data lies.
        clock: the present moment.

    Raises:
        ZcError: the data folder, its keys or the machine's file cannot be used; the error says what to do.
    """

    def __init__(self, settings: Settings, clock: Callable[[], datetime] = now) -> None:
        self.settings = settings
        self.clock = clock
        home = settings.home
        (home / "projects").mkdir(mode=0o700, parents=True, exist_ok=True)
        self._keyring = Keyring.open(home / "keys", settings.machine_secret)
        self._data_keys = DataKeys(home / "keys", self._keyring.root("encryption"), clock)
        self.operator = Operator(home / "keys")
        self._machine_id = machine_id()
        self._lock = threading.RLock()
        self._stores: dict[str, Store] = {}
        self._ended: set[str] = set()
        self._ending: dict[str, Store] = {}
        """Stores of projects that end just now: they are read, and take no more writes."""
        self._emptied: set[str] = set()
        self._settling = threading.Lock()
        self._known: dict[tuple[str, str], _Known] = {}
        self._machine: Store | None = None
        self.code = InstalledCode(Installation.of_this_process(home), self._keyring, lambda: self.machine)
        self.facts = ServiceFacts(__version__, home, os.getpid(), clock(), "", 0)
        self._anchors = AnchorFile(home / "logs" / ANCHORS)
        others = [AnchorFile(settings.witness_file)] if settings.witness_file else []
        self._checkpoints = Checkpoints(self._keyring, [self._anchors, *others], clock)
        self._verification = Verification(self._keyring, self._anchors, others, clock)
        self.limits = Limits(
            calls_per_second=settings.calls_per_second,
            memory_mb=settings.memory_limit_mb,
            quota_mb=settings.quota_mb,
        )
        self.gate = Gate(self.limits)
        self.credentials = Credentials(TokenKey(self._keyring), lambda: self.machine, clock)
        self.corridor = Corridor(self, Policy(self.operator), self.gate)

    # World

    @property
    def machine(self) -> Store:
        """The machine's store.

        Opened at its first use, so that a broken file does not keep the service from saying what is wrong with it.
        """
        with self._lock:
            if self._machine is None:
                self._machine = self._open_machine()
            return self._machine

    def _open_machine(self) -> Store:
        path = self.settings.home / "machine.db"
        with suppress(OSError, ZcError):  # what is wrong with it is told below
            aside.refuse_if_set_aside(path)
            if path.stat().st_size == 0:  # it holds nothing that a person could decide about
                log.warning("%s was empty; it is kept as %s", path, aside.set_aside(path).name)
                aside.recover(path)
        machine = sqlite.SqliteStore(path, self.clock, recorder(self._keyring, "machine", ""))
        try:
            with machine.read() as connection:
                lost = register.is_empty(connection)
            if lost:
                self._register_anew(machine)
        except BaseException:
            machine.close()
            raise
        return machine

    def store(self, project: str) -> Store:
        """Return the store of a project, opening it if need be.

        Raises:
            Expired: the project was merged or deleted while its caller held on to it.
            Unavailable: its file cannot be used, or is gone although the project was used before.
        """
        with self._lock:
            if project in self._ended:
                raise _gone()
            store = self._stores.get(project)
            if store is None:
                store = self._stores[project] = self._open(project)
                self._note(store, project)
            return store

    def _open(self, project: str) -> Store:
        path = self.project_path(project)
        with self.machine.read() as connection:
            known = register.has_file(connection, project)
        if known and not path.exists():
            aside.refuse_if_set_aside(path)
            raise Unavailable(
                "database_missing",
                f"{path} is gone, although the project was used before.",
                "Put it back, or start with a fresh one: `zc recover --yes`.",
            )
        store = sqlite.SqliteStore(path, self.clock, recorder(self._keyring, "project", project))
        if not known:
            moment = timestamp(self.clock())
            try:
                self.machine.write(partial(chores.keep_file, project=project, moment=moment))
            except BaseException:
                store.close()
                raise
        return store

    def project_path(self, project: str) -> Path:
        """Return the file of a project's store."""
        return self.settings.home / "projects" / f"{project}.db"

    def locate(self, path: str, scope: str = "") -> Place:
        """Return what a folder is as a project, without registering it."""
        if scope not in ("", "worktree", "repository"):
            raise InvalidInput(
                "bad_setting", "ZC_PROJECT_SCOPE is not worktree or repository.", "Set it anew or unset it."
            )
        return locate(path, home=self.settings.user_home, machine=self._machine_id, scope=scope)

    def find_project(self, path: str, scope: str) -> Project:
        """Return the project of a folder; a folder that is new gets one."""
        moment = self.clock()
        seen = marks(path)
        known = self._known.get((path, scope))
        # Where a folder is gone, what is known of it stays true; another one in its place may be another project.
        if known is not None and moment - known.moment < USED_AGAIN and seen in (None, known.marks):
            return known.project
        place = self.locate(path, scope)
        with self._lock:
            project = self.machine.write(
                partial(chores.enter_project, path=path, place=place, fresh=new_id("prj"), moment=moment)
            )
            found = Project(project, place.name, path)
            self._known[(path, scope)] = _Known(found, moment, seen)
            store = self._stores.get(project)
        if (
            store is not None
        ):  # one that is opened later is told then, so that it is the call that hears of trouble
            self._note(store, project)
        return found

    def known_project(self, path: str, scope: str = "") -> str | None:
        """Return the id of a folder's project, registering nothing; None where it has none."""
        place = self.locate(path, scope)
        with self.machine.read() as connection:
            return register.find(connection, place)

    def project(self, project: str) -> Project:
        """Return a project by its id."""
        with self.machine.read() as connection:
            entry = register.get(connection, project)
        if entry.state != "active":
            raise _gone()
        return Project(entry.id, entry.name)

    def folders_changed(self, project: str) -> None:
        """Look every folder up again, and let the project's file say which ones lead to it now."""
        with self._lock:
            self._known.clear()
        with suppress(ZcError):
            self._note(self.store(project), project)

    def _note(self, store: Store, project: str) -> None:
        """Let the project's file say what leads to it."""
        with suppress(ZcError):  # the register has it; the file is told at the next opportunity
            with self.machine.read() as connection:
                aliases = register.leading_to(connection, project)
                name = register.get(connection, project).name
            with store.read() as connection:
                said = census.read(connection)
            if aliases and (said is None or (said.name, said.aliases) != (name, aliases)):
                moment = timestamp(self.clock())
                store.write(lambda transaction: census.note(transaction.connection, name, aliases, moment))

    def _register_anew(self, machine: Store) -> None:
        """Fill an empty register from what the projects' files say: the old one was lost, or set aside as broken."""
        found = []
        for file in sorted((self.settings.home / "projects").glob("*.db")):
            with suppress(ZcError), copies.open_copy(file) as connection:
                noted = census.read(connection)
                if noted is not None and noted.project == file.stem:
                    found.append(noted)
        if found:
            moment = timestamp(self.clock())
            machine.write(partial(chores.rebuild, found=found, moment=moment))

    def recent_projects(self, limit: int) -> Sequence[Project]:
        """Return the projects used last, newest first."""
        with self.machine.read() as connection:
            return [Project(e.id, e.name) for e in register.every(connection)[:limit]]

    def forget_project(self, project: str, *, ended: bool = False) -> None:
        """Close a project's store and forget what is cached about it; an ended one is not opened again."""
        with self._lock:
            if ended:
                self._ended.add(project)
            stores = [s for s in (self._stores.pop(project, None), self._ending.pop(project, None)) if s]
            self._known.clear()
        for store in stores:
            self.checkpoint(store)
            if ended:
                store.end(_gone)
            store.close()

    def end_project(self, project: str) -> Store:
        """Refuse every later write to a project, and return its store, which can still be read.

        What was acknowledged is in it. Until `settle_project` nobody can use the project.

        Raises:
            Expired: it ends already, or has ended.
        """
        with self._lock:
            store = self.store(project)
            self._ended.add(project)
            self._ending[project] = self._stores.pop(project)
        store.end(_gone)  # not under the lock: what is queued may wait for it
        return store

    def settle_project(self, project: str) -> None:
        """Bring a project in line with what the register says: used again, emptied as merged, removed as deleted.

        Can be repeated: whatever a crash left undone is done at the next time.

        Raises:
            Unavailable: its file cannot be changed or removed now.
        """
        with self._settling:
            with self.machine.read() as connection:
                entry = register.get(connection, project)
            self.forget_project(project, ended=entry.state != "active")
            match entry.state:
                case "merged":
                    self._empty(entry)
                case "deleted":
                    self._remove_files(project)
                case _:
                    with self._lock:
                        self._ended.discard(project)

    def _empty(self, entry: register.Entry) -> None:
        """Delete what a merged project held, but not its ledger."""
        path = self.project_path(entry.id)
        if path.exists():
            store = sqlite.SqliteStore(path, self.clock, recorder(self._keyring, "project", entry.id))
            try:
                with store.read() as connection:
                    done = census.merged_into(connection) is not None
                if not done:
                    target = entry.merged_into or ""
                    store.write(partial(emptying.empty, text=store.text, project=entry.id, target=target))
            finally:
                store.close()
        self._emptied.add(entry.id)

    def _remove_files(self, project: str) -> None:
        path = self.project_path(project)
        # The file itself last: while it is there, the deletion can be asked for again.
        for file in sorted(path.parent.glob(f"*{path.name}*"), key=lambda each: each == path):
            try:
                file.unlink(missing_ok=True)
            except OSError as error:
                raise Unavailable(
                    "file_not_removed",
                    f"The project is deleted, but {file} could not be removed ({error.strerror}).",
                    "Let its folder be written to, then delete the project again.",
                ) from error

    def key_report(self) -> KeysReport:
        """Return what may be told of the keys of stored texts; never a byte of one."""
        return self._data_keys.report()

    def rotate_keys(self) -> KeysReport:
        """Wrap every data key with a new key-encryption key, and write under a new data key from now on."""
        return self._data_keys.rotate()

    def destroy_key(self, key_id: str) -> KeysReport:
        """Erase a data key for good: what it protects cannot be read any more."""
        return self._data_keys.destroy(key_id)

    def verify(self, connection: Connection) -> Verdict:
        """Check every entry of the ledger that this connection sees."""
        return self._verification.copy(connection)

    def verify_ledger(self, store: Store, *, whole: bool = False) -> Verdict:
        """Check a ledger of our own; by default what came after the last good check."""
        return self._verification.check(store, whole=whole)

    def verify_due(self, pace: Pace) -> None:
        """Check every open ledger whole that was not for a day, and say in the log what is found."""
        for store in self._open_stores():
            with suppress(Expired, Unavailable):
                if self._verification.due(store):
                    verdict = self._verification.check(store, whole=True, pace=pace)
                    say = log.info if verdict.status in (Status.OK, Status.UNANCHORED) else log.error
                    say("the daily check of a ledger: %s", verdict.as_text())

    def checkpoint(self, store: Store) -> None:
        """Place, sign and anchor what a ledger holds; what is in the way is for the check to say."""
        try:
            self._checkpoints.make(store)
        except ZcError as error:
            log.warning("a ledger has no new checkpoint: %s", error)

    def checkpoint_due(self) -> None:
        """Do that for every open ledger that has waited long enough, or grown far enough."""
        for store in self._open_stores():
            with suppress(Expired, Unavailable):
                if self._checkpoints.due(store):
                    self.checkpoint(store)

    def _open_stores(self) -> Sequence[Store]:
        with self._lock:
            return [*([self._machine] if self._machine else []), *self._stores.values()]

    def signers(self) -> signers.Signers:
        """Return the public keys that the ledgers of this installation are signed with."""
        return signers.read(self._keyring)

    def proof(self, connection: Connection, entry: int) -> Iterator[bytes]:
        """Yield the bundle that proves an entry of the ledger that this connection sees."""
        return export.proof(connection, log_of(connection), self.signers(), entry)

    def export(self, connection: Connection, *, bodies: bool) -> Iterator[bytes]:
        """Yield the bundle of the whole ledger that this connection sees."""
        return export.whole(connection, log_of(connection), self.signers(), bodies=bodies)

    def end_epoch(self) -> Sequence[str]:
        """End the epoch of the ledger's keys; return what could not be signed any more."""
        with self._lock:
            was_open = set(self._stores)
        opened: set[str] = set()

        def every() -> Sequence[Callable[[], Store]]:
            with self.machine.read() as connection:
                opened.update(set(register.with_files(connection)) - self._ended)
            return [lambda: self.machine, *(partial(self.store, project) for project in sorted(opened))]

        try:
            return self._checkpoints.end_epoch(every)
        finally:
            for project in opened - was_open:
                self.forget_project(project)

    def end_old_epoch(self) -> None:
        """End the epoch of the ledger's keys once it has lasted long enough."""
        since = self._checkpoints.epoch_since()
        if since is not None and self.clock() - since >= EPOCH:
            self.end_epoch()

    def tail(self, connection: Connection, limit: int) -> Sequence[audit.LedgerRow]:
        """Return the newest entries of the ledger that this connection sees, newest first."""
        return audit.tail(connection, log_of(connection), limit)

    def ledger_size(self, connection: Connection) -> tuple[int, int]:
        """Return (entries, streams) of the ledger that this connection sees."""
        entries = connection.execute(select(func.max(ledger_entries.c.entry))).scalar() or 0
        streams = connection.execute(select(func.count()).select_from(ledger_heads)).scalar() or 0
        return int(entries), int(streams)

    def open_copy(self, path: Path) -> AbstractContextManager[Connection]:
        """Open a database file that is not ours to change, read-only."""
        return copies.open_copy(path)

    def set_aside(self) -> Sequence[tuple[Path, Path | None]]:
        """Return the files that were set aside as broken (name they had, where they are kept), or are missing."""
        home = self.settings.home
        found: dict[Path, Path | None] = {**aside.found_in(home, home / "projects")}
        with suppress(ZcError), self.machine.read() as connection:
            for project in register.with_files(connection):
                if not self.project_path(project).exists():
                    found.setdefault(self.project_path(project), None)
        return list(found.items())

    def recover(self, path: Path) -> None:
        """Let a fresh file be made in place of one that was set aside, or is missing."""
        with self._lock:
            broken, self._machine = (
                (self._machine, None) if path.parent == self.settings.home else (None, self._machine)
            )
        if broken is not None:
            broken.close()
        self.forget_project(path.stem)
        aside.recover(path)
        if path == self.project_path(path.stem):
            self.machine.write(lambda transaction: register.give_up_file(transaction.connection, path.stem))

    def door_token(self) -> DoorToken:
        """Return the token of the HTTP door, making it at the first use."""
        return open_token(self.door_token_file.parent)

    @property
    def door_token_file(self) -> Path:
        """Where the token of the HTTP door lies."""
        return self.settings.home / "keys" / TOKEN_FILE

    # Life

    def tidy(self) -> None:
        """Drop what has expired: documents past their time, kept answers; finish what a crash left of ended projects.

        Called at the start and now and then, never by a call.
        """
        moment = self.clock()
        with self._lock:
            stores, machine = dict(self._stores), self._machine
        for project, store in stores.items():
            with suppress(Expired):  # it has just ended
                store.write(partial(chores.drop_expired, project=project, text=store.text, moment=moment))
        if machine is not None:
            machine.write(partial(chores.drop_tokens, moment=moment))
        self._settle_ended()

    def _settle_ended(self) -> None:
        there = {
            file.name.lstrip(".").partition(".")[0] for file in (self.settings.home / "projects").glob("*")
        }
        if not there:  # nobody has stored anything yet
            return
        with self.machine.read() as connection:
            ended = register.every(connection, ("merged", "deleted"))
        for entry in ended:
            if entry.id in there and (entry.state == "deleted" or entry.id not in self._emptied):
                try:
                    self.settle_project(entry.id)
                except ZcError as error:
                    log.warning("project %s, which is %s: %s", entry.id, entry.state, error)

    def close(self) -> None:
        """Finish what is queued and close every store."""
        with self._lock:
            stores = [*self._stores.values(), *self._ending.values()]
            self._stores.clear()
            self._ending.clear()
            if self._machine is not None:
                stores.append(self._machine)
                self._machine = None
        for store in stores:
            self.checkpoint(store)
            store.close()


def _gone() -> ZcError:
    return Expired(
        "project_gone",
        "This project was merged or deleted while this session was open.",
        "Call again: the folder leads to the project that it belongs to now.",
    )
