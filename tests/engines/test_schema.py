"""The schema on both engines: one history, run in the caller's transaction, refused where it is not ours."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, text

from securecontext.storage import schema, tables
from securecontext.types.errors import Conflict, ContractBroken
from tests.engines.fixtures import sqlite_engine


def _script() -> ScriptDirectory:
    config = Config()
    config.set_main_option("script_location", "securecontext.storage:migrations")
    return ScriptDirectory.from_config(config)


def test_the_history_in_the_code_is_the_history_in_the_files() -> None:
    script = _script()
    assert script.get_heads() == [schema.CURRENT]
    assert tuple(reversed([step.revision for step in script.walk_revisions()])) == schema.HISTORY


def test_schema_is_imported_without_alembic() -> None:
    program = (
        "import sys; import securecontext.storage.schema as s; assert s.CURRENT; "
        "print(sorted(m for m in sys.modules if m.partition('.')[0] in ('alembic', 'mako')))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_an_empty_database_is_brought_to_the_current_revision(empty_engine: Engine) -> None:
    with empty_engine.begin() as connection:
        assert schema.current_revision(connection) is None
        assert schema.needs_upgrade(connection)
        schema.upgrade(connection)
    with empty_engine.begin() as connection:
        assert schema.current_revision(connection) == schema.CURRENT
        assert not schema.needs_upgrade(connection)
        schema.upgrade(connection)  # and again is nothing


def test_autogenerate_finds_no_difference_to_the_tables(engine: Engine) -> None:
    options = {
        "compare_type": True,
        "compare_server_default": True,
        "include_name": lambda name, kind, _parents: not (kind == "table" and name.startswith("chunks_fts")),
    }
    with engine.begin() as connection:
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, tables.metadata) == []


def test_the_migrated_schema_is_the_one_the_tables_would_create(empty_engine: Engine) -> None:
    """Autogenerate does not see CHECK constraints and partial indexes: the database's own words do."""
    with empty_engine.begin() as connection:
        tables.metadata.create_all(connection)
        wanted = _described(connection)
        tables.metadata.drop_all(connection)
        assert _described(connection) == set()
        schema.migrate(connection)
        assert _described(connection) == wanted
    assert len(wanted) > 100


def test_a_new_file_has_exactly_the_schema_that_the_migrations_make(tmp_path: Path) -> None:
    every: list[dict[tuple[str, str], list[str]]] = []
    for number, make in enumerate((schema.create, schema.migrate)):
        with sqlite_engine(tmp_path / f"{number}.db").begin() as connection:
            make(connection)
            assert schema.current_revision(connection) == schema.CURRENT
            rows = connection.execute(text("SELECT type, name, coalesce(sql, '') FROM sqlite_master"))
            every.append({(kind, name): _clauses(definition) for kind, name, definition in rows})
    created, migrated = every
    assert created == migrated


def _clauses(definition: str) -> list[str]:
    """Return the clauses of a definition; in which order a table's stand says nothing.

    SQLAlchemy writes a clause a line; a column that was added later stands on the line of the one before.
    """
    lines = re.sub(r", (?=[a-z_]+ [A-Z]+)", ",\n", definition).splitlines()
    return sorted(line.strip().removesuffix(",") for line in lines)


