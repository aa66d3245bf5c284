"""The stores of one installation: opened at their first use, noted, frozen, ended, closed. What keeps them is below.

Two kinds of `Stores` say what keeps them: `app.files` (a SQLite file each) and `app.shared` (one PostgreSQL database).
"""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from datetime import datetime
from functools import partial
from pathlib import Path

from sqlalchemy import Connection

from securecontext.app import chores
from securecontext.projects import census, emptying, register
from securecontext.storage.acting import PROJECTS, RETENTION, acting
from securecontext.storage.port import Store
from securecontext.types.errors import Expired, ZcError
from securecontext.types.ids import timestamp

log = logging.getLogger("securecontext.stores")
MACHINE = "machine"
"""Names the machine's store beside those of projects."""


class Stores(ABC):
    """The machine's store and those of the projects. Safe to share by threads.

    Args:
        clock: the present moment.
        before_closing: is given each store that is about to be closed.

    Attributes:
        changes: grows when what is known of projects may not be true any more.
        shared: whether other services use the same stores.
    """

    shared: bool = False

    def __init__(self, clock: Callable[[], datetime], before_closing: Callable[[Store], None]) -> None:
        self._clock = clock
        self._before_closing = before_closing
        self._lock = threading.RLock()
        self._machine: Store | None = None
        self._projects: dict[str, Store] = {}
        self._ended: set[str] = set()
        self._ending: dict[str, Store] = {}
        """Stores of projects that end just now: they are read, and take no more writes."""
        self._settling = threading.Lock()
        self._frozen: Callable[[], ZcError] | None = None
        self.changes = 0

    # What keeps the stores

    @abstractmethod
    def listen(self, tell: Callable[[str], None]) -> None:
        """Have topics told that other services on the same stores make known; called once."""

    @abstractmethod
    def _open_machine(self) -> Store:
        """Open the machine's store."""

    @abstractmethod
    def _open(self, project: str) -> Store:
        """Open the store of a project, and keep that it was made."""

    @abstractmethod
    def _empty(self, entry: register.Entry) -> None:
        """Delete what a merged project held, but not its ledger. Can be repeated."""

    @abstractmethod
    def _remove(self, project: str) -> None:
        """Remove all that is kept of a deleted project. Can be repeated."""

    @abstractmethod
    def _settle_ended(self) -> None:
        """Finish what a crash left of ended projects."""

    @abstractmethod
    def kept_in(self, project: str) -> str:
        """Return the name of what keeps a project's store; empty when nothing of it is there."""

    @abstractmethod
    def reading(self, where: str) -> AbstractContextManager[Connection | None]:
        """Yield a connection that sees one state of a store, opened or not; None where it has no current schema."""

    @abstractmethod
    def told(self) -> dict[str, object]:
        """Return what keeps the stores and where, for people: never a password."""

    @abstractmethod
    def largest(self, beyond: int) -> int:
        """Return the bytes of the largest project; below ``beyond`` what is cheaper to know will do."""

    @abstractmethod
    def set_aside(self) -> Sequence[tuple[Path, Path | None]]:
        """Return the files that were set aside as broken (name they had, where they are kept), or are missing."""

    @abstractmethod
    def recover(self, path: Path) -> None:
        """Let a fresh file be made in place of one that was set aside, or is missing."""

    @abstractmethod
    def _say_ends(self, project: str) -> None:
        """Let other services know that a project ends."""

    @abstractmethod
    def _say_goes_on(self, project: str) -> None:
        """Let other services know that a project does not end after all."""

    @abstractmethod
    def _let_go(self) -> None:
        """Release what the closed stores shared."""

    # Opening

    @property
    def machine(self) -> Store:
        """The machine's store.

        Opened at its first use, so that a broken file does not keep the service from saying what is wrong with it.
        """
        with self._lock:
            if self._machine is None:
                self._refuse_frozen()
                self._machine = self._open_machine()
            return self._machine

    def project(self, project: str) -> Store:
        """Return the store of a project, opening it if need be.

        Raises:
            Expired: the project was merged or deleted while its caller held on to it.
            Unavailable: what keeps it cannot be used, or is gone although the project was used before.
        """
        with self._lock:
            if project in self._ended:
                raise gone()
            store = self._projects.get(project)
            if store is None:
                self._refuse_frozen()
                store = self._projects[project] = self._open(project)
                self.note(store, project)
            return store

    def note(self, store: Store, project: str) -> None:
        """Let the project's file say what leads to it."""
        with suppress(ZcError):  # the register has it; the file is told at the next opportunity
            with self.machine.read() as connection:
                aliases = register.leading_to(connection, project)
                name = register.get(connection, project).name
            with store.read() as connection:
                said = census.read(connection)
            if aliases and (said is None or (said.name, said.aliases) != (name, aliases)):
                moment = timestamp(self._clock())
                store.write(lambda transaction: census.note(transaction.connection, name, aliases, moment))

    def freeze(self, refusal: Callable[[], ZcError]) -> None:
        """Open no store any more and refuse every later write, so: what was acknowledged is in the files."""
        with self._lock:
            self._frozen = refusal
        for store in self.every_open():
            self._before_closing(store)
            store.end(refusal)  # not under the lock: what is queued may wait for it

    def _refuse_frozen(self) -> None:
        if self._frozen is not None:
            raise self._frozen()

    # What is open, and what there is

    def opened(self, project: str) -> Store | None:
        """Return the store of a project if it is open."""
        with self._lock:
            return self._projects.get(project)

    def open_projects(self) -> dict[str, Store]:
        """Return the open stores of projects."""
        with self._lock:
            return dict(self._projects)

    def every_open(self) -> list[Store]:
        """Return every open store, the machine's first."""
        with self._lock:
            return [*([self._machine] if self._machine else []), *self._projects.values()]

    def projects_with_files(self) -> set[str]:
        """Return the projects that have a file and have not ended."""
        with self.machine.read() as connection:
            return set(register.with_files(connection)) - self._ended

    def openers(self, projects: Sequence[str]) -> list[Callable[[], Store]]:
        """Return what opens the machine's store and those of these projects, one each."""
        return [lambda: self.machine, *(partial(self.project, project) for project in projects)]

    # Ending

    def forget(self, project: str, *, ended: bool = False) -> None:
        """Close a project's store and forget what is cached about it; an ended one is not opened again."""
        with self._lock:
            if ended:
                self._ended.add(project)
            stores = [s for s in (self._projects.pop(project, None), self._ending.pop(project, None)) if s]
            self.changes += 1
        for store in stores:
            self._before_closing(store)
            if ended:
                store.end(gone)
            store.close()

    def end(self, project: str) -> Store:
        """Refuse every later write to a project, and return its store, which can still be read.

        What was acknowledged is in it. Until `settle` nobody can use the project.

        Raises:
            Expired: it ends already, or has ended.
        """
        with self._lock:
            store = self.project(project)
            self._ended.add(project)
            self._ending[project] = self._projects.pop(project)
        try:
            self._say_ends(project)
        except BaseException:
            with self._lock:
                self._ended.discard(project)
                self._projects[project] = self._ending.pop(project)
            raise
        store.end(gone)  # not under the lock: what is queued may wait for it
        return store

    def settle(self, project: str) -> None:
        """Bring a project in line with what the register says: used again, emptied as merged, removed as deleted.

        Can be repeated: whatever a crash left undone is done at the next time.

        Raises:
            Unavailable: its file cannot be changed or removed now.
        """
        with self._settling:
            with self.machine.read() as connection:
                entry = register.get(connection, project)
            self.forget(project, ended=entry.state != "active")
            match entry.state:
                case "merged":
                    self._empty(entry)
                case "deleted":
                    with suppress(Expired):  # another service ends it too
                        self._say_ends(project)
                    self._remove(project)
                case _:
                    self._say_goes_on(project)
                    with self._lock:
                        self._ended.discard(project)

    # Life

    def tidy(self) -> None:
        """Drop what has expired: documents past their time, kept answers; finish what a crash left of ended projects.

        Called at the start and now and then, never by a call.
        """
        moment = self._clock()
        with self._lock:
            projects, machine = dict(self._projects), self._machine
        for project, store in projects.items():
            with acting(RETENTION), suppress(Expired):  # it has just ended
                store.write(partial(chores.drop_expired, project=project, text=store.text, moment=moment))
        if machine is not None:
            with acting(RETENTION):
                machine.write(partial(chores.drop_tokens, moment=moment))
        with acting(PROJECTS):
            self._settle_ended()

    def close(self) -> None:
        """Finish what is queued and close every store."""
        with self._lock:
            stores = [*self._projects.values(), *self._ending.values()]
            self._projects.clear()
            self._ending.clear()
            if self._machine is not None:
                stores.append(self._machine)
                self._machine = None
        for store in stores:
            if self._frozen is None:  # otherwise it was done when the writing ended
                self._before_closing(store)
            store.close()
        self._let_go()


def gone() -> ZcError:
    """Return what is said of a project that has ended."""
    return Expired(
        "project_gone",
        "This project was merged or deleted while this session was open.",
        "Call again: the folder leads to the project that it belongs to now.",
    )


def empty_and_close(store: Store, entry: register.Entry) -> None:
    """Delete what a merged project held, unless that was done before, and close its store."""
    try:
        with store.read() as connection:
            done = census.merged_into(connection) is not None
        if not done:
            target = entry.merged_into or ""
            store.write(partial(emptying.empty, text=store.text, project=entry.id, target=target))
    finally:
        store.close()
