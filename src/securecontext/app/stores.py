"""The database files of one installation: opened at their first use, ended, emptied, removed, made anew."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from pathlib import Path

from securecontext.app import chores
from securecontext.app.recorders import recorder
from securecontext.boundaries.keys import Keyring
from securecontext.projects import census, emptying, register
from securecontext.storage import aside, copies, sqlite
from securecontext.storage.port import Store
from securecontext.types.errors import Expired, Unavailable, ZcError
from securecontext.types.ids import timestamp

log = logging.getLogger("securecontext.stores")


class Stores:
    """The machine's store and those of the projects. Safe to share by threads.

    Args:
        home: the data folder.
        keyring: holds the keys of the ledgers.
        clock: the present moment.
        before_closing: is given each store that is about to be closed.

    Attributes:
        changes: grows when what is known of projects may not be true any more.
    """

    def __init__(
        self,
        home: Path,
        keyring: Keyring,
        clock: Callable[[], datetime],
        before_closing: Callable[[Store], None],
    ) -> None:
        self._home = home
        self._keyring = keyring
        self._clock = clock
        self._before_closing = before_closing
        self._lock = threading.RLock()
        self._machine: Store | None = None
        self._projects: dict[str, Store] = {}
        self._ended: set[str] = set()
        self._ending: dict[str, Store] = {}
        """Stores of projects that end just now: they are read, and take no more writes."""
        self._emptied: set[str] = set()
        self._settling = threading.Lock()
        self._frozen: Callable[[], ZcError] | None = None
        self.changes = 0

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

    def _open_machine(self) -> Store:
        path = self._home / "machine.db"
        with suppress(OSError, ZcError):  # what is wrong with it is told below
            aside.refuse_if_set_aside(path)
            if path.stat().st_size == 0:  # it holds nothing that a person could decide about
                log.warning("%s was empty; it is kept as %s", path, aside.set_aside(path).name)
                aside.recover(path)
        machine = sqlite.SqliteStore(path, self._clock, recorder(self._keyring, "machine", ""))
        try:
            with machine.read() as connection:
                lost = register.is_empty(connection)
            if lost:
                self._register_anew(machine)
        except BaseException:
            machine.close()
            raise
        return machine

    def _register_anew(self, machine: Store) -> None:
        """Fill an empty register from what the projects' files say: the old one was lost, or set aside as broken."""
        found = []
        for file in sorted((self._home / "projects").glob("*.db")):
            with suppress(ZcError), copies.open_copy(file) as connection:
                noted = census.read(connection)
                if noted is not None and noted.project == file.stem:
                    found.append(noted)
        if found:
            moment = timestamp(self._clock())
            machine.write(partial(chores.rebuild, found=found, moment=moment))

    def project(self, project: str) -> Store:
        """Return the store of a project, opening it if need be.

        Raises:
            Expired: the project was merged or deleted while its caller held on to it.
            Unavailable: its file cannot be used, or is gone although the project was used before.
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

    def _open(self, project: str) -> Store:
        path = self.path(project)
        with self.machine.read() as connection:
            known = register.has_file(connection, project)
        if known and not path.exists():
            aside.refuse_if_set_aside(path)
            raise Unavailable(
                "database_missing",
                f"{path} is gone, although the project was used before.",
                "Put it back, or start with a fresh one: `zc recover --yes`.",
            )
        store = sqlite.SqliteStore(path, self._clock, recorder(self._keyring, "project", project))
        if not known:
            moment = timestamp(self._clock())
            try:
                self.machine.write(partial(chores.keep_file, project=project, moment=moment))
            except BaseException:
                store.close()
                raise
        return store

    def path(self, project: str) -> Path:
        """Return the file of a project's store."""
        return self._home / "projects" / f"{project}.db"

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
                    self._remove_files(project)
                case _:
                    with self._lock:
                        self._ended.discard(project)

    def _empty(self, entry: register.Entry) -> None:
        """Delete what a merged project held, but not its ledger."""
        path = self.path(entry.id)
        if path.exists():
            store = sqlite.SqliteStore(path, self._clock, recorder(self._keyring, "project", entry.id))
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
        path = self.path(project)
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

    # Life

    def set_aside(self) -> Sequence[tuple[Path, Path | None]]:
        """Return the files that were set aside as broken (name they had, where they are kept), or are missing."""
        found: dict[Path, Path | None] = {**aside.found_in(self._home, self._home / "projects")}
        with suppress(ZcError), self.machine.read() as connection:
            for project in register.with_files(connection):
                if not self.path(project).exists():
                    found.setdefault(self.path(project), None)
        return list(found.items())

    def recover(self, path: Path) -> None:
        """Let a fresh file be made in place of one that was set aside, or is missing."""
        with self._lock:
            broken, self._machine = (
                (self._machine, None) if path.parent == self._home else (None, self._machine)
            )
        if broken is not None:
            broken.close()
        self.forget(path.stem)
        aside.recover(path)
        if path == self.path(path.stem):
            self.machine.write(lambda transaction: register.give_up_file(transaction.connection, path.stem))

    def tidy(self) -> None:
        """Drop what has expired: documents past their time, kept answers; finish what a crash left of ended projects.

        Called at the start and now and then, never by a call.
        """
        moment = self._clock()
        with self._lock:
            projects, machine = dict(self._projects), self._machine
        for project, store in projects.items():
            with suppress(Expired):  # it has just ended
                store.write(partial(chores.drop_expired, project=project, text=store.text, moment=moment))
        if machine is not None:
            machine.write(partial(chores.drop_tokens, moment=moment))
        self._settle_ended()

    def _settle_ended(self) -> None:
        there = {file.name.lstrip(".").partition(".")[0] for file in (self._home / "projects").glob("*")}
        if not there:  # nobody has stored anything yet
            return
        with self.machine.read() as connection:
            ended = register.every(connection, ("merged", "deleted"))
        for entry in ended:
            if entry.id in there and (entry.state == "deleted" or entry.id not in self._emptied):
                try:
                    self.settle(entry.id)
                except ZcError as error:
                    log.warning("project %s, which is %s: %s", entry.id, entry.state, error)

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


def gone() -> ZcError:
    """Return what is said of a project that has ended."""
    return Expired(
        "project_gone",
        "This project was merged or deleted while this session was open.",
        "Call again: the folder leads to the project that it belongs to now.",
    )
