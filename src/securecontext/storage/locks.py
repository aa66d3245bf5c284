"""One at a time, across all services that share a database: for what no row is there to be locked for."""

from __future__ import annotations

import hashlib

from sqlalchemy import Connection, text

_LOCK = text("SELECT pg_advisory_xact_lock(:key)")


def alone(connection: Connection, name: str) -> None:
    """Wait until no other transaction holds this name, and hold it to the end of the caller's.

    On SQLite whoever writes is alone already.
    """
    if connection.dialect.name == "postgresql":
        digest = hashlib.sha256(name.encode()).digest()
        connection.execute(_LOCK, {"key": int.from_bytes(digest[:8], "big", signed=True)})
