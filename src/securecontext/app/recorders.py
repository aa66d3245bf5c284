"""Which ledger a database file has."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from sqlalchemy import Connection

from securecontext.boundaries import audit
from securecontext.boundaries.keys import Keyring
from securecontext.storage import meta_rows
from securecontext.storage.port import Recorder
from securecontext.types.errors import Tampered
from securecontext.types.ids import new_id


def recorder(keyring: Keyring, kind: str, project: str) -> Callable[[Connection, datetime], Recorder]:
    """Return what opens the ledger of a file, and refuses a file that belongs elsewhere.

    Args:
        keyring: holds the ledger root.
        kind: ``machine`` or ``project``.
        project: the project's id; empty for the machine.
    """

    def open_recorder(connection: Connection, moment: datetime) -> Recorder:
        known = meta_rows.read_all(connection)
        fresh = "log" not in known
        if fresh:
            known = {"kind": kind, "project": project, "log": new_id("log")}
            for name, value in known.items():
                meta_rows.put(connection, name, value)
        if (known.get("kind"), known.get("project")) != (kind, project):
            raise Tampered(
                "foreign_file",
                "A database file says that it belongs to another project.",
                "Put the file back where it came from, or restore a backup.",
            )
        ledger = audit.Ledger(known["log"], keyring)
        # A log is opened once: one that was emptied later stays without its first entry, which shows.
        if fresh:
            ledger.open_log(connection, moment)
        return ledger

    return open_recorder


def log_of(connection: Connection) -> str:
    """Return the id of the log that a database holds.

    Raises:
        Tampered: it does not say.
    """
    found = meta_rows.read(connection, "log")
    if found is None:
        raise Tampered(
            "no_log", "This database does not name its ledger.", "Restore a backup, or name another copy."
        )
    return found
