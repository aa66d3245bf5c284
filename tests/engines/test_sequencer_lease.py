"""Two holders compete for the sequencer's lease, on both engines: one places the entries, the other is told to wait."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from queue import Queue

import pytest
from sqlalchemy import Connection, Engine, select, text

from securecontext.boundaries.audit import Ledger
from securecontext.boundaries.keys import Keyring
from securecontext.boundaries.ledger.sequencer import LEASE, Signed, newest, sequence
from securecontext.boundaries.ledger.signers import enlist
from securecontext.storage.tables import ledger_entries, ledger_sequencers
from securecontext.types.errors import Conflict
from securecontext.types.ledger import EntryDraft
from tests.waiting import wait_until

LOG = "log_shared"
NOW = datetime(2026, 11, 22, 1, 2, 3, tzinfo=UTC)
LATER = NOW + LEASE + timedelta(seconds=1)


@dataclass
class Shared:
    """A log that two services, of one installation's keys, place entries in."""

    engine: Engine
    keyring: Keyring
    ledger: Ledger

    def append(self, connection: Connection) -> None:
        draft = EntryDraft("uid:1000", "s1", "", "call", {"operation": "zc_status"})
        self.ledger.append(connection, [draft], NOW)
        self.ledger.committed()

    def place(self, connection: Connection, holder: str, moment: datetime = NOW) -> Signed | None:
        signers = enlist(self.keyring, moment)
        return sequence(
            connection, LOG, holder=holder, keyring=self.keyring, signers=signers, moment=moment
        )  # fmt: skip

    def new(self, holder: str, moment: datetime = NOW) -> Signed | None:
        """Append an entry, and have a holder place it."""
        with self.engine.begin() as connection:
            self.append(connection)
        with self.engine.begin() as connection:
            return self.place(connection, holder, moment)

    def refused(self, holder: str, moment: datetime = NOW) -> None:
        with pytest.raises(Conflict) as caught:
            self.new(holder, moment)
        assert caught.value.code == "sequencer_busy"

    def lease(self) -> tuple[str, int]:
        with self.engine.connect() as connection:
            s = ledger_sequencers.c
            row = connection.execute(select(s.holder, s.fence)).one()
            return row.holder, row.fence

    def unplaced(self) -> int:
        with self.engine.connect() as connection:
            rows = connection.execute(select(ledger_entries.c.leaf_index)).scalars().all()
            places = sorted(index for index in rows if index is not None)
            assert places == list(range(len(places))), "no place is given twice, and none is left out"
            return len(rows) - len(places)


@pytest.fixture
def shared(engine: Engine, tmp_path: Path) -> Iterator[Shared]:
    keyring = Keyring.open(tmp_path / "keys")
    made = Shared(engine, keyring, Ledger(LOG, keyring))
    with engine.begin() as connection:
        made.ledger.open_log(connection, NOW)
    made.ledger.committed()
    yield made


def test_while_a_lease_runs_another_holder_places_nothing(shared: Shared) -> None:
    assert shared.new("svc_one") is not None
    shared.refused("svc_two")
    shared.refused("svc_two", NOW + LEASE - timedelta(seconds=1))
    assert (shared.lease(), shared.unplaced()) == (("svc_one", 1), 2)
    assert shared.new("svc_one", NOW + LEASE / 2) is not None  # prolonged by its holder, who keeps its fence
    shared.refused("svc_two", LATER)
    assert shared.lease() == ("svc_one", 1)


def test_a_lease_that_ran_out_is_taken_with_a_higher_fence_and_the_former_holder_waits(
    shared: Shared,
) -> None:
    shared.new("svc_one")
    signed = shared.new("svc_two", LATER)
    assert signed is not None and shared.lease() == ("svc_two", 2)
    shared.refused("svc_one", LATER)
    assert shared.new("svc_one", LATER + LEASE + LEASE) is not None
    assert (shared.lease(), shared.unplaced()) == (("svc_one", 3), 0)


@pytest.mark.parametrize("held", ["", "svc_one", "svc_old"])
def test_of_two_holders_at_once_one_places_and_the_other_is_busy(shared: Shared, held: str) -> None:
    """In two transactions beside each other: for a lease that nobody has, or that has run out."""
    if held:
        assert shared.new(held) is not None
    moment = LATER if held == "svc_old" else NOW
    with shared.engine.begin() as connection:
        shared.append(connection)
    ended: Queue[str] = Queue()

    def compete() -> None:
        try:
            with shared.engine.begin() as connection:
                shared.place(connection, "svc_two", moment)
        except Conflict as error:
            ended.put(error.code)
        else:
            ended.put("placed, or nothing left to place")

    other = threading.Thread(target=compete)
    with shared.engine.begin() as connection:
        first = shared.place(connection, "svc_one", moment)
        other.start()
        if shared.engine.dialect.name == "postgresql":  # on SQLite its transaction begins after this one
            wait_until(
                lambda: ended.qsize() or _waits(shared.engine), "the second holder to be refused, or wait"
            )
    other.join(60)
    outcome = ended.get(timeout=60)
    assert first is not None
    if shared.engine.dialect.name == "postgresql":
        assert outcome == "sequencer_busy"
    assert outcome in ("sequencer_busy", "placed, or nothing left to place")
    assert (shared.lease()[0], shared.unplaced()) == ("svc_one", 0)
    with shared.engine.begin() as connection:
        last = newest(connection, LOG, enlist(shared.keyring, moment))
    assert last == first
    shared.refused("svc_two", moment)


def _waits(engine: Engine) -> bool:
    """Say whether a transaction of this database waits for a lock of another one."""
    query = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    with engine.connect() as connection:
        return bool(connection.execute(query).scalar())
