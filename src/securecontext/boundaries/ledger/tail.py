"""The ledger as people read it: its newest entries."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select

from securecontext.boundaries import chain
from securecontext.storage.tables import ledger_bodies, ledger_entries

e, b = ledger_entries.c, ledger_bodies.c


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """A stored entry as people read it; nothing of it is verified (see ``verify``).

    Attributes:
        entry: order of arrival in this database.
        body: the body's JSON object; None when it is purged or unreadable.
        hash: hex, as the next entry of the stream names it.
    """

    entry: int
    stream: str
    seq: int
    ts: str
    kind: str
    principal: str
    claimed_agent: str
    body: dict[str, Any] | None
    hash: str


def tail(
    connection: Connection,
    log: str,
    limit: int,
    *,
    stream: str | None = None,
    before: int | None = None,
    kind: str | None = None,
) -> list[LedgerRow]:
    """Return the newest entries of a log, newest first.

    Args:
        connection: for reading.
        log: the log's id.
        limit: most rows.
        stream: of this stream alone.
        before: older than this ``LedgerRow.entry``, to page on.
        kind: of this kind alone.
    """
    same = (b.log == e.log) & (b.stream == e.stream) & (b.seq == e.seq)
    query = (
        select(ledger_entries, b.body)
        .select_from(ledger_entries.outerjoin(ledger_bodies, same))
        .where(e.log == log)
        .order_by(e.entry.desc())
        .limit(limit)
    )
    if stream is not None:
        query = query.where(e.stream == stream)
    if before is not None:
        query = query.where(e.entry < before)
    if kind is not None:
        query = query.where(e.kind == kind)
    return [
        LedgerRow(
            row.entry, row.stream, row.seq, row.ts, row.kind, row.principal, row.claimed_agent,
            _readable(row.body), chain.entry_hash(row.canonical, row.mac),
        )
        for row in connection.execute(query)
    ]  # fmt: skip


def _readable(body: bytes | None) -> dict[str, Any] | None:
    try:
        found = json.loads(body) if body is not None else None
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
