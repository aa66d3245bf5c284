"""W-02 on PostgreSQL: the ledger chains under a login that owns nothing and may do no more than it must."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pytest
from psycopg import sql
from sqlalchemy import Engine, make_url, text

from securecontext.boundaries import chain
from securecontext.boundaries.audit import Ledger
from securecontext.boundaries.keys import Keyring
from securecontext.boundaries.ledger.verify import verify
from securecontext.storage.postgres import open_postgres
from securecontext.types.ledger import EntryDraft
from tests.engines.postgres_server import PostgresServer

MOMENT = datetime(2026, 3, 1, 12, tzinfo=UTC)
LOG = "log_login"


@pytest.fixture
def guest(postgres_server: PostgresServer, migrated_postgres_url: str) -> Iterator[Engine]:
    """An engine for a login that reads and adds entries, moves heads, and can do nothing else."""
    database = make_url(migrated_postgres_url).database
    name, password = f"zc_guest_{secrets.token_hex(4)}", secrets.token_urlsafe(16)
    role = sql.Identifier(name)
    with postgres_server.admin(database) as admin:
        admin.execute(
            sql.SQL("CREATE ROLE {} LOGIN NOSUPERUSER NOBYPASSRLS PASSWORD {}").format(
                role, sql.Literal(password)
            )
        )
        for grant in (
            "GRANT USAGE ON SCHEMA securecontext TO {}",
            "GRANT SELECT, INSERT ON ledger_entries, ledger_bodies TO {}",
            "GRANT SELECT, INSERT, UPDATE ON ledger_heads TO {}",
            "GRANT SELECT ON ledger_checkpoints, ledger_tiles TO {}",
            "GRANT USAGE ON SEQUENCE ledger_entries_entry_seq TO {}",
        ):
            admin.execute(sql.SQL(grant).format(role))
    engine = open_postgres(f"postgresql://{name}:{password}@/{database}?host={postgres_server.socket}")
    yield engine
    engine.dispose()
    with postgres_server.admin(database) as admin:
        admin.execute(sql.SQL("DROP OWNED BY {}").format(role))
        admin.execute(sql.SQL("DROP ROLE {}").format(role))


def draft(number: int) -> EntryDraft:
    return EntryDraft("uid:1000", "s1", "dev", "call", {"n": number}, {})


def test_w_02_every_entry_follows_the_one_before_under_an_ordinary_login(
    guest: Engine, tmp_path: Path
) -> None:
    keyring = Keyring.open(tmp_path / "keys")
    ledgers = [Ledger(LOG, keyring), Ledger(LOG, keyring)]
    with guest.connect() as one, guest.connect() as two:
        with one.begin():
            ledgers[0].open_log(one, MOMENT)
        ledgers[0].committed()
        for number in range(12):  # two services in turn, and now and then one that begins anew
            ledger, connection = (ledgers[number % 2], (one, two)[number % 2])
            if number % 5 == 4:
                ledger = ledgers[number % 2] = Ledger(LOG, keyring)
            with connection.begin():
                ledger.append(connection, [draft(number)], MOMENT)
            ledger.committed()
        rows = one.execute(
            text(
                "SELECT seq, prev, canonical, mac FROM ledger_entries WHERE stream = 'uid:1000/s1' ORDER BY seq"
            )
        ).all()
        verdict = verify(one, LOG, keyring)
    hashes = [chain.entry_hash(bytes(row.canonical), bytes(row.mac)) for row in rows]
    assert [row.seq for row in rows] == list(range(1, 13))
    assert rows[0].prev == chain.genesis(LOG, "uid:1000/s1")
    assert [after.prev for _, after in pairwise(rows)] == hashes[:-1]
    assert len({row.prev for row in rows}) == 12
    assert (verdict.status, verdict.entries) == ("OK", 13)


def test_w_02_no_policy_hides_rows_from_the_login_that_chains_them(guest: Engine) -> None:
    with guest.connect() as connection:
        hidden = connection.execute(
            text("SELECT relname FROM pg_class WHERE relname LIKE 'ledger_%' AND relrowsecurity")
        ).all()
        owned = connection.execute(
            text("SELECT relname FROM pg_class WHERE relowner = CAST(current_user AS regrole)")
        )
        assert (hidden, owned.all()) == ([], [])
