"""The composition root: the only place that picks engines and keys."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

from sqlalchemy import Connection, func, insert, select

import securecontext.operations  # noqa: F401 - declares the catalogue
from securecontext import __version__
from securecontext.boundaries import audit
from securecontext.boundaries.door_token import FILE as TOKEN_FILE
from securecontext.boundaries.door_token import DoorToken, open_token
from securecontext.boundaries.keys import Keyring
from securecontext.boundaries.limits import Gate, Limits
from securecontext.boundaries.policy import Policy
from securecontext.boundaries.verdict import Verdict
from securecontext.boundaries.verify import verify
from securecontext.knowledge import archive
from securecontext.pipeline import replay
from securecontext.pipeline.corridor import Corridor
from securecontext.pipeline.world import Project, ServiceFacts
from securecontext.projects import census, predecessor, register
from securecontext.projects.identity import locate, machine_id
from securecontext.settings import Settings
from securecontext.storage import sqlite
from securecontext.storage.port import Recorder, Store, TextIndex, Transaction
from securecontext.storage.tables import ledger_entries, ledger_heads, meta
from securecontext.types.errors import Expired, InvalidInput, Tampered, ZcError
from securecontext.types.ids import new_id, now, timestamp
from securecontext.types.ledger import EntryDraft
from securecontext.types.places import Place

USED_AGAIN = timedelta(hours=1)
"""How stale a project's `last used` may become before it is written again."""


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
        self._machine_id = machine_id()
        self._lock = threading.RLock()
        self._stores: dict[str, Store] = {}
        self._ended: set[str] = set()
        self._known: dict[tuple[str, str], tuple[Project, datetime]] = {}
        self._places: dict[str, Place] = {}
        """Folders that projects' files are still to be told."""
        self._machine: Store | None = None
        self.facts = ServiceFacts(__version__, home, os.getpid(), clock(), "", 0)
        self.corridor = Corridor(self, Policy(), Gate(Limits()))

    # World

    @property
    def machine(self) -> Store:
        """The machine's store.

        Opened at its first use, so that a broken file does not keep the service from saying what is wrong with it.
        """
        with self._lock:
            if self._machine is None:
                path = self.settings.home / "machine.db"
                lost = not path.exists()
                self._machine = sqlite.SqliteStore(path, self.clock, self._recorder("machine", ""))
                if lost:
                    self._register_anew(self._machine)
            return self._machine

    def store(self, project: str) -> Store:
        """Return the store of a project, opening it if need be.

        Raises:
            Expired: the project was merged or deleted while its caller held on to it.
        """
        with self._lock:
            if project in self._ended:
                raise Expired(
                    "project_gone",
                    "This project was merged or deleted while this session was open.",
                    "Start a new session: its folder gets the project that it belongs to now.",
                )
            store = self._stores.get(project)
            if store is None:
                store = sqlite.SqliteStore(
                    self.project_path(project), self.clock, self._recorder("project", project)
                )
                self._stores[project] = store
                self._note(store, project)
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
        known = self._known.get((path, scope))
        if known is not None and moment - known[1] < USED_AGAIN:
            return known[0]
        place = self.locate(path, scope)
        with self._lock:
            project = self.machine.write(
                partial(_enter_project, path=path, place=place, fresh=new_id("prj"), moment=moment)
            )
            found = Project(project, place.name, path)
            self._known[(path, scope)] = (found, moment)
            self._places[project] = place
            store = self._stores.get(project)
        if (
            store is not None
        ):  # one that is opened later is told then, so that it is the call that hears of trouble
            self._note(store, project)
        return found

    def _note(self, store: Store, project: str) -> None:
        """Let the project's file say which folder it belongs to."""
        place = self._places.pop(project, None)
        if place is None:
            return
        with suppress(ZcError):  # the register has it; the file is told at the next opportunity
            with store.read() as connection:
                known = not census.differs(connection, place)
            if not known:
                moment = timestamp(self.clock())
                store.write(lambda transaction: census.note(transaction.connection, place, moment))

    def _register_anew(self, machine: Store) -> None:
        """Fill a new register from what the projects' files say: the old one was lost, or set aside as broken."""
        found = []
        for file in sorted((self.settings.home / "projects").glob("*.db")):
            with suppress(ZcError), sqlite.open_copy(file) as connection:
                noted = census.read(connection)
                if noted is not None and noted.project == file.stem:
                    found.append(noted)
        if found:
            moment = timestamp(self.clock())
            machine.write(partial(_rebuild, found=found, moment=moment))

    def recent_projects(self, limit: int) -> Sequence[Project]:
        """Return the projects used last, newest first."""
        with self.machine.read() as connection:
            return [Project(e.id, e.name) for e in register.every(connection)[:limit]]

    def forget_project(self, project: str, *, ended: bool = False) -> None:
        """Close a project's store and forget what is cached about it; an ended one is not opened again."""
        with self._lock:
            if ended:
                self._ended.add(project)
            store = self._stores.pop(project, None)
            self._known.clear()
        if store is not None:
            store.close()

    def verify(self, connection: Connection) -> Verdict:
        """Verify the ledger that this connection sees."""
        return verify(connection, _log_of(connection), self._keyring)

    def tail(self, connection: Connection, limit: int) -> Sequence[audit.LedgerRow]:
        """Return the newest entries of the ledger that this connection sees, newest first."""
        return audit.tail(connection, _log_of(connection), limit)

    def ledger_size(self, connection: Connection) -> tuple[int, int]:
        """Return (entries, streams) of the ledger that this connection sees."""
        entries = connection.execute(select(func.max(ledger_entries.c.entry))).scalar() or 0
        streams = connection.execute(select(func.count()).select_from(ledger_heads)).scalar() or 0
        return int(entries), int(streams)

    def open_copy(self, path: Path) -> AbstractContextManager[Connection]:
        """Open a database file that is not ours to change, read-only."""
        return sqlite.open_copy(path)

    def set_aside(self) -> Sequence[tuple[Path, Path]]:
        """Return the files that were set aside as broken: (name they had, where they are kept)."""
        home = self.settings.home
        found = sorted([*home.glob("*" + sqlite.MARKER), *(home / "projects").glob("*" + sqlite.MARKER)])
        return [
            (
                marker.with_name(marker.name.removesuffix(sqlite.MARKER)),
                Path(json.loads(marker.read_text("utf-8"))["kept"]),
            )
            for marker in found
        ]

    def recover(self, path: Path) -> Path | None:
        """Let a fresh file be made in place of one that was set aside."""
        with self._lock:
            broken, self._machine = (
                (self._machine, None) if path.parent == self.settings.home else (None, self._machine)
            )
        if broken is not None:
            broken.close()
        self.forget_project(path.stem)
        return sqlite.recover(path)

    def door_token(self) -> DoorToken:
        """Return the token of the HTTP door, making it at the first use."""
        return open_token(self.door_token_file.parent)

    @property
    def door_token_file(self) -> Path:
        """Where the token of the HTTP door lies."""
        return self.settings.home / "keys" / TOKEN_FILE

    # Life

    def tidy(self) -> None:
        """Drop what has expired: documents past their time, kept answers. Called now and then, never by a call."""
        moment = self.clock()
        with self._lock:
            stores = dict(self._stores)
        for project, store in stores.items():
            store.write(partial(_drop_expired, project=project, text=store.text, moment=moment))

    def close(self) -> None:
        """Finish what is queued and close every store."""
        with self._lock:
            stores = list(self._stores.values())
            self._stores.clear()
            if self._machine is not None:
                stores.append(self._machine)
                self._machine = None
        for store in stores:
            store.close()

    def _recorder(self, kind: str, project: str) -> Callable[[Connection, datetime], Recorder]:
        def open_recorder(connection: Connection, moment: datetime) -> Recorder:
            known = {row.name: row.value for row in connection.execute(select(meta))}
            fresh = "log" not in known
            if fresh:
                known = {"kind": kind, "project": project, "log": new_id("log")}
                connection.execute(insert(meta), [{"name": n, "value": v} for n, v in known.items()])
            if (known.get("kind"), known.get("project")) != (kind, project):
                raise Tampered(
                    "foreign_file",
                    "A database file says that it belongs to another project.",
                    "Put the file back where it came from, or restore a backup.",
                )
            ledger = audit.Ledger(known["log"], self._keyring)
            if (
                fresh
            ):  # a log is opened once: one that was emptied later stays without its first entry, which shows
                ledger.open_log(connection, moment)
            return ledger

        return open_recorder