def test_a_new_file_needs_no_alembic(tmp_path: Path) -> None:
    program = (
        "import sys, sqlalchemy; from securecontext.storage import schema\n"
        "with sqlalchemy.create_engine('sqlite:///' + sys.argv[1]).begin() as c: schema.upgrade(c)\n"
        "print(sorted(m for m in sys.modules if m.partition('.')[0] in ('alembic', 'mako')))"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "new.db")]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_a_file_is_used_without_the_other_dialect() -> None:
    program = (
        "import sys; import securecontext.app.root\n"
        "print(sorted(m for m in sys.modules if m.startswith('sqlalchemy.dialects.postgresql')))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def _described(connection: Connection) -> set[str]:
    if connection.dialect.name == "sqlite":
        rows = connection.execute(
            text(
                "SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL"
                " AND name NOT LIKE 'chunks_fts%' AND name NOT IN ('alembic_version', 'sqlite_sequence')"
            )
        )
        found: set[str] = set()
        for kind, name, definition in rows:
            found |= {f"{kind} {name}: {clause}" for clause in _clauses(definition)}
        return found
    rows = connection.execute(
        text(
            "SELECT 'constraint ' || conrelid::regclass || ' ' || conname || ' ' || pg_get_constraintdef(oid)"
            " FROM pg_constraint WHERE connamespace = 'securecontext'::regnamespace AND conrelid <> 0"
            " AND conname NOT LIKE 'alembic%'"
            " UNION ALL SELECT indexdef FROM pg_indexes"
            " WHERE schemaname = 'securecontext' AND tablename <> 'alembic_version'"
            " UNION ALL SELECT concat_ws(' ', table_name, column_name, data_type, character_maximum_length,"
            " is_nullable, column_default, is_identity) FROM information_schema.columns"
            " WHERE table_schema = 'securecontext' AND table_name <> 'alembic_version'"
        )
    )
    return set(rows.scalars())


def test_only_sqlite_has_the_fts5_table(engine: Engine) -> None:
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            assert connection.scalar(text("SELECT to_regclass('chunks_fts')")) is None
            return
        definition = connection.scalar(text("SELECT sql FROM sqlite_master WHERE name = 'chunks_fts'"))
        assert "fts5(tokens, tokenize = 'unicode61 remove_diacritics 0')" in definition
        connection.execute(text("INSERT INTO chunks_fts (rowid, tokens) VALUES (7, 'größe maß')"))
        find = text("SELECT rowid FROM chunks_fts WHERE chunks_fts MATCH :query")
        assert connection.execute(find, {"query": '"größe"'}).scalars().all() == [7]
        assert connection.execute(find, {"query": '"grosse"'}).scalars().all() == []
        assert connection.execute(find, {"query": '"große"'}).scalars().all() == []


def test_an_upgrade_that_is_not_committed_leaves_the_database_as_it_was(empty_engine: Engine) -> None:
    with empty_engine.connect() as connection:
        transaction = connection.begin()
        schema.upgrade(connection)
        transaction.rollback()
    with empty_engine.begin() as connection:
        assert schema.current_revision(connection) is None
        assert _names(connection) == set()


class Interrupted(Exception):
    pass


def test_an_upgrade_that_fails_half_way_leaves_the_database_as_it_was(
    empty_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    from alembic.operations import Operations

    seen: list[set[str]] = []
    create_index = Operations.create_index

    def fail(self: Operations, name: str, *args, **kwargs):
        if name == "ix_events_session":
            seen.append(_names(self.get_bind()))
            raise Interrupted
        return create_index(self, name, *args, **kwargs)

    monkeypatch.setattr(Operations, "create_index", fail)
    with pytest.raises(Interrupted), empty_engine.begin() as connection:
        schema.migrate(connection)
    assert "facts" in seen[0], "it was half way"
    with empty_engine.begin() as connection:
        assert _names(connection) == set()
    monkeypatch.undo()
    with empty_engine.begin() as connection:
        schema.upgrade(connection)


def test_a_process_killed_in_mid_upgrade_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "killed.db"
    program = f"""
import os, signal
from pathlib import Path
from securecontext.storage import schema
from tests.engines.fixtures import sqlite_engine
with sqlite_engine(Path({str(path)!r})).begin() as connection:
    connection.exec_driver_sql("PRAGMA cache_size = 1")  # so that unfinished pages do reach the file
    schema.upgrade(connection)
    assert schema.current_revision(connection) == schema.CURRENT
    os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=Path(__file__).parents[2], capture_output=True, check=False
    )
    assert done.returncode == -9, done.stderr
    with sqlite_engine(path).begin() as connection:
        assert connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
        assert _names(connection) == set()


def _names(connection: Connection) -> set[str]:
    if connection.dialect.name == "sqlite":
        return set(connection.exec_driver_sql("SELECT name FROM sqlite_master").scalars())
    return set(
        connection.exec_driver_sql(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'securecontext'"
        ).scalars()
    )


def test_the_upgrade_takes_part_in_the_callers_transaction(empty_engine: Engine) -> None:
    with empty_engine.connect() as connection, connection.begin() as transaction:
        schema.upgrade(connection)
        assert transaction.is_active
        connection.execute(tables.meta.insert().values(name="kind", value="machine"))
        transaction.rollback()
    with empty_engine.begin() as connection:
        assert _names(connection) == set()


def test_an_upgrade_outside_a_transaction_is_a_defect(empty_engine: Engine) -> None:
    with empty_engine.connect() as connection, pytest.raises(ContractBroken):
        schema.upgrade(connection)


@pytest.mark.parametrize("found", ["9999", "zzzz", "0000"])
def test_an_unknown_revision_is_refused_and_nothing_changes(engine: Engine, found: str) -> None:
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = :found"), {"found": found})
    with engine.begin() as connection:
        before = _names(connection)
        with pytest.raises(Conflict) as caught:
            schema.upgrade(connection)
        assert caught.value.code == "schema_newer"
        assert "Update SecureContext" in caught.value.hint
        assert _names(connection) == before
        assert schema.current_revision(connection) == found


def test_tables_of_somebody_else_are_refused(empty_engine: Engine) -> None:
    with empty_engine.begin() as connection:
        connection.execute(text("CREATE TABLE facts (anything TEXT)"))
    with empty_engine.begin() as connection:
        with pytest.raises(Conflict) as caught:
            schema.upgrade(connection)
        assert caught.value.code == "schema_foreign"
        assert caught.value.details["tables"] == ["facts"]
        assert _names(connection) == {"facts"}


def test_many_files_are_upgraded_at_once(tmp_path: Path) -> None:
    """Writers of several projects have a thread each, and alembic keeps its state in module globals."""
    errors: list[BaseException] = []
    start = threading.Barrier(6)

    def work(number: int) -> None:
        try:
            start.wait()
            with sqlite_engine(tmp_path / f"{number}.db").begin() as connection:
                schema.upgrade(connection)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    for number in range(6):
        with sqlite_engine(tmp_path / f"{number}.db").begin() as connection:
            assert schema.current_revision(connection) == schema.CURRENT


def test_two_that_upgrade_one_file_take_turns(tmp_path: Path) -> None:
    program = f"""
from pathlib import Path
from securecontext.storage import schema
from tests.engines.fixtures import sqlite_engine
with sqlite_engine(Path({str(tmp_path / "shared.db")!r})).begin() as connection:
    print(schema.needs_upgrade(connection))
    schema.upgrade(connection)
"""
    started = [
        subprocess.Popen(
            [sys.executable, "-c", program], cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    answers = sorted(process.communicate(timeout=60)[0].strip() for process in started)
    assert answers == ["False", "True"]
