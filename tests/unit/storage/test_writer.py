"""The one writer of a store, with a backend that counts: what is committed together, and who is told what."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from sqlalchemy import Connection, event, text
from tests.waiting import wait_until

from securecontext.storage.acting import Actor
from securecontext.storage.port import Transaction
from securecontext.storage.writer import MAX_BATCH, Writer
from securecontext.types.errors import InvalidInput, Unavailable, ZcError
from securecontext.types.ledger import EntryDraft

MOMENT = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Backend:
    """SQLite with a counter on every commit, and faults on request."""

    def __init__(self, path: Path) -> None:
        self.engine = sqlalchemy.create_engine(f"sqlite:///{path}", connect_args={"isolation_level": None})
        self.commits = 0
        self.connections = 0
        self.faults: list[str] = []
        self.scrubs = 0
        self.asked: list[datetime] = []
        with self.engine.connect() as connection:
            connection.execute(text("CREATE TABLE t (n INTEGER, said TEXT)"))

        @event.listens_for(self.engine, "begin")
        def begin(connection: Connection) -> None:
            connection.exec_driver_sql("BEGIN IMMEDIATE")

        @event.listens_for(self.engine, "commit")
        def commit(connection: Connection) -> None:
            self.commits += 1

    keeps_connection = True

    def begun(self, connection: Connection, actor: Actor) -> None:
        """Nothing comes first."""

    def committed_after_all(self, error: BaseException) -> bool:
        return False

    def connect_writer(self) -> Connection:
        self.connections += 1
        return self.engine.connect()

    def alive(self, connection: Connection) -> bool:
        return bool(connection.connection.dbapi_connection.in_transaction)  # type: ignore[union-attr]

    def translate(self, error: BaseException) -> BaseException:
        if "translate" in self.faults:
            raise RuntimeError("the translation failed")
        return error

    def scrub(self, connection: Connection) -> bool:
        if "scrub" in self.faults:
            raise OSError("no room to scrub")
        self.scrubs += 1
        return "held" not in self.faults

    def moment(self, connection: Connection, own: datetime) -> datetime:
        self.asked.append(own)
        return own + timedelta(seconds=len(self.asked))

    def notify(self, connection: Connection, topic: str) -> None:
        connection.execute(text("INSERT INTO t VALUES (2, :s)"), {"s": f"told {topic}"})

    def rows(self) -> list[str]:
        with self.engine.connect() as connection:
            return list(connection.execute(text("SELECT said FROM t ORDER BY rowid")).scalars())


class Ledger:
    """Appends what it is given to the same table."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.undone = 0

    def append(self, connection: Connection, drafts: Sequence[EntryDraft], moment: datetime) -> None:
        assert moment == MOMENT
        self.batches.append(len(drafts))
        for draft in drafts:
            connection.execute(text("INSERT INTO t VALUES (0, :s)"), {"s": f"entry {draft.body['n']}"})

    def committed(self) -> None: ...

    def rolled_back(self) -> None:
        self.undone += 1


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[Backend]:
    made = Backend(tmp_path / "w.db")
    yield made
    made.engine.dispose()


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


@pytest.fixture
def writer(backend: Backend, ledger: Ledger) -> Iterator[Writer]:
    made = Writer("test", backend, ledger, lambda: MOMENT)
    yield made
    made.close()


def put(said: str, entry: bool = False) -> Callable[[Transaction], str]:
    def job(transaction: Transaction) -> str:
        transaction.connection.execute(text("INSERT INTO t VALUES (1, :s)"), {"s": said})
        if entry:
            transaction.record(draft(said))
        return said

    return job


def draft(said: str) -> EntryDraft:
    return EntryDraft(principal="uid:0", session="s", claimed_agent="", kind="call", body={"n": said})


class Together:
    """Lets jobs gather while the first one is held, so that they are one batch, in the order given."""

    def __init__(self, writer: Writer) -> None:
        self.writer = writer
        self.outcomes: dict[int, Any] = {}

    def run(self, jobs: Sequence[Callable[[Transaction], Any]]) -> list[Any]:
        entered, go = threading.Event(), threading.Event()

        def hold(_transaction: Transaction) -> None:
            entered.set()
            assert go.wait(30)

        def call(number: int, job: Callable[[Transaction], Any]) -> None:
            try:
                self.outcomes[number] = self.writer.run(job)
            except BaseException as error:
                self.outcomes[number] = error

        threads = [threading.Thread(target=call, args=(-1, hold))]
        threads[0].start()
        assert entered.wait(30)
        for number, job in enumerate(jobs):
            threads.append(threading.Thread(target=call, args=(number, job)))
            before = self.writer._waiting
            threads[-1].start()
            wait_until(lambda n=before: self.writer._waiting > n, "the job to be queued")
        go.set()
        for thread in threads:
            thread.join(30)
        return [self.outcomes[number] for number in range(len(jobs))]


def test_what_waits_is_committed_at_once_and_in_order(
    writer: Writer, backend: Backend, ledger: Ledger
) -> None:
    names = [f"job {number}" for number in range(40)]
    assert Together(writer).run([put(name, entry=True) for name in names]) == names
    assert backend.commits == 2  # the one that was held, and all others
    assert ledger.batches == [40]
    assert backend.rows() == names + [f"entry {name}" for name in names]


