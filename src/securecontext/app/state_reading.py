"""Reads the stored state of one file as the invariants see it. Nothing is decided here; see ``contracts.state``."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, and_, func, select

from securecontext.boundaries import chain
from securecontext.boundaries.identity import token_register
from securecontext.boundaries.keyring import bodies
from securecontext.boundaries.keys import Keyring
from securecontext.boundaries.ledger import signers
from securecontext.boundaries.ledger.heads import macs_fit
from securecontext.boundaries.ledger.sequencer import LEASE
from securecontext.boundaries.tokens import TTL_SECONDS, key_of
from securecontext.coordination.leases import LEASE as TASK_LEASE
from securecontext.memory.capacity import CEILING
from securecontext.storage.tables import (
    documents,
    facts,
    in_state,
    is_sealed,
    ledger_checkpoints,
    ledger_entries,
    ledger_heads,
    ledger_sequencers,
    tasks,
)
from securecontext.types.errors import ZcError
from securecontext.types.ids import timestamp
from securecontext.types.state import (
    HeadState,
    LeaseState,
    NotebookState,
    SealedState,
    TaskLeaseState,
    TokenState,
    TreeState,
)

CLOCKS = timedelta(minutes=5)
"""How far ahead of ours a clock may have been that wrote a moment: a clock is set back now and then."""

e, h = ledger_entries.c, ledger_heads.c


def heads(connection: Connection, log: str, keyring: Keyring) -> Iterator[HeadState]:
    """Yield every stream that has a head or an entry."""
    last = select(e.stream, func.max(e.seq).label("seq")).where(e.log == log).group_by(e.stream).subquery()
    newest = (
        select(e.stream, e.seq, e.canonical, e.mac)
        .select_from(ledger_entries.join(last, and_(e.stream == last.c.stream, e.seq == last.c.seq)))
        .where(e.log == log)
    )
    stored = {row.stream: row for row in connection.execute(select(ledger_heads).where(h.log == log))}
    for row in connection.execute(newest):
        yield _head(log, row.stream, stored.pop(row.stream, None), row, keyring)
    for stream, head in stored.items():
        yield HeadState(stream, head.seq, head.head, 0, "", True)


def _head(log: str, stream: str, head: Any, newest: Any, keyring: Keyring) -> HeadState:
    found = chain.entry_hash(newest.canonical, newest.mac)
    if head is None:
        return HeadState(stream, None, None, newest.seq, found, False)
    return HeadState(
        stream, head.seq, head.head, newest.seq, found, _authentic(log, stream, head, newest, keyring)
    )


def _authentic(log: str, stream: str, head: Any, newest: Any, keyring: Keyring) -> bool:
    try:
        kid = chain.decode(newest.canonical).kid
        if keyring.erased(kid) or signers.read(keyring).given_up(kid):
            return True  # the signed tree speaks for it, which `zc audit verify` asks
        return macs_fit(keyring.stream_key_for(kid, log, stream), log, stream, head, newest)
    except ZcError:
        return False


def leases(connection: Connection, log: str, own: str, moment: datetime) -> Iterator[LeaseState]:
    """Yield the lease of the log's sequencer, if it was ever taken."""
    s = ledger_sequencers.c
    longest = timestamp(moment + LEASE + CLOCKS)
    for row in connection.execute(select(ledger_sequencers).where(s.log == log)):
        yield LeaseState(log, row.holder, own, row.fence, row.expires_at, timestamp(moment), longest)


def trees(connection: Connection, log: str) -> Iterator[TreeState]:
    """Yield the size of the log's tree."""
    placed = connection.execute(select(func.max(e.leaf_index)).where(e.log == log)).scalar()
    c = ledger_checkpoints.c
    signed = connection.execute(select(func.max(c.size)).where(c.log == log)).scalar()
    yield TreeState(log, -1 if placed is None else placed, (signed or 0) - 1)


def notebooks(connection: Connection, project: str) -> Iterator[NotebookState]:
    """Yield the notebooks of a project."""
    f = facts.c
    active = (f.project == project, f.state == "active")
    for agent, count in connection.execute(select(f.agent, func.count()).where(*active).group_by(f.agent)):
        yield NotebookState(f"{project}/{agent}", count, CEILING)


def task_leases(connection: Connection, project: str, moment: datetime) -> Iterator[TaskLeaseState]:
    """Yield the tasks of a project that are claimed."""
    t = tasks.c
    longest = timestamp(moment + TASK_LEASE + CLOCKS)
    claimed = select(t.role, t.task_id, t.fence, t.claimed_by, t.due_at).where(
        in_state("claimed"), t.project == project
    )
    for row in connection.execute(claimed.order_by(t.task)):
        name = f"{row.role}/{row.task_id}"
        yield TaskLeaseState(name, row.fence, row.claimed_by or "", row.due_at or "", longest)


def sealed_texts(connection: Connection, project: str) -> Iterator[SealedState]:
    """Yield the texts of a project whose class has them stored sealed."""
    for letter, table, row, text in (
        ("m", facts, facts.c.fact, facts.c.value),
        ("d", documents, documents.c.document, documents.c.content),
    ):
        begin = func.substr(text, 1, len(bodies.MARK))
        sealed = (table.c.project == project, is_sealed(table))
        for number, found in connection.execute(select(row, begin).where(*sealed).order_by(row)):
            yield SealedState(f"{letter}{number}", found == bodies.MARK)


def tokens_that_count(
    connection: Connection, own_key: str, moment: datetime, *, shared: bool
) -> Iterator[TokenState]:
    """Yield the session tokens that count now, of every project; in a shared register those of our own key alone."""
    longest = timestamp(moment + timedelta(seconds=TTL_SECONDS) + CLOCKS)
    for row, issuer_revoked in token_register.counting_with_issuers(connection, moment):
        if shared and key_of(row.token) != own_key:
            continue  # another service's, which looks after it
        yield TokenState(
            row.token, row.issued_at, row.expires_at, longest, key_of(row.token), own_key, issuer_revoked
        )
