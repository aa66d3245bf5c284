"""Each store in a SQLite file of its own: opened, emptied, removed, set aside as broken, made anew."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import partial
from pathlib import Path

from sqlalchemy import Connection

from securecontext.app import chores
from securecontext.app.recorders import recorder
from securecontext.app.stores import MACHINE, Stores, empty_and_close
from securecontext.boundaries.keys import Keyring
from securecontext.projects import census, register
from securecontext.storage import aside, copies, schema, sqlite
from securecontext.storage.port import Store
from securecontext.types.errors import Unavailable, ZcError
from securecontext.types.ids import timestamp

log = logging.getLogger("securecontext.stores")


class FileStores(Stores):
    """The stores of an installation that keeps its data in files.

    Args:
        home: the data folder.
        keyring: holds the keys of the ledgers.
        clock: the present moment.
        before_closing: is given each store that is about to be closed.
    """

    def __init__(
        self,
        home: Path,
        keyring: Keyring,
        clock: Callable[[], datetime],
        before_closing: Callable[[Store], None],
    ) -> None:
        super().__init__(clock, before_closing)
        self._home = home
        self._keyring = keyring
        self._emptied: set[str] = set()

    def path(self, project: str) -> Path:
        """Return the file of a project's store."""
        return self._home / "projects" / f"{project}.db"

    # Opening

    def listen(self, tell: Callable[[str], None]) -> None:
        """Do nothing: a file has one service."""

    def _open_machine(self) -> Store:
        path = self._home / "machine.db"
        with suppress(OSError, ZcError):  # what is wrong with it is told below
            aside.refuse_if_set_aside(path)
            if path.stat().st_size == 0:  # it holds nothing that a person could decide about
                log.warning("%s was empty; it is kept as %s", path, aside.set_aside(path).name)
                aside.recover(path)
        machine = sqlite.SqliteStore(path, self._clock, recorder(self._keyring, MACHINE, ""))
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

    # Ending

    def _empty(self, entry: register.Entry) -> None:
        """Delete what a merged project held, but not its ledger."""
        path = self.path(entry.id)
        if path.exists():
            store = sqlite.SqliteStore(path, self._clock, recorder(self._keyring, "project", entry.id))
            empty_and_close(store, entry)
        self._emptied.add(entry.id)

    def _remove(self, project: str) -> None:
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

    def _say_ends(self, project: str) -> None:
        """Tell nobody: a file has no other service."""

    def _say_goes_on(self, project: str) -> None:
        """Tell nobody."""

    def _let_go(self) -> None:
        """Release nothing: each store has closed its own file."""

    # What there is

    def kept_in(self, project: str) -> str:
        """Return the name of a project's file; empty when it is not there."""
        path = self.path(project)
        return path.name if path.exists() else ""

    @contextmanager
    def reading(self, where: str) -> Iterator[Connection | None]:
        """Yield a connection that sees one state of a file; None where it is not there, or of an older version."""
        store = self.machine if where == MACHINE else self.opened(where)
        path = self.path(where)
        if store is None and not path.exists():
            yield None  # what is missing is told by whoever needs it, and by `zc recover`
            return
        with store.read() if store is not None else copies.open_copy(path) as connection:
            if store is None:
                connection.exec_driver_sql("BEGIN")  # of another service's file, too, one state is seen
            yield connection if schema.current_revision(connection) == schema.CURRENT else None

    def told(self) -> dict[str, object]:
        """Return the engine, the folder, and the bytes of all projects' files."""
        return {"engine": "sqlite", "where": str(self._home), "bytes": sum(self._sizes())}

    def largest(self, beyond: int) -> int:
        """Return the size of the largest file of a project."""
        return max(self._sizes(), default=0)

    def _sizes(self) -> list[int]:
        return [_size(file) for file in (self._home / "projects").glob("*.db")]

    # What is broken

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


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:  # it was deleted meanwhile
        return 0
