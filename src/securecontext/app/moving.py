"""`zc migrate sqlite-to-postgres`: the data of one folder, carried from its files into a PostgreSQL database.

Store by store, each in one transaction: whoever dies at it leaves whole stores there and goes on with the next one.
Nothing in the files is changed. While it is under way no service starts on the folder (`app.placing`), so that what was
carried first is still so when the last is; at the end every table is compared with its file, every ledger is verified,
and only then the folder says that its data is in the database.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError, TimeoutError

from securecontext.app.moving_texts import Texts
from securecontext.app.placing import ELSEWHERE, MOVING, REGISTER, note_elsewhere
from securecontext.app.recorders import log_of
from securecontext.app.rescan import MARK
from securecontext.app.root import ANCHORS
from securecontext.app.stores import MACHINE
from securecontext.app.verification import Verification
from securecontext.boundaries.database_context import ContextKey
from securecontext.boundaries.keys import Keyring
from securecontext.boundaries.ledger.anchors import AnchorFile
from securecontext.projects import register
from securecontext.settings import Settings
from securecontext.storage import (
    acting,
    copies,
    meta_rows,
    moved_rows,
    postgres,
    postgres_errors,
    postgres_login,
    schema,
)
from securecontext.storage.postgres_address import open_postgres, told
from securecontext.types.errors import Conflict, InvalidInput, NotFound, Tampered, Unavailable
from securecontext.types.ids import now

_TAKE_TURN = text("SELECT pg_advisory_xact_lock(:key)")
_LOCK = 0x5EC0_0003


@dataclass(frozen=True, slots=True)
class Moved:
    """What was done with one store.

    Attributes:
        name: ``machine``, or the project's id.
        rows: how many were carried now; 0 for one that was there already.
        ledger: what the check of its ledger in the database says.
        entries: of the ledger.
    """

    name: str
    rows: int
    ledger: str
    entries: int


class Move:
    """Carries the data of one folder. Its caller holds the claim to the folder: no service runs on it.

    Args:
        settings: name the folder and the database.
        progress: is told what is done, and how many rows of it.
        clock: the present moment.

    Raises:
        ZcError: the database or the files cannot be used for it.
    """

    def __init__(
        self, settings: Settings, progress: Callable[[str, int], None], clock: Callable[[], datetime] = now
    ) -> None:
        if settings.postgres_url is None:
            raise InvalidInput(
                "bad_setting",
                "ZC_POSTGRES_URL is not set.",
                "Set it to the database that is to hold the data; see docs/how-to/postgres.md.",
            )
        self._home = settings.home
        if (self._home / ELSEWHERE).exists():
            raise Conflict(
                "data_in_postgres",
                "The data of this folder is in a database already.",
                "Nothing is left to do.",
            )
        if not (self._home / REGISTER).exists():
            raise NotFound(
                "no_data_in_files",
                f"{self._home} holds no data in files.",
                "Set ZC_HOME to the folder that does.",
            )
        self._progress = progress
        self._keyring = Keyring.open(self._home / "keys", settings.machine_secret)
        self._contexts = ContextKey(self._keyring)
        self._texts = Texts(self._home / "keys", self._keyring, clock)
        anchors = AnchorFile(self._home / "logs" / ANCHORS)
        self._verification = Verification(self._keyring, anchors, [], clock)
        self._engine = open_postgres(settings.postgres_url, 2)

    def run(self) -> Sequence[Moved]:
        """Carry everything, compare it, and let the folder say so.

        Returns:
            Every store, the machine's first.

        Raises:
            Conflict: the database holds another state of one of these stores, or files are of an older release.
            Tampered: ``move_differs``, ``move_ledger``: what is in the database is not what the files hold; the
                files go on being used.
            Unavailable: a file or the database cannot be used; what is there already stays, and is not carried again.
        """
        try:
            self._look_at_login()
            (self._home / MOVING).touch(mode=0o600)
            files = [(MACHINE, self._home / REGISTER), *self._projects()]
            carried = {name: self._carry(name, path) for name, path in files}
            done = [self._checked(name, path, carried[name]) for name, path in files]
            note_elsewhere(self._home, told(self._engine.url))
            (self._home / MOVING).unlink()
            return done
        except (DBAPIError, TimeoutError) as error:
            raise postgres_errors.translated(error) from error
        finally:
            self._engine.dispose()

    def _look_at_login(self) -> None:
        with self._engine.connect() as connection:
            postgres_login.refuse_unsafe(connection)
            postgres.act(connection, self._sign(MACHINE), acting.PROJECTS)
            postgres_login.refuse_unknown(connection, f"{MACHINE}@{self._keyring.signer}")
            if schema.needs_upgrade(connection):
                raise Unavailable(
                    "schema_older",
                    "The tables in this database are of an older SecureContext, or not there yet.",
                    "Bring them up to date as the database's administrator: `zc db migrate`.",
                )

    def _projects(self) -> list[tuple[str, Path]]:
        """Return the files of projects that go on, and of those that went into others: these hold ledgers."""
        with self._file(self._home / REGISTER) as connection:
            known = [entry.id for entry in register.every(connection, ("active", "merged"))]
        files = ((project, self._home / "projects" / f"{project}.db") for project in sorted(known))
        return [(project, path) for project, path in files if path.exists()]

    @contextmanager
    def _file(self, path: Path) -> Iterator[Connection]:
        with copies.open_copy(path) as connection:
            connection.exec_driver_sql("BEGIN")
            if schema.current_revision(connection) != schema.CURRENT:
                raise Conflict(
                    "file_older",
                    f"{path.name} was written by another release of SecureContext.",
                    "Unset ZC_POSTGRES_URL, use the project once with this release, then try again.",
                )
            yield connection

    def _sign(self, name: str) -> postgres.Sign:
        return partial(self._contexts.sign, f"{name}@{self._keyring.signer}")

    def _target(self, name: str) -> Engine:
        return self._engine.execution_options(**{meta_rows.STORE: f"{name}@{self._keyring.signer}"})

    def _store(self, name: str, log: str) -> moved_rows.Store:
        project = "" if name == MACHINE else name
        reseal, opened = partial(self._texts.reseal, project), partial(self._texts.opened, project)
        return moved_rows.Store(project, log, reseal, opened, frozenset({MARK}))

    def _carry(self, name: str, path: Path) -> int:
        """Carry one store, unless it is there; return how many rows that took."""
        rows = 0

        def count(more: int) -> None:
            nonlocal rows
            rows += more
            self._progress(name, rows)

        with self._file(path) as source, self._target(name).begin() as target:
            target.execute(_TAKE_TURN, {"key": _LOCK})
            postgres.act(target, self._sign(name), acting.PROJECTS)
            log = log_of(source)
            there = meta_rows.read(target, "log")
            if there is None:
                moved_rows.copy(source, target, self._store(name, log), count)
            elif there != log:
                raise Conflict(
                    "store_there",
                    "The database holds other data under the keys of this folder.",
                    "Use another database, or another ZC_HOME.",
                    store=name,
                )
        return rows

    def _checked(self, name: str, path: Path, rows: int) -> Moved:
        self._progress(f"{name}, compared", rows)
        with self._file(path) as source, self._target(name).connect() as target:
            postgres.act(target, self._sign(name), acting.PROJECTS)
            differs = moved_rows.differences(source, target, self._store(name, log_of(source)))
            before, after = (self._verification.copy(each) for each in (source, target))
        if differs:
            raise Tampered(
                "move_differs",
                f"What the database holds of {name} is not what its file holds: {'; '.join(differs)}.",
                "The files go on being used. Empty the database, then run this again.",
            )
        if (before.status, before.entries) != (after.status, after.entries):
            raise Tampered(
                "move_ledger",
                f"The ledger of {name} is {after.status} in the database, and {before.status} in its file.",
                "The files go on being used. Empty the database, then run this again.",
            )
        return Moved(name, rows, str(after.status), after.entries)


def give_up(home: Path) -> bool:
    """Let the files be used again; what a move that was not finished left in the database stays there.

    Returns:
        Whether a move was under way.
    """
    marker = home / MOVING
    found = marker.exists()
    marker.unlink(missing_ok=True)
    return found
