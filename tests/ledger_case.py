"""What the ledger's tests share: a connection, a keyring, drafts, and the fixtures that give them."""

import itertools
import re
from datetime import UTC, datetime

import pytest
from sqlalchemy import create_engine, event, insert, text

from securecontext.boundaries import chain
from securecontext.boundaries.audit import Ledger
from securecontext.boundaries.keys import Keyring
from securecontext.boundaries.ledger.anchors import AnchorFile
from securecontext.boundaries.ledger.sequencer import sequence
from securecontext.boundaries.ledger.signers import enlist
from securecontext.boundaries.ledger.tiles import Tiles
from securecontext.boundaries.ledger.verify import verify
from securecontext.boundaries.tree import leaf_hash
from securecontext.storage.postgres import open_postgres
from securecontext.storage.tables import ledger_bodies, ledger_entries, ledger_heads, metadata
from securecontext.types.ids import timestamp
from securecontext.types.ledger import EntryDraft
from tests.engines.fixtures import ENGINES

MOMENT = datetime(2026, 11, 22, 1, 2, 3, 4, tzinfo=UTC)
LOG = "log_test"
SQLITE_ALONE = pytest.mark.parametrize("ledger_connection", ["sqlite"], indirect=True)
"""For what PostgreSQL's types do not let an attacker store."""


def draft(session="s1", *, principal="uid:1000", agent="dev", kind="call", body=None, secrets=None):
    return EntryDraft(principal, session, agent, kind, body or {"operation": "zc_status"}, secrets or {})


def sqlite_engine(url="sqlite://"):
    """An engine whose transactions are explicit, as the product's are."""
    engine = create_engine(url)

    @event.listens_for(engine, "connect")
    def _connect(raw, _record):
        raw.isolation_level = None

    @event.listens_for(engine, "begin")
    def _begin(connection):
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    metadata.create_all(engine)
    return engine


@pytest.fixture(params=ENGINES)
def ledger_connection(request):
    """A connection for one writer, on SQLite and on PostgreSQL in turn."""
    if request.param == "sqlite":
        engine = sqlite_engine()
    else:
        engine = open_postgres(request.getfixturevalue("migrated_postgres_url"))
    with engine.connect() as connection:
        yield connection
    engine.dispose()


@pytest.fixture
def keyring(tmp_path):
    return Keyring.open(tmp_path / "keys")


class Case:
    """A log in a database, with the attacker's hand on the database."""

    def __init__(self, connection, keyring, log=LOG):
        self.connection, self.keyring, self.log = connection, keyring, log
        self.anchors = AnchorFile(keyring.folder.parent / "logs" / "anchors.log")
        self.ledger = Ledger(log, keyring)
        with connection.begin():
            self.ledger.open_log(connection, MOMENT)
        self.ledger.committed()

    def append(self, *drafts):
        with self.connection.begin():
            places = self.ledger.append(self.connection, drafts, MOMENT)
        self.ledger.committed()
        return places

    def sequence(self, closing="", moment=MOMENT):
        """Place what has no place, sign and anchor."""
        signers = enlist(self.keyring, moment)
        with self.connection.begin():
            signed = sequence(
                self.connection,
                self.log,
                holder="svc_test",
                keyring=self.keyring,
                signers=signers,
                moment=moment,
                closing=closing,
            )
        if signed is not None:
            with self.connection.begin():
                self.anchors.append(signed, Tiles(self.connection, self.log), moment)
        return signed

    def end_epoch(self):
        """End the epoch: its last checkpoint, then its key is erased."""
        enlist(self.keyring, MOMENT)
        ending = self.keyring.begin_epoch()
        enlist(self.keyring, MOMENT)
        self.sequence(closing=ending)
        self.keyring.end_epoch()

    def forge(self, kid, leaves, stream="uid:1000/forged", entry=-1_000_000):
        """Insert entries as a thief of the database would who has no key: chained, with a head, and with MACs of his.

        Args:
            kid: the key that they are said to be written with.
            leaves: the place in the tree that each of them claims.
            stream: where they stand.
            entry: the row number of the first one.

        Returns:
            Their leaf hashes, side by side.
        """
        prev, hashes = chain.genesis(self.log, stream), b""
        self.sql("DROP INDEX IF EXISTS ux_ledger_entries_leaf")
        for seq, leaf in enumerate(leaves, 1):
            digest = chain.body_digest(bytes(16), b"{}")
            forged = chain.Entry(
                self.log, stream, seq, kid, timestamp(MOMENT), "call", "uid:1000", "dev", digest, prev
            )
            data, mac = chain.encode(forged), bytes([seq % 256]) * 32
            members = {name: getattr(forged, name) for name in forged.__slots__}
            row = members | {"entry": entry + seq, "canonical": data, "mac": mac, "leaf_index": leaf}
            body = {"log": self.log, "stream": stream, "seq": seq, "salt": bytes(16), "body": b"{}"}
            with self.connection.begin():
                self.connection.execute(insert(ledger_entries), row)
                self.connection.execute(insert(ledger_bodies), body)
            prev, hashes = chain.entry_hash(data, mac), hashes + leaf_hash(data + mac)
        head = {"log": self.log, "stream": stream, "seq": len(leaves), "head": prev, "mac": bytes(32)}
        with self.connection.begin():
            self.connection.execute(insert(ledger_heads), head)
        return hashes

    def sql(self, statement, **values):
        with self.connection.begin():
            return self.connection.execute(text(self._spelled(statement)), values).rowcount

    def rows(self, statement, **values):
        with self.connection.begin():
            return self.connection.execute(text(self._spelled(statement)), values).all()

    def _spelled(self, statement):
        """Bytes as the engine spells them; the tests have SQLite's way."""
        if self.connection.dialect.name == "sqlite":
            return statement
        statement = re.sub(r"zeroblob\((\d+)\)", r"decode(repeat('00', \1), 'hex')", statement)
        statement = re.sub(r"\bx'([0-9a-f]*)'", r"decode('\1', 'hex')", statement)
        return statement.replace(" AS BLOB)", " AS bytea)")

    def verify(self):
        with self.connection.begin():
            return verify(self.connection, self.log, self.keyring, anchors=[self.anchors])

    def broken(self):
        """(status, kind, stream, seq) of the first broken place."""
        verdict = self.verify()
        at = verdict.broken_at
        return (verdict.status.value, at and at.kind.value, at and at.stream, at and at.seq)


@pytest.fixture
def case(ledger_connection, keyring):
    return Case(ledger_connection, keyring)


@pytest.fixture
def filled(case):
    """Two sessions with five entries each, written in turn."""
    for number in range(5):
        case.append(draft("s1", body={"n": number}), draft("s2", body={"n": number}))
    return case


def salts():
    """16 bytes that count: 00…01, 00…02 …"""
    counter = itertools.count(1)
    return lambda: next(counter).to_bytes(16, "big")
