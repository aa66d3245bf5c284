"""The data of a folder, carried from its files into a database: whole, compared, resumed, and the files untouched."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from psycopg import sql
from sqlalchemy import make_url

from securecontext.app import App, moving
from securecontext.settings import Settings
from securecontext.types.errors import Conflict, InvalidInput, Tampered, ZcError
from tests.engines.fixtures import let_in
from tests.engines.postgres_server import PostgresServer
from tests.house_case import PERSON, House, named
from tests.team_case import make_team

SECRET_NOTE = "the launch is on the ninth"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data folder with two projects, sealed texts, history, a forgotten value, a team and its tasks; closed."""
    team = make_team(tmp_path / "house")
    house = team.house
    house.remember("db", "PostgreSQL 15", 5)
    house.remember("db", "PostgreSQL 16", 5)
    house.remember("gone", "soon")
    house.do("zc_forget", key="gone")
    house.remember("launch", SECRET_NOTE, 4, classification="confidential")
    house.do("zc_index", content="Waterfalls of the north. " * 80, source="notes/waterfalls")
    house.do("zc_summarize_session", summary="Chose the engine.")
    for number in range(60):
        house.remember(f"k{number}", f"value {number}", who=named("other", "s2"))
    team.say(team.boss, "STATUS", summary="first")
    assigned = team.assign("alice", "src/login/", task="the form")
    house.do("zc_ack", team.alice, broadcast_id=assigned["id"])
    for name in ("first", "second"):
        house.do("zc_enqueue_task", team.boss, task_id=name, role="worker", payload={"about": name})
    [claimed] = house.do("zc_claim_task", team.bob)["claims"]
    done = {"task_id": claimed["task_id"], "fence": claimed["fence"], "result": {"lines": 3}}
    house.do("zc_complete_task", team.bob, **done)
    other = house.fresh_project("second")
    house.ask("zc_remember", {"key": "db", "value": "SQLite"}, project=other)
    house.ask(
        "zc_remember", {"key": "plan", "value": "hidden", "classification": "restricted"}, project=other
    )
    house.app.ledgers.checkpoint(house.app.store(house.project.id))
    house.app.close()
    return tmp_path / "house"


def settings(folder: Path, url: str) -> Settings:
    return Settings(home=folder / "zc", user_home=folder, postgres_url=url, postgres_connections=8)


def quiet(_name: str, _rows: int) -> None:
    """Nobody looks on."""


def databases(folder: Path) -> dict[str, str]:
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted((folder / "zc").rglob("*.db"))
    }


def opened(folder: Path, url: str) -> House:
    app = App(settings(folder, url))
    return House(app, app.find_project(str(folder / "work"), ""))


def test_everything_is_in_the_database_afterwards_and_the_files_are_as_they_were(
    folder: Path, service_url: str
) -> None:
    let_in(service_url, folder / "zc")
    before = databases(folder)
    done = moving.Move(settings(folder, service_url), quiet).run()
    assert databases(folder) == before
    assert [each.ledger for each in done] == ["OK"] * 3
    assert sum(each.rows for each in done) > 200
    house = opened(folder, service_url)
    try:
        shown = house.shown()
        assert shown["db"] == "PostgreSQL 16"
        assert shown["launch"] == SECRET_NOTE, "sealed anew for its new row"
        assert "gone" not in shown
        assert house.search("waterfalls north")[0]["source"] == "notes/waterfalls"
        history = house.do("memory.show", PERSON, key="db")
        assert "PostgreSQL 15" in str(history)
        for state, task in (("done", "first"), ("queued", "second")):
            assert [each["task_id"] for each in house.do("queue.list", PERSON, state=state)["tasks"]] == [
                task
            ]
        [held] = house.do("zc_reservations", PERSON)["reservations"]
        assert (held["agent"], held["pattern"]) == ("alice", "src/login")
        cause = int(held["cause"].removeprefix("broadcast:"))
        traced = house.do("zc_explain", PERSON, broadcast_id=cause)
        assert traced["type"] == "ASSIGN"
        assert [each["agent"] for each in traced["acknowledged"]] == ["alice"]
        house.remember("after", "the move")
        for store in house.app.stores.every_open():
            assert house.app.ledgers.verify_store(store, whole=True).status == "OK"
        assert house.app.state.check() == []
        second = house.fresh_project("second")
        answer = house.ask("zc_recall_context", {}, project=second)
        assert "SQLite" in answer.text
        assert "PostgreSQL 16" not in answer.text
    finally:
        house.app.close()


