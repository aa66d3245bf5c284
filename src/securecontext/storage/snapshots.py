"""One consistent state of a SQLite file that others go on writing, as a file of its own.

By SQLite's backup interface, which reads within one transaction: https://www.sqlite.org/backup.html
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from securecontext.storage.aside import refuse_if_set_aside
from securecontext.types.errors import Unavailable

PATIENCE_SECONDS = 10.0


def snapshot(path: Path, target: Path) -> None:
    """Copy a database with everything that is committed in it; the log beside it is left as it is.

    Args:
        path: the database.
        target: does not exist yet.

    Raises:
        Unavailable: it was set aside, is missing, or cannot be read or copied now.
    """
    refuse_if_set_aside(path)
    os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    try:
        source = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=PATIENCE_SECONDS, isolation_level=None
        )
        try:
            source.execute("PRAGMA query_only = ON")
            copy = sqlite3.connect(target, isolation_level=None)
            try:
                source.backup(copy)
            finally:
                copy.close()
        finally:
            source.close()
    except (sqlite3.Error, OSError) as error:
        raise Unavailable(
            "backup_unreadable",
            f"{path} cannot be copied ({error}).",
            "Nothing was made. See `zc recover`, or free room, then try again.",
        ) from error