def _enter_project(transaction: Transaction, *, path: str, place: Place, fresh: str, moment: datetime) -> str:
    """Return the project of a place; a new one is an entry of the machine's ledger."""

    def imported_under() -> list[str]:
        return [predecessor.ALIAS + h for h in predecessor.hashes(predecessor.spellings(path, place.top))]

    project = register.enter(transaction.connection, place, fresh, timestamp(moment), imported_under)
    if project == fresh:
        body = {"operation": "project.register", "outcome": "ok", "arguments": {"project": project}}
        transaction.record(EntryDraft("system", "projects", "", "call", body, {"path": place.path_alias}))
    return project


def _rebuild(transaction: Transaction, *, found: Sequence[census.Noted], moment: str) -> None:
    count = census.rebuild(transaction.connection, found, moment)
    body = {"operation": "project.rebuild", "outcome": "ok", "arguments": {"projects": count}}
    transaction.record(EntryDraft("system", "projects", "", "call", body))


def _drop_expired(transaction: Transaction, *, project: str, text: TextIndex, moment: datetime) -> None:
    gone = archive.expired(transaction.connection, project, timestamp(moment))
    archive.drop(transaction.connection, text, gone)
    replay.drop_old(transaction.connection, timestamp(moment - replay.KEPT))


def _log_of(connection: Connection) -> str:
    found = connection.execute(select(meta.c.value).where(meta.c.name == "log")).scalar()
    if found is None:
        raise Tampered(
            "no_log", "This database does not name its ledger.", "Restore a backup, or name another copy."
        )
    return str(found)
