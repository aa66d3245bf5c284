"""SQLite files that are not ours to change, e.g. an auditor's copy: opened for reading, and only if they are files."""

from __future__ import annotations

import sqlite3
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from securecontext.types.errors import InvalidInput, NotFound, Unavailable


def _refuse_what_is_no_file(path: Path, *, wanted: bool) -> None:
    try:
        kind = path.stat().st_mode
    except ValueError as error:
        raise InvalidInput("bad_path", "That is no path.", "Name the file of a database.") from error
    except FileNotFoundError as error:
        if wanted:
            raise NotFound("no_such_file", f"There is no {path}.", "Name the file of a database.") from error
    except OSError as error:
        raise Unavailable(
            "copy_unreadable",
            f"{path} cannot be read ({error.strerror}).",
            "Check its owner and mode, or name another copy.",
        ) from error
    else:
        if not stat.S_ISREG(kind):
            raise InvalidInput("not_a_file", f"{path} is not a file.", "Name the file of a database.")


@contextmanager
def open_copy(path: Path) -> Iterator[Connection]:
    """Yield a read-only connection to a file that is not ours to change, e.g. an auditor's copy.

    Raises:
        InvalidInput: its path is none, or leads to something that is no file.
        NotFound: there is nothing.
        Unavailable: it cannot be opened as a database.
    """
    for suffix in ("", "-wal", "-shm", "-journal"):  # a pipe would be waited for
        _refuse_what_is_no_file(path.with_name(path.name + suffix), wanted=not suffix)

    def creator() -> sqlite3.Connection:
        connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, isolation_level=None)
        connection.execute("PRAGMA query_only = ON")
        return connection

    engine = sqlalchemy.create_engine("sqlite://", creator=creator, poolclass=NullPool)
    try:
        with engine.connect() as connection:
            yield connection
    except DBAPIError as error:
        raise Unavailable(
            "copy_unreadable",
            f"{path} cannot be read as a database.",
            "Name a copy of a project's file, with its -wal beside it.",
        ) from error
    finally:
        engine.dispose()
