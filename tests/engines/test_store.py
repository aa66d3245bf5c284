"""The storage port on both engines: what every room relies on."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine, func, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from securecontext.storage import schema
from securecontext.storage.port import Store, Transaction
from securecontext.storage.postgres import PostgresStore, open_postgres
from securecontext.storage.postgres_address import POOL_SIZE
from securecontext.storage.sqlite import SqliteStore
from securecontext.storage.tables import chunks, events, meta
from securecontext.types.errors import Conflict, InvalidInput, Unavailable, ZcError
from securecontext.types.ledger import EntryDraft
from tests.engines.fixtures import ENGINES, sqlite_engine

MOMENT = datetime(2026, 3, 1, 12, tzinfo=UTC)
NOW = "2026-03-01T12:00:00.000000Z"


class Recorder:
    """A ledger that keeps what it is given in the events table, so that it shares the transaction's fate."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def append(self, connection: Connection, drafts: Sequence[EntryDraft], moment: datetime) -> None:
        self.calls.append("append")
        assert moment == MOMENT
        for draft in drafts:
            connection.execute(_event(str(draft.body["text"]), kind="ledger"))

    def committed(self) -> None:
        self.calls.append("committed")

    def rolled_back(self) -> None:
        self.calls.append("rolled_back")


def _event(detail: str, kind: str = "effect"):
    return events.insert().values(project="p", session="s", kind=kind, detail=detail, created_at=NOW)


def _draft(said: str) -> EntryDraft:
    return EntryDraft(principal="uid:0", session="s", claimed_agent="", kind="call", body={"text": said})


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture(params=ENGINES)
def store(request: pytest.FixtureRequest, tmp_path: Path, recorder: Recorder) -> Iterator[Store]:
    def open_recorder(_connection: Connection, _moment: datetime) -> Recorder:
        return recorder

    made: Store
    postgres: Engine | None = None
    if request.param == "sqlite":
        made = SqliteStore(tmp_path / "store.db", lambda: MOMENT, open_recorder)
    else:
        postgres = open_postgres(request.getfixturevalue("migrated_postgres_url"))
        made = PostgresStore(postgres, "p", lambda: MOMENT, open_recorder)
    recorder.calls.clear()
    yield made
    made.close()
    if postgres is not None:
        postgres.dispose()


def _details(store: Store, kind: str = "effect") -> list[str]:
    with store.read() as connection:
        rows = connection.execute(
            select(events.c.detail).where(events.c.kind == kind).order_by(events.c.event)
        )
        return list(rows.scalars())


def put(store: Store, detail: str) -> None:
    def job(transaction: Transaction) -> None:
        transaction.connection.execute(_event(detail))

    store.write(job)


def test_opening_brings_the_schema_up_to_date(store: Store) -> None:
    with store.read() as connection:
        assert schema.current_revision(connection) == schema.CURRENT


def test_an_effect_and_its_entry_are_there_when_the_call_returns(store: Store, recorder: Recorder) -> None:
    def job(transaction: Transaction) -> int:
        transaction.connection.execute(_event("done"))
        transaction.record(_draft("told"))
        return 42

    assert store.write(job) == 42
    assert (_details(store), _details(store, "ledger")) == (["done"], ["told"])
    assert recorder.calls == ["append", "committed"]


def test_what_a_store_uses_grows_with_what_is_put_into_it(store: Store) -> None:
    before, large = store.used(0), 1 << 40
    assert 0 <= before < large
    for _ in range(4):
        put(store, secrets.token_hex(1 << 19))
    assert store.used(0) - before > 2 << 20
    assert store.used(large) - before > 2 << 20, "known from its files alone"


def test_room_that_deleted_rows_left_in_a_file_is_not_used(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "store.db", lambda: MOMENT)
    before = store.used(0)
    put(store, secrets.token_hex(1 << 20))
    store.write(lambda transaction: transaction.connection.execute(events.delete()))
    assert store.used(0) - before < 1 << 18
    store.close()
    assert store.path.stat().st_size > 2 << 20


def test_a_job_that_fails_leaves_nothing_behind(store: Store) -> None:
    def job(transaction: Transaction) -> None:
        transaction.connection.execute(_event("half"))
        transaction.record(_draft("half"))
        raise InvalidInput("no", "No.", "Do not.")

    with pytest.raises(InvalidInput):
        store.write(job)
    assert (_details(store), _details(store, "ledger")) == ([], [])
    put(store, "next")
    assert _details(store) == ["next"]