def test_a_batch_is_bounded(writer: Writer, backend: Backend) -> None:
    done = Together(writer).run([put(str(number)) for number in range(MAX_BATCH + 1)])
    assert len(done) == MAX_BATCH + 1 and backend.commits == 3


def test_an_exception_hits_its_own_job_alone(writer: Writer, backend: Backend, ledger: Ledger) -> None:
    def bad(transaction: Transaction) -> None:
        put("bad", entry=True)(transaction)
        raise InvalidInput("mine", "Mine.", "Look.")

    first, guilty, last = Together(writer).run([put("a", True), bad, put("b", True)])
    assert (first, last) == ("a", "b")
    assert isinstance(guilty, InvalidInput)
    assert backend.rows() == ["a", "entry a", "b", "entry b"]
    assert ledger.undone >= 1


def test_a_savepoint_takes_its_entries_back_too(writer: Writer, backend: Backend) -> None:
    def job(transaction: Transaction) -> str:
        transaction.record(draft("kept"))
        with pytest.raises(ZeroDivisionError), transaction.savepoint():
            put("gone", entry=True)(transaction)
            raise ZeroDivisionError
        with transaction.savepoint():
            put("stays")(transaction)
        return "done"

    assert writer.run(job) == "done"
    assert backend.rows() == ["stays", "entry kept"]


@pytest.mark.parametrize("ending", ["ROLLBACK", "COMMIT"])
def test_a_job_that_ends_the_transaction_is_found_and_nobody_is_told_a_lie(
    writer: Writer, backend: Backend, ending: str
) -> None:
    def ends(transaction: Transaction) -> str:
        if ending == "ROLLBACK":
            put("ends")(transaction)
        transaction.connection.exec_driver_sql(ending)
        return "ends"

    before, guilty, after = Together(writer).run([put("a"), ends, put("b")])
    assert isinstance(guilty, Unavailable) and guilty.code == "transaction_lost"
    assert (before, after) == ("a", "b")
    rows = backend.rows()
    assert "a" in rows and "b" in rows and "ends" not in rows
    assert writer.run(put("c")) == "c"


def test_a_failure_after_the_commit_does_not_do_the_batch_again(writer: Writer, backend: Backend) -> None:
    backend.faults = ["scrub"]

    def job(transaction: Transaction) -> str:
        transaction.scrub_after_commit()
        return put("once")(transaction)

    assert writer.run(job) == "once"
    assert backend.rows() == ["once"]


def test_a_failure_on_the_way_to_an_error_leaves_nobody_waiting(writer: Writer, backend: Backend) -> None:
    backend.faults = ["translate"]

    def bad(_transaction: Transaction) -> None:
        raise OSError("first")

    with pytest.raises(RuntimeError):
        writer.run(bad)
    backend.faults = []
    assert writer.run(put("next")) == "next"


def test_a_connection_that_cannot_be_made_is_told_and_tried_again(
    backend: Backend, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> Connection:
        raise Unavailable("away", "Away.", "Wait.")

    monkeypatch.setattr(backend, "connect_writer", refuse)
    writer = Writer("test", backend, ledger, lambda: MOMENT)
    with pytest.raises(ZcError) as caught:
        writer.run(put("a"))
    assert caught.value.code == "away"
    monkeypatch.undo()
    assert writer.run(put("b")) == "b"
    writer.close()


def test_closing_finishes_what_is_queued_and_refuses_what_comes(writer: Writer, backend: Backend) -> None:
    closer = threading.Thread(target=writer.close)

    def first(transaction: Transaction) -> str:
        closer.start()
        wait_until(lambda: writer._closed, "the writer to be closed")
        return put("first")(transaction)

    done = Together(writer).run([first, put("second"), put("third")])
    closer.join(30)
    assert done == ["first", "second", "third"] and backend.rows() == done
    with pytest.raises(Unavailable) as caught:
        writer.run(put("late"))
    assert caught.value.code == "service_stopping"
    writer.close()


@pytest.mark.parametrize("faults", [[], ["scrub"]])
def test_an_idle_thread_ends_and_the_next_job_starts_another(
    backend: Backend, ledger: Ledger, faults: list[str]
) -> None:
    writer = Writer("idle", backend, ledger, lambda: MOMENT, idle_seconds=0.01)
    backend.faults = faults
    for turn in range(3):
        assert writer.run(put(str(turn))) == str(turn)
        wait_until(
            lambda: not [t for t in threading.enumerate() if t.name == "writer-idle"], "the thread to end"
        )
    assert backend.connections == 3 and backend.rows() == ["0", "1", "2"]
    writer.close()


def test_a_batch_has_one_moment_and_asks_for_it_only_where_a_job_does(
    backend: Backend, writer: Writer
) -> None:
    writer.run(put("no moment"))
    assert backend.asked == []
    first = writer.run(lambda transaction: (transaction.moment, transaction.moment))
    second = writer.run(lambda transaction: transaction.moment)
    assert first == (MOMENT + timedelta(seconds=1),) * 2 and second == MOMENT + timedelta(seconds=2)


def test_a_notice_goes_with_the_transaction_that_gives_it(backend: Backend, writer: Writer) -> None:
    def lost(transaction: Transaction) -> None:
        transaction.notify("lost")
        raise InvalidInput("x", "x", "x")

    with pytest.raises(InvalidInput):
        writer.run(lost)
    writer.run(lambda transaction: transaction.notify("told"))
    assert backend.rows() == ["told told"]
