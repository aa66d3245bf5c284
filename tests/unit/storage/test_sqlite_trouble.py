"""SQLite's troubles, one by one: what is told, what is kept, and what is never overwritten."""

from __future__ import annotations

import json
import os
import sqlite3
import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from securecontext.storage import aside, sqlite
from securecontext.storage.port import Transaction
from securecontext.storage.sqlite import SqliteStore
from securecontext.types.errors import Unavailable

MOMENT = datetime(2026, 3, 1, 12, tzinfo=UTC)


def opened(path: Path) -> SqliteStore:
    return SqliteStore(path, lambda: MOMENT)


def put(store: SqliteStore, name: str, value: str) -> None:
    store.write(
        lambda t: t.connection.execute(text("INSERT INTO meta VALUES (:n, :v)"), {"n": name, "v": value})
    )


def names(store: SqliteStore) -> list[str]:
    with store.read() as connection:
        return list(connection.execute(text("SELECT name FROM meta ORDER BY name")).scalars())


def code(store: SqliteStore, name: str = "x") -> str:
    with pytest.raises(Unavailable) as caught:
        put(store, name, "v")
    assert caught.value.hint
    return caught.value.code


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "p ü%20'.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    made = opened(path)
    yield made
    made.close()


def test_a_full_database_undoes_the_whole_batch_and_goes_on(store: SqliteStore) -> None:
    put(store, "before", "v")

    def limited(transaction: Transaction) -> None:
        pages = transaction.connection.exec_driver_sql("PRAGMA page_count").scalar()
        transaction.connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
        transaction.connection.execute(text("INSERT INTO meta VALUES ('big', :v)"), {"v": "x" * 1_000_000})

    with pytest.raises(Unavailable) as caught:
        store.write(limited)
    assert caught.value.code == "disk_full"
    put(store, "after", "v")
    assert names(store) == ["after", "before"]


def test_a_savepoint_does_not_hide_that_the_database_is_full(store: SqliteStore) -> None:
    def limited(transaction: Transaction) -> str:
        pages = transaction.connection.exec_driver_sql("PRAGMA page_count").scalar()
        transaction.connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
        try:
            with transaction.savepoint():
                transaction.connection.execute(
                    text("INSERT INTO meta VALUES ('big', :v)"), {"v": "x" * 1_000_000}
                )
        except Exception:
            return "hidden"
        return "done"

    try:
        assert store.write(limited) == "hidden"
    except Unavailable as error:
        assert error.code == "transaction_lost"
    assert names(store) == []


def test_garbage_is_kept_byte_for_byte_and_refused_until_somebody_decides(path: Path) -> None:
    garbage = os.urandom(8192)
    path.write_bytes(garbage)
    with pytest.raises(Unavailable) as caught:
        opened(path)
    assert caught.value.code == "database_corrupt"
    kept = Path(caught.value.details["kept"])
    assert kept.read_bytes() == garbage and not path.exists()
    with pytest.raises(Unavailable) as again:
        opened(path)
    assert again.value.code == "database_set_aside" and not path.exists()
    assert aside.recover(path) == kept and aside.recover(path) is None
    opened(path).close()
    assert kept.read_bytes() == garbage


def test_setting_aside_never_overwrites(path: Path) -> None:
    kept = set()
    for number in range(3):
        path.write_bytes(b"garbage %d" % number * 999)
        os.utime(path, (1e9, 1e9))
        kept.add(aside.set_aside(path))
        aside.recover(path)
    assert len(kept) == 3 and len({k.read_bytes() for k in kept}) == 3


def test_one_who_dies_between_mark_and_rename_leaves_a_refused_file(path: Path) -> None:
    path.write_bytes(b"garbage" * 999)
    path.with_name(path.name + aside.MARKER).write_text(json.dumps({"kept": str(path) + ".corrupt-x"}))
    with pytest.raises(Unavailable) as caught:
        opened(path)
    assert caught.value.code == "database_set_aside" and path.exists()
    aside.recover(path)
    with pytest.raises(Unavailable) as found:
        opened(path)
    assert found.value.code == "database_corrupt"
    assert Path(found.value.details["kept"]).read_bytes() == b"garbage" * 999