def test_a_savepoint_takes_back_its_effect_and_lets_the_refusal_be_recorded(store: Store) -> None:
    def job(transaction: Transaction) -> str:
        transaction.connection.execute(_event("before"))
        try:
            with transaction.savepoint():
                transaction.connection.execute(_event("refused"))
                transaction.record(_draft("effect"))
                raise InvalidInput("no", "No.", "Do not.")
        except InvalidInput as refusal:
            transaction.record(_draft("refusal"))
            return refusal.code

    assert store.write(job) == "no"
    assert (_details(store), _details(store, "ledger")) == (["before"], ["refusal"])


def test_a_statement_that_fails_in_a_savepoint_does_not_end_the_transaction(store: Store) -> None:
    def job(transaction: Transaction) -> None:
        transaction.connection.execute(meta.insert().values(name="kind", value="a"))
        with pytest.raises(IntegrityError), transaction.savepoint():
            transaction.connection.execute(meta.insert().values(name="kind", value="b"))
        transaction.connection.execute(_event("after"))

    store.write(job)
    assert _details(store) == ["after"]


def test_a_job_that_hides_a_failed_statement_is_answered_only_with_what_is_stored(store: Store) -> None:
    """PostgreSQL ends such a transaction, SQLite does not: either way the answer and the rows agree."""

    def job(transaction: Transaction) -> None:
        transaction.connection.execute(meta.insert().values(name="kind", value="a"))
        with pytest.raises(IntegrityError):
            transaction.connection.execute(meta.insert().values(name="kind", value="b"))

    try:
        store.write(job)
        expected = 1
    except ZcError:
        expected = 0
    with store.read() as connection:
        assert connection.scalar(select(func.count()).select_from(meta)) == expected


def test_only_the_guilty_job_of_a_batch_is_told(store: Store) -> None:
    entered, go = threading.Event(), threading.Event()
    outcomes: dict[str, object] = {}

    def hold(transaction: Transaction) -> None:
        entered.set()
        assert go.wait(30)

    def call(name: str, job: Callable[[Transaction], object]) -> None:
        try:
            outcomes[name] = store.write(job)
        except ZcError as error:
            outcomes[name] = error.code

    def good(name: str) -> Callable[[Transaction], object]:
        def job(transaction: Transaction) -> object:
            transaction.connection.execute(_event(name))
            return name

        return job

    def bad(transaction: Transaction) -> object:
        transaction.connection.execute(_event("bad"))
        raise Conflict("mine", "Mine.", "Look.")

    first = threading.Thread(target=call, args=("hold", hold))
    first.start()
    assert entered.wait(30)  # while it runs, the others gather in one batch
    jobs = {f"good {number}": good(f"good {number}") for number in range(5)} | {"bad": bad}
    others = [threading.Thread(target=call, args=item) for item in jobs.items()]
    for thread in others:
        thread.start()
    go.set()
    for thread in (first, *others):
        thread.join()
    assert outcomes.pop("bad") == "mine"
    assert outcomes.pop("hold") is None
    assert outcomes == {name: name for name in jobs if name != "bad"}
    assert sorted(_details(store)) == [f"good {number}" for number in range(5)]


