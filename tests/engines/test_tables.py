"""What the tables refuse, and that what goes in comes out, on both engines."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.exc import IntegrityError

from securecontext.storage.tables import (
    chunks,
    documents,
    facts,
    idempotency,
    ledger_bodies,
    ledger_entries,
    ledger_heads,
    meta,
    project_aliases,
    projects,
)

NOW = "2026-03-01T12:00:00.000000Z"
FACT: dict[str, Any] = {
    "project": "p", "agent": "default", "key": "k", "value": "v", "importance": 3, "created_at": NOW,
    "created_by": "default", "session": "s",
}  # fmt: skip
ENTRY: dict[str, Any] = {
    "log": "l", "stream": "default:s", "seq": 1, "canonical": b"{}", "mac": b"\x00" * 32, "kid": "k0", "ts": NOW,
    "kind": "call", "principal": "default", "claimed_agent": "default", "body_digest": "0" * 64, "prev": "0" * 64,
}  # fmt: skip
HARD_TEXT = "grüße \u200b 日本 🧷 'quotes' \"double\" \\ % \n\t end"


def _insert(engine: Engine, table: Any, *rows: dict[str, Any]) -> None:
    with engine.begin() as connection:
        for row in rows:
            connection.execute(table.insert().values(**row))


@pytest.mark.parametrize(
    "change",
    [
        {"provenance": "GUESSED"},
        {"provenance": "extracted"},
        {"trust": "root"},
        {"classification": "secret"},
        {"importance": 0},
        {"importance": 6},
        {"importance": -1},
        {"state": "gone"},
        {"key": None},
        {"value": None},
        {"created_by": None},
        {"session": None},
    ],
    ids=str,
)
def test_a_bad_fact_is_refused(engine: Engine, change: dict[str, Any]) -> None:
    with pytest.raises(IntegrityError):
        _insert(engine, facts, FACT | change)
    with engine.connect() as connection:
        assert connection.execute(select(facts)).all() == []
    _insert(engine, facts, FACT)  # it was the change that was refused


@pytest.mark.parametrize("importance", [1, 2, 3, 4, 5])
def test_every_importance_between_1_and_5_is_accepted(engine: Engine, importance: int) -> None:
    _insert(engine, facts, FACT | {"importance": importance})


def test_a_key_has_one_active_fact_in_a_namespace(engine: Engine) -> None:
    _insert(engine, facts, FACT)
    with pytest.raises(IntegrityError):
        _insert(engine, facts, FACT | {"value": "other"})
    _insert(engine, facts, FACT | {"agent": "other"}, FACT | {"project": "q"}, FACT | {"key": "K"})


def test_a_key_has_any_number_of_past_versions(engine: Engine) -> None:
    past = FACT | {"state": "replaced"}
    _insert(engine, facts, past, past, FACT, FACT | {"state": "archived"}, FACT | {"state": "superseded"})
    with engine.connect() as connection:
        assert len(connection.execute(select(facts.c.fact)).all()) == 5


def test_a_replaced_version_cannot_come_back_beside_the_active_one(engine: Engine) -> None:
    _insert(engine, facts, FACT, FACT | {"state": "replaced"})
    with pytest.raises(IntegrityError), engine.begin() as connection:
        connection.execute(facts.update().where(facts.c.state == "replaced").values(state="active"))


def test_the_database_fills_in_the_careful_defaults(engine: Engine) -> None:
    _insert(engine, facts, FACT)
    with engine.connect() as connection:
        row = connection.execute(select(facts)).one()
    assert (row.provenance, row.trust, row.classification, row.state) == (
        "UNKNOWN",
        "agent",
        "internal",
        "active",
    )


def test_a_fact_comes_out_as_it_went_in(engine: Engine) -> None:
    wanted = FACT | {
        "value": HARD_TEXT * 50, "provenance": "INFERRED", "trust": "external", "classification": "restricted",
        "replaced_by": 2**40, "importance": 5,
    }  # fmt: skip
    _insert(engine, facts, wanted)
    with engine.connect() as connection:
        row = connection.execute(select(facts)).one()._asdict()
    assert {name: row[name] for name in wanted} == wanted
    assert type(row["importance"]) is int


def test_surrogate_keys_are_never_given_twice(engine: Engine) -> None:
    _insert(engine, facts, FACT)
    with engine.begin() as connection:
        first = connection.execute(select(facts.c.fact)).scalar_one()
        connection.execute(facts.delete())
    _insert(engine, facts, FACT)
    with engine.connect() as connection:
        assert connection.execute(select(facts.c.fact)).scalar_one() > first


def test_bytes_and_64_bit_numbers_of_an_entry_come_out_as_they_went_in(engine: Engine) -> None:
    wanted = ENTRY | {
        "canonical": bytes(range(256)), "mac": bytes(range(32)), "seq": 2**62, "leaf_index": 2**62 + 1,
    }  # fmt: skip
    _insert(engine, ledger_entries, wanted)
    with engine.connect() as connection:
        row = connection.execute(select(ledger_entries)).one()._asdict()
    assert {name: row[name] for name in wanted} == wanted
    assert type(row["canonical"]) is bytes


def test_a_stream_has_each_number_once(engine: Engine) -> None:
    _insert(
        engine, ledger_entries, ENTRY, ENTRY | {"seq": 2}, ENTRY | {"stream": "other:s"}, ENTRY | {"log": "m"}
    )
    with pytest.raises(IntegrityError):
        _insert(engine, ledger_entries, ENTRY)


def test_a_leaf_of_the_tree_is_one_entry_and_entries_without_leaf_are_many(engine: Engine) -> None:
    _insert(engine, ledger_entries, ENTRY | {"leaf_index": 0}, ENTRY | {"seq": 2}, ENTRY | {"seq": 3})
    with pytest.raises(IntegrityError):
        _insert(engine, ledger_entries, ENTRY | {"seq": 4, "leaf_index": 0})


def test_a_body_can_be_purged_and_there_is_one_for_an_entry(engine: Engine) -> None:
    body = {"log": "l", "stream": "s", "seq": 1, "salt": b"\xff" * 16, "body": b"\x00body"}
    _insert(engine, ledger_bodies, body)
    with pytest.raises(IntegrityError):
        _insert(engine, ledger_bodies, body)
    with engine.begin() as connection:
        connection.execute(ledger_bodies.update().values(salt=None, body=None, purged_at=NOW))
        row = connection.execute(select(ledger_bodies)).one()
    assert (row.salt, row.body, row.purged_at) == (None, None, NOW)


def test_a_stream_has_one_head(engine: Engine) -> None:
    head = {"log": "l", "stream": "s", "seq": 1, "head": "0" * 64, "mac": b"\x01" * 32}
    _insert(engine, ledger_heads, head, head | {"stream": "t"})
    with pytest.raises(IntegrityError):
        _insert(engine, ledger_heads, head | {"seq": 2})


def test_an_alias_names_one_project_that_exists(engine: Engine) -> None:
    project = {"project": "p", "name": "n", "created_at": NOW, "last_used_at": NOW}
    alias = {"alias": "path:m:/x", "project": "p", "created_at": NOW}
    with pytest.raises(IntegrityError):
        _insert(engine, project_aliases, alias)
    _insert(engine, projects, project, project | {"project": "q"})
    _insert(engine, project_aliases, alias)
    with pytest.raises(IntegrityError):
        _insert(engine, project_aliases, alias | {"project": "q"})
    with pytest.raises(IntegrityError):
        _insert(engine, projects, project | {"project": "r", "state": "asleep"})


def test_a_chunk_has_one_place_in_its_parent(engine: Engine) -> None:
    chunk = {
        "project": "p", "parent_kind": "fact", "parent": 1, "position": 0, "start": 0, "length": 9,
        "tokens": HARD_TEXT, "session": "s", "created_at": NOW,
    }  # fmt: skip
    _insert(engine, chunks, chunk, chunk | {"position": 1}, chunk | {"parent_kind": "document"})
    with pytest.raises(IntegrityError):
        _insert(engine, chunks, chunk)
    with pytest.raises(IntegrityError):
        _insert(engine, chunks, chunk | {"position": 2, "parent_kind": "event"})


def test_a_bad_document_is_refused(engine: Engine) -> None:
    document = {
        "project": "p", "kind": "text", "source": "a.md", "content": HARD_TEXT, "created_at": NOW,
        "created_by": "default", "session": "s",
    }  # fmt: skip
    _insert(engine, documents, document)
    for change in ({"kind": "film"}, {"provenance": ""}, {"classification": "PUBLIC"}, {"trust": None}):
        with pytest.raises(IntegrityError):
            _insert(engine, documents, document | change)


def test_a_key_of_one_scope_is_used_once(engine: Engine) -> None:
    row = {
        "scope": "default:zc_remember",
        "key": "k",
        "request_digest": "0" * 64,
        "response": "{}",
        "created_at": NOW,
    }
    _insert(engine, idempotency, row, row | {"scope": "other:zc_remember"})
    with pytest.raises(IntegrityError):
        _insert(engine, idempotency, row)


def test_what_a_file_is_has_one_answer(engine: Engine) -> None:
    _insert(engine, meta, {"name": "kind", "value": "project"})
    with pytest.raises(IntegrityError):
        _insert(engine, meta, {"name": "kind", "value": "machine"})