def test_a_file_with_a_log_is_checked_without_being_changed(path: Path, tmp_path: Path) -> None:
    opened(path).close()
    copy = tmp_path / "copy.db"
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    connection.execute("INSERT INTO meta VALUES ('a', 'b')")
    copy.write_bytes(path.read_bytes())
    copy.with_name(copy.name + "-wal").write_bytes(path.with_name(path.name + "-wal").read_bytes())
    connection.close()
    data = bytearray(copy.read_bytes())
    for page in range(3, len(data) // 4096):
        data[page * 4096 : page * 4096 + 64] = os.urandom(64)
    copy.write_bytes(data)
    wal = copy.with_name(copy.name + "-wal").read_bytes()
    with pytest.raises(Unavailable) as caught:
        opened(copy)
    kept = Path(caught.value.details["kept"])
    assert kept.read_bytes() == data
    assert kept.with_name(kept.name + "-wal").read_bytes() == wal


def test_a_store_whose_file_was_set_aside_touches_no_later_file(store: SqliteStore, path: Path) -> None:
    put(store, "old", "v")
    broken = sqlite3.DatabaseError("malformed")
    broken.sqlite_errorname = "SQLITE_CORRUPT"
    first = store.translate(broken)
    assert isinstance(first, Unavailable) and first.code == "database_corrupt"
    assert code(store) == "database_set_aside"
    assert store.translate(broken).details == first.details  # told twice, renamed once
    aside.recover(path)
    fresh = opened(path)
    put(fresh, "new", "v")
    assert code(store) == "database_reopened"
    late = store.translate(broken)
    assert isinstance(late, Unavailable) and late.code == "database_reopened"
    assert names(fresh) == ["new"]
    fresh.close()


def test_a_file_that_vanished_is_missed_and_not_made_anew(store: SqliteStore, path: Path) -> None:
    put(store, "k", "v")
    path.rename(path.with_suffix(".away"))
    assert [code(store), code(store)] == ["database_missing", "database_missing"]
    assert not path.exists()
    path.with_suffix(".away").rename(path)
    put(store, "l", "v")
    assert names(store) == ["k", "l"]


def test_a_file_without_a_byte_is_a_broken_one(path: Path) -> None:
    path.touch()
    with pytest.raises(Unavailable) as caught:
        opened(path)
    assert caught.value.code == "database_corrupt" and not path.exists()
    assert Path(caught.value.details["kept"]).stat().st_size == 0


def test_one_who_dies_while_a_file_is_made_leaves_none(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def dies(connection: Connection) -> None:
        connection.exec_driver_sql("CREATE TABLE half (done)")
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(sqlite.schema, "upgrade", dies)
        with pytest.raises(KeyboardInterrupt):
            opened(path)
    assert not path.exists()
    store = opened(path)
    put(store, "k", "v")
    store.close()
    assert [p.name for p in path.parent.iterdir() if p.name.endswith(".db") or ".new" in p.name] == [
        path.name
    ]
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_log_that_outlived_its_file_is_kept_and_not_replayed_into_the_new_one(
    store: SqliteStore, path: Path
) -> None:
    put(store, "old", "v")
    wal = path.with_name(path.name + "-wal")
    log = wal.read_bytes()
    store.close()
    path.unlink()
    wal.write_bytes(log)
    fresh = opened(path)
    assert names(fresh) == []
    fresh.close()
    assert path.with_name(path.name + ".bad-1-wal").read_bytes() == log


def test_a_broken_page_that_opening_does_not_need_is_found_when_the_file_is_opened(path: Path) -> None:
    made = opened(path)
    rows = [{"d": f"quetzal {number} " + "x" * 400} for number in range(400)]
    made.write(
        lambda t: t.connection.execute(
            text(
                "INSERT INTO events (project, session, kind, detail, created_at) VALUES ('p', 's', 'k', :d, 't')"
            ),
            rows,
        )
    )
    made.close()
    data = bytearray(path.read_bytes())
    size = int.from_bytes(data[16:18], "big")
    leaves = [
        at for at in range(size, len(data), size) if data[at] == 13 and b"quetzal" in data[at : at + size]
    ]
    assert len(leaves) > 10, "leaf pages of the table's B-tree"
    data[leaves[len(leaves) // 2]] = 0x7F  # no kind of page
    path.write_bytes(data)
    with pytest.raises(Unavailable) as caught:
        opened(path)
    assert caught.value.code == "database_corrupt"
    assert Path(caught.value.details["kept"]).read_bytes() == data and not path.exists()


def test_a_text_that_is_none_is_a_broken_file(store: SqliteStore, path: Path) -> None:
    put(store, "x", "whole")
    with sqlite3.connect(path) as other:
        other.execute("UPDATE meta SET value = CAST(X'70ff' AS TEXT) WHERE name = 'x'")
    other.close()
    with pytest.raises(Unavailable) as caught, store.read() as connection:
        connection.execute(text("SELECT value FROM meta WHERE name = 'x'")).all()
    assert caught.value.code == "database_corrupt" and not path.exists()
    assert b"p\xff" in Path(caught.value.details["kept"]).read_bytes() + b"".join(
        f.read_bytes() for f in path.parent.glob("*-wal*")
    )


class Died(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("moved", [False, True], ids=["before", "after"])
def test_one_who_dies_at_the_rename_leaves_a_file_that_is_refused_and_never_made_anew(
    path: Path, monkeypatch: pytest.MonkeyPatch, moved: bool
) -> None:
    garbage = os.urandom(8192)
    path.write_bytes(garbage)
    rename = Path.rename

    def die(self: Path, target: Path) -> Path:
        if moved:
            rename(self, target)
        raise Died

    with monkeypatch.context() as broken, pytest.raises(Died):
        broken.setattr(Path, "rename", die)
        aside.set_aside(path)
    assert path.exists() is not moved
    for _ in range(2):
        with pytest.raises(Unavailable) as caught:
            opened(path)
        assert caught.value.code == "database_set_aside"
        assert path.exists() is not moved
    (kept,) = [p for p in path.parent.iterdir() if p.stat().st_size == len(garbage)]
    assert kept.read_bytes() == garbage


def test_a_rename_that_is_refused_is_told_and_the_file_stays_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    garbage = os.urandom(8192)
    path.write_bytes(garbage)

    def refuse(self: Path, target: Path) -> Path:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as broken, pytest.raises(Unavailable) as caught:
        broken.setattr(Path, "rename", refuse)
        opened(path)
    assert caught.value.code == "database_corrupt" and "could not be set aside" in caught.value.message
    with pytest.raises(Unavailable) as again:
        opened(path)
    assert again.value.code == "database_set_aside" and path.read_bytes() == garbage


def test_a_commit_is_synced_before_it_is_acknowledged_on_every_connection(store: SqliteStore) -> None:
    with store.connect_writer() as writer, store.read() as reader:
        for connection in (writer, reader):
            asked = [
                connection.exec_driver_sql(f"PRAGMA {name}").scalar()
                for name in ("synchronous", "journal_mode", "secure_delete")
            ]
            assert asked == [2, "wal", 1]


def test_a_file_and_its_logs_are_the_owners_alone_whatever_the_umask(path: Path) -> None:
    before = os.umask(0)
    try:
        made = opened(path)
        put(made, "k", "v")
        modes = {
            p.name.removeprefix(path.name): stat.S_IMODE(p.stat().st_mode)
            for p in path.parent.iterdir()
            if p.is_file()
        }
        made.close()
    finally:
        os.umask(before)
    assert modes == {"": 0o600, "-wal": 0o600, "-shm": 0o600}
