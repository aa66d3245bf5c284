"""The stored state of a real data folder, broken behind the service's back: named once, entered once, stops nothing."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from tests.house_case import AGENT, PERSON, House
from tests.identity_case import holder, issue, with_operator

from securecontext.boundaries.policy import Role


def sql(file: Path, *statements: str) -> None:
    connection = sqlite3.connect(file)
    with connection:
        for statement in statements:
            assert connection.execute(statement).rowcount > 0, statement
    connection.close()


def entered(house: House) -> list[str]:
    with house.app.machine.read() as connection:
        rows = house.app.ledgers.tail(connection, 100)
    return [row.body["outcome"] for row in rows if row.kind == "failure" and row.body]


def found(house: House) -> list[str]:
    told = house.do("state.check", PERSON)["flaws"]
    assert all(each["says"] and each["next"] for each in told)
    return [each["code"] for each in told]


@pytest.fixture
def used(house: House) -> House:
    house.remember("bird", "pelican")
    house.remember("pin", "wombat", classification="confidential")
    operator = with_operator(house)
    boss = holder(house, issue(house, operator, "boss", Role.ORCHESTRATOR))
    issue(house, boss, "dev")
    house.app.ledgers.checkpoint(house.app.store(house.project.id))
    house.app.ledgers.checkpoint(house.app.machine)
    return house


def test_what_is_sound_has_no_flaw_and_no_entry(used: House) -> None:
    assert found(used) == [] and entered(used) == []
    for _ in range(2):  # after the keys of the entries are erased, too
        used.moment += timedelta(hours=1)
        used.remember("bird", "another pelican")
        used.app.ledgers.end_epoch()
        assert found(used) == [] and entered(used) == []


PROJECT = {
    "head_missing": "DELETE FROM ledger_heads WHERE stream = 'uid:1000/s1'",
    "head_not_newest": "UPDATE ledger_heads SET seq = seq - 1 WHERE stream = 'uid:1000/s1'",
    "head_forged": "UPDATE ledger_heads SET mac = zeroblob(32) WHERE stream = 'uid:1000/s1'",
    "lease_malformed": "UPDATE ledger_sequencers SET fence = 0",
    "lease_too_long": "UPDATE ledger_sequencers SET expires_at = '2999-01-01T00:00:00.000000Z'",
    "lease_foreign": "UPDATE ledger_sequencers SET holder = 'sig_another'",
    "tree_not_signed": "DELETE FROM ledger_checkpoints",
    "notebook_over": "INSERT INTO facts (project, agent, key, value, importance, created_at, created_by, session)"
    " WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 260)"
    " SELECT project, agent, 'k' || i, 'v', 1, created_at, created_by, session FROM facts, n WHERE key = 'bird'",
    "text_not_sealed": "UPDATE facts SET classification = 'restricted' WHERE key = 'bird'",
    "state_unreadable": "UPDATE ledger_sequencers SET fence = 'many'",
}
MACHINE = {
    "token_times": "UPDATE tokens SET expires_at = '2999-01-01T00:00:00.000000Z' WHERE agent = 'dev'",
    "token_outlives": "UPDATE tokens SET revoked_at = issued_at WHERE agent = 'boss'",
    "token_other_root": "UPDATE tokens SET token = 'tok_other_x' WHERE agent = 'dev'",
    "head_forged": "UPDATE ledger_heads SET mac = zeroblob(32) WHERE stream = 'system/projects'",
}


@pytest.mark.parametrize("code", PROJECT)
@pytest.mark.parametrize("opened", [True, False], ids=["open", "closed"])
def test_w_05_each_break_of_a_projects_state_is_named_entered_once_and_stops_nothing(
    used: House, code: str, opened: bool
) -> None:
    if not opened:
        used.app.stores.forget(used.project.id)
    sql(used.app.stores.path(used.project.id), PROJECT[code])
    assert found(used) == [code]
    assert found(used) == [code] and entered(used) == [code]
    used.do("zc_search", replace(AGENT, session="another"), queries=["pelican"])


@pytest.mark.parametrize("code", MACHINE)
def test_each_break_of_the_machines_state_is_named_and_entered(used: House, code: str) -> None:
    sql(used.app.settings.home / "machine.db", MACHINE[code])
    assert found(used) == [code] and entered(used) == [code]
    used.do("zc_status")


def test_what_was_mended_and_breaks_again_is_entered_again(used: House) -> None:
    file = used.app.stores.path(used.project.id)
    for _ in range(2):
        sql(file, "UPDATE ledger_sequencers SET fence = -fence")
        assert found(used) == ["lease_malformed"]
        sql(file, "UPDATE ledger_sequencers SET fence = -fence")
        assert found(used) == []
    assert entered(used) == ["lease_malformed"] * 2


def test_a_file_that_is_gone_is_not_made_anew_by_looking(used: House) -> None:
    used.app.stores.forget(used.project.id)
    file = used.app.stores.path(used.project.id)
    for part in file.parent.glob(file.name + "*"):
        part.unlink()
    assert found(used) == []
    assert not file.exists()