def test_what_is_killed_on_the_way_is_finished_by_the_next_run(folder: Path, service_url: str) -> None:
    let_in(service_url, folder / "zc")
    program = f"""
import os, signal, sys
from pathlib import Path
from securecontext.app import moving
from securecontext.settings import Settings
seen = []
def progress(name, rows):
    seen.append(name)
    if len(set(seen)) == 2 and seen.count(name) == 3:  # in the middle of the second store
        os.kill(os.getpid(), signal.SIGKILL)
home = Path({str(folder)!r})
moving.Move(Settings(home=home / "zc", user_home=home, postgres_url=sys.argv[1]), progress).run()
"""
    killed = subprocess.run([sys.executable, "-c", program, service_url], check=False)
    assert killed.returncode == -signal.SIGKILL
    for url in (service_url, None):
        with pytest.raises(Conflict) as caught:
            App(Settings(home=folder / "zc", user_home=folder, postgres_url=url))
        assert caught.value.code == "move_unfinished", "nobody changes anything meanwhile"
    done = moving.Move(settings(folder, service_url), quiet).run()
    assert done[0].rows == 0, "the machine's store was there already"
    assert all(each.rows for each in done[1:])
    assert [each.ledger for each in done] == ["OK"] * 3
    house = opened(folder, service_url)
    assert house.shown()["db"] == "PostgreSQL 16"
    house.app.close()


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE facts SET importance = 1 WHERE key = 'k7'",
        "DELETE FROM chunks WHERE position = 0",
        "UPDATE documents SET source = 'notes/other'",
        "UPDATE ledger_bodies SET body = NULL, salt = NULL, purged_at = 'x' WHERE seq = 2",
        "ALTER TABLE ledger_entries DISABLE TRIGGER USER; UPDATE ledger_entries SET ts = 'x' WHERE seq = 2",
    ],
)
def test_a_row_that_is_not_what_its_file_holds_is_found(
    folder: Path,
    service_url: str,
    postgres_server: PostgresServer,
    change: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    database = make_url(service_url).database or ""

    def meddled(self: moving.Move, name: str, path: Path) -> int:
        rows = carry(self, name, path)
        with postgres_server.admin(database) as admin:
            admin.execute(sql.SQL(change))  # type: ignore[arg-type]
        return rows

    carry = moving.Move._carry
    monkeypatch.setattr(moving.Move, "_carry", meddled)
    let_in(service_url, folder / "zc")
    with pytest.raises(Tampered) as caught:
        moving.Move(settings(folder, service_url), quiet).run()
    assert caught.value.code == "move_differs"
    assert not (folder / "zc" / "data-in-postgres").exists()


def test_nothing_is_carried_twice_or_without_an_address(folder: Path, service_url: str) -> None:
    with pytest.raises(InvalidInput):
        moving.Move(Settings(home=folder / "zc", user_home=folder), quiet)
    let_in(service_url, folder / "zc")
    moving.Move(settings(folder, service_url), quiet).run()
    with pytest.raises(Conflict) as caught:
        moving.Move(settings(folder, service_url), quiet)
    assert caught.value.code == "data_in_postgres"


def test_a_folder_says_where_its_data_is_and_no_second_memory_begins_beside_it(
    folder: Path, service_url: str
) -> None:
    with pytest.raises(ZcError) as caught:
        App(settings(folder, service_url))
    assert caught.value.code == "data_in_files"
    let_in(service_url, folder / "zc")
    moving.Move(settings(folder, service_url), quiet).run()
    with pytest.raises(ZcError) as caught:
        App(Settings(home=folder / "zc", user_home=folder))
    assert caught.value.code == "data_in_postgres"
    assert (make_url(service_url).password or "?") not in str(caught.value)


def test_a_move_is_given_up_and_the_files_are_used_again(folder: Path) -> None:
    (folder / "zc" / "data-in-postgres.moving").touch()
    assert moving.give_up(folder / "zc")
    assert not moving.give_up(folder / "zc")
    App(Settings(home=folder / "zc", user_home=folder)).close()
    assert os.listdir(folder / "zc")