def test_many_callers_lose_nothing(store: Store) -> None:
    def call(number: int) -> None:
        for turn in range(10):
            put(store, f"{number}.{turn}")

    threads = [threading.Thread(target=call, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(_details(store))) == 80


def test_a_reader_cannot_write(store: Store) -> None:
    with pytest.raises((ZcError, DBAPIError)), store.read() as connection:
        connection.execute(_event("no"))
        connection.commit()
    assert _details(store) == []


def test_a_reader_sees_one_state_while_others_write(store: Store) -> None:
    count = select(func.count()).select_from(events)
    with store.read() as connection:
        assert connection.scalar(count) == 0
        put(store, "new")
        assert connection.scalar(count) == 0
    assert _details(store) == ["new"]


def test_a_job_may_have_nothing_to_do(store: Store) -> None:
    assert store.write(lambda transaction: "nothing") == "nothing"


def test_a_closed_store_refuses_with_the_next_step(store: Store) -> None:
    put(store, "one")
    store.close()
    with pytest.raises(Unavailable) as caught:
        store.write(lambda transaction: None)
    assert caught.value.code == "service_stopping"


def test_text_is_found_by_any_of_its_words_within_its_project(store: Store) -> None:
    said = {
        1: ("p", "blue whale sing"),
        2: ("p", "blue door"),
        3: ("p", "it's a back\\slash o'clock"),
        4: ("p", "größe maß"),
    }

    def job(transaction: Transaction) -> None:
        for number, (project, tokens) in said.items():
            transaction.connection.execute(
                chunks.insert().values(
                    chunk=number, project=project, parent_kind="fact", parent=number, position=0, start=0,
                    length=len(tokens), tokens=tokens, session="s", created_at=NOW,
                )
            )  # fmt: skip
            store.text.add(transaction.connection, [(number, tokens)])

    store.write(job)

    def found(*tokens: str, project: str = "p", limit: int = 10) -> list[int]:
        with store.read() as connection:
            hits = store.text.match(connection, project, tokens, limit)
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
        return [hit.chunk for hit in hits]

    assert found("blue", "whale")[0] == 1 and set(found("blue", "whale")) == {1, 2}
    assert found("whale") == [1]
    assert len(found("blue", limit=1)) == 1
    assert found("größe") == [4] and found("grosse") == []
    assert found("absent") == [] and found() == []
    for hostile in ("'", '"', "\\", "a' | 'b", "blue:*", "& | !", "NEAR(", "*", "-blue", "<->", "--"):
        assert found(hostile) in ([], [3], [1, 2], [2, 1]), hostile


def test_removed_text_is_not_found(store: Store) -> None:
    def add(transaction: Transaction) -> None:
        transaction.connection.execute(
            chunks.insert().values(
                chunk=1, project="p", parent_kind="fact", parent=1, position=0, start=0, length=4, tokens="word",
                session="s", created_at=NOW,
            )
        )  # fmt: skip
        store.text.add(transaction.connection, [(1, "word")])

    def take(transaction: Transaction) -> None:
        store.text.remove(transaction.connection, [1])
        transaction.connection.execute(chunks.delete())
        store.text.scrub(transaction.connection)
        transaction.scrub_after_commit()

    store.write(add)
    with store.read() as connection:
        assert len(store.text.match(connection, "p", ["word"], 5)) == 1
    store.write(take)
    with store.read() as connection:
        assert store.text.match(connection, "p", ["word"], 5) == []


@pytest.mark.parametrize("engine_name", ENGINES)
def test_a_newer_schema_is_refused_at_opening(
    engine_name: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    newer = text("UPDATE alembic_version SET version_num = '9999'")
    if engine_name == "sqlite":
        engine = sqlite_engine(tmp_path / "newer.db")
    else:
        engine = open_postgres(request.getfixturevalue("postgres_url"))
    with engine.begin() as connection:
        schema.upgrade(connection)
        connection.execute(newer)
    with pytest.raises(Conflict) as caught:
        if engine_name == "sqlite":
            SqliteStore(tmp_path / "newer.db", lambda: MOMENT)
        else:
            PostgresStore(engine, "p", lambda: MOMENT)
    assert caught.value.code == "schema_newer"
    engine.dispose()


def test_a_store_never_migrates_a_postgres_database_it_opens(postgres_url: str) -> None:
    engine = open_postgres(postgres_url)
    with pytest.raises(Unavailable) as caught:
        PostgresStore(engine, "p", lambda: MOMENT)
    assert caught.value.code == "schema_older"
    with engine.begin() as connection:
        assert schema.current_revision(connection) is None
    engine.dispose()


def test_postgres_connections_are_limited_in_time_and_number(postgres_url: str) -> None:
    engine = open_postgres(postgres_url)
    with engine.connect() as connection:
        assert connection.scalar(text("SHOW statement_timeout")) == "30s"
        assert connection.scalar(text("SHOW synchronous_commit")) == "on"
        assert connection.scalar(text("SHOW is_superuser")) == "off"
    assert engine.pool.size() == POOL_SIZE  # type: ignore[attr-defined]
    engine.dispose()


@pytest.mark.parametrize(
    "url", ["", "nonsense", "sqlite:///x.db", "mysql://u:secret@h/d", "postgresql+asyncpg://u:secret@h/d"]
)
def test_another_address_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        open_postgres(url)
    assert caught.value.code == "postgres_url"
    assert "secret" not in str(caught.value)


def test_a_server_that_is_away_is_a_plain_refusal(tmp_path: Path) -> None:
    engine = open_postgres(f"postgresql://u:secret@/d?host={tmp_path}")
    with pytest.raises(Unavailable) as caught:
        PostgresStore(engine, "p", lambda: MOMENT)
    assert caught.value.code == "database_unreachable"
    assert "secret" not in str(caught.value)


def test_a_wrong_password_is_a_plain_refusal(postgres_url: str) -> None:
    from sqlalchemy.engine import make_url

    wrong = make_url(postgres_url).set(password="wrong")
    with pytest.raises(Unavailable) as caught:
        PostgresStore(open_postgres(wrong.render_as_string(hide_password=False)), "p", lambda: MOMENT)
    assert caught.value.code == "database_unreachable"


def test_an_ended_store_finishes_what_is_queued_refuses_the_rest_and_can_be_read(store: Store) -> None:
    put(store, "one")
    store.end(lambda: Conflict("over", "It is over.", "Go elsewhere."))
    for _ in range(2):
        with pytest.raises(Conflict) as caught:
            put(store, "two")
        assert caught.value.code == "over"
        store.close()
    assert _details(store) == ["one"]
