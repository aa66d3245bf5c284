"""Projects that end: nothing acknowledged is lost, nothing deleted stays, and what a crash left is finished."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from securecontext.app import App
from securecontext.app.files import FileStores
from securecontext.boundaries.policy import Standing
from securecontext.operations import merging
from securecontext.pipeline.callers import Caller, introduce
from securecontext.pipeline.world import Project
from securecontext.projects import register
from securecontext.settings import Settings
from securecontext.types.errors import Unavailable, ZcError
from tests.house_case import AGENT, HOOK, PERSON, House, house
from tests.waiting import wait_until

__all__ = ["house"]

WORD = "zaxxorblat"


def session(house: House, project: Project) -> Caller:
    return introduce(
        house.app, Standing.AGENT, "mcp", 1000, {"project-path": project.folder, "session": "s9"}
    )


def keys(house: House, project: Project) -> set[str]:
    listed = house.ask("memory.list", who=PERSON, project=project)
    assert listed.error is None, listed.text
    return {fact["key"] for fact in listed.structured["facts"]}


@pytest.fixture
def pair(house: House) -> tuple[Project, Project]:
    source, target = house.fresh_project("source"), house.fresh_project("target")
    for project in (source, target):
        house.ask("zc_remember", {"key": project.name, "value": f"{WORD} of {project.name}"}, project=project)
    house.ask(
        "zc_index", {"source": "doc", "content": f"a document about {WORD}"}, project=source, key="once"
    )
    return source, target


def merge(house: House, pair: tuple[Project, Project]) -> Any:
    return house.ask("project.merge", {"source": pair[0].id, "target": pair[1].id}, who=PERSON)


def again(house: House) -> None:
    """Start the service's heart anew, as after a crash."""
    settings, clock = house.app.settings, house.app.clock
    house.app.close()
    house.app = App(settings, clock)


def dies(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


# Merging


def test_no_write_that_is_acknowledged_while_projects_are_merged_is_lost(
    house: House, pair: tuple[Project, Project], monkeypatch: pytest.MonkeyPatch
) -> None:
    caller, copy = session(house, pair[0]), merging._copy
    outcomes: list[str] = []

    def meanwhile(*given: Any) -> Any:
        for key in ("before", "after"):
            answer = caller.call(house.app.corridor, "zc_remember", {"key": key, "value": "v"})
            outcomes.append(answer.error.code if answer.error else key)
            if key == "before":
                done = copy(*given)
        return done

    monkeypatch.setattr(merging, "_copy", meanwhile)
    assert merge(house, pair).error is None
    assert outcomes == ["project_gone", "project_gone"]
    assert caller.call(house.app.corridor, "zc_remember", {"key": "later", "value": "v"}).error is None
    assert keys(house, pair[1]) == {"source", "target", "later"}


def test_what_was_queued_when_the_source_ended_is_copied(house: House, pair: tuple[Project, Project]) -> None:
    store, entered, go = house.app.store(pair[0].id), threading.Event(), threading.Event()

    def hold(_transaction: object) -> None:
        entered.set()
        assert go.wait(30)

    def late() -> None:
        house.ask("zc_remember", {"key": "queued", "value": "v"}, project=pair[0])

    holder, writer = threading.Thread(target=store.write, args=(hold,)), threading.Thread(target=late)
    holder.start()
    assert entered.wait(30)
    merger = threading.Thread(target=merge, args=(house, pair))
    writer.start()
    wait_until(lambda: store._writer._waiting, "the write to be queued")  # type: ignore[attr-defined]
    merger.start()
    wait_until(lambda: store._writer._closed, "the source to be ended")  # type: ignore[attr-defined]
    go.set()
    for thread in (holder, writer, merger):
        thread.join(30)
    assert keys(house, pair[1]) == {"source", "target", "queued"}


def test_a_source_can_be_used_again_where_the_copy_fails(
    house: House, pair: tuple[Project, Project], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise Unavailable("disk_full", "Full.", "Free room.")

    with monkeypatch.context() as patched:
        patched.setattr(merging, "_copy", full)
        assert merge(house, pair).error.code == "disk_full"
    caller = session(house, pair[0])
    assert caller.call(house.app.corridor, "zc_remember", {"key": "more", "value": "v"}).error is None
    assert merge(house, pair).error is None
    assert keys(house, pair[1]) == {"source", "target", "more"}


def test_a_source_can_be_used_again_where_the_register_is_not_changed(
    house: House, pair: tuple[Project, Project], monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = merging._copy

    def and_then_the_target_goes(*given: Any) -> Any:
        done = copy(*given)
        house.do("project.delete", PERSON, project=pair[1].id, confirm=True)
        return done

    monkeypatch.setattr(merging, "_copy", and_then_the_target_goes)
    assert merge(house, pair).error.code == "project_not_active"
    assert keys(house, pair[0]) == {"source"}


def test_a_crash_between_copy_and_register_is_mended_by_merging_again(
    house: House, pair: tuple[Project, Project], monkeypatch: pytest.MonkeyPatch
) -> None:
    house.ask("session.turn", {"said": "what was said"}, who=HOOK, project=pair[0])
    with monkeypatch.context() as patched:
        patched.setattr(register, "merge", dies)
        patched.setattr(App, "settle_project", dies)
        with pytest.raises(KeyboardInterrupt):
            merge(house, pair)
    again(house)
    house.ask("zc_remember", {"key": "since", "value": "v"}, project=pair[0])
    assert merge(house, pair).error is None
    assert keys(house, pair[1]) == {"source", "target", "since"}
    with sqlite3.connect(house.app.stores.path(pair[1].id)) as file:
        assert file.execute("SELECT count(*) FROM events WHERE kind = 'said'").fetchone() == (1,)


def words_on_disk(house: House) -> list[str]:
    """Names of the files that hold the word."""
    return sorted(
        p.name for p in house.app.settings.home.rglob("*") if p.is_file() and WORD.encode() in p.read_bytes()
    )


def source_is_empty(house: House, source: Project) -> bool:
    with house.app.open_copy(house.app.stores.path(source.id)) as connection:
        assert house.app.ledgers.verify(connection).as_dict()["status"] == "OK"
        assert house.app.ledgers.tail(connection, 100), "its ledger stays"
        tables = ("facts", "documents", "chunks", "chunks_fts", "events", "idempotency")
        return not any(connection.exec_driver_sql(f"SELECT count(*) FROM {t}").scalar() for t in tables)


def test_what_goes_over_keeps_its_end_and_its_state_and_is_an_entry_of_the_target(
    house: House, pair: tuple[Project, Project]
) -> None:
    for call in (
        ("zc_summarize_session", {"summary": "of the source"}, AGENT),
        ("memory.import", {"facts": [{"key": "old", "value": WORD, "state": "archived"}]}, PERSON),
    ):
        assert house.ask(call[0], call[1], who=call[2], project=pair[0]).error is None
    assert merge(house, pair).error is None
    with house.app.store(pair[1].id).read() as connection:
        ends = (
            connection.exec_driver_sql("SELECT expires_at FROM documents WHERE kind = 'summary'")
            .scalars()
            .all()
        )
        states = dict(connection.exec_driver_sql("SELECT key, state FROM facts").all())
        bodies = [row.body or {} for row in house.app.ledgers.tail(connection, 20)]
    assert len(ends) == 1 and ends[0].startswith("2027-")
    assert (states["old"], states["source"]) == ("archived", "active")
    assert [b["arguments"]["source"] for b in bodies if b["operation"] == "project.merge"] == [pair[0].id]


def test_what_is_forgotten_in_the_target_lies_nowhere_in_the_source(
    house: House, pair: tuple[Project, Project]
) -> None:
    assert merge(house, pair).error is None
    assert source_is_empty(house, pair[0])
    for key in ("source", "target"):
        assert house.ask("zc_forget", {"key": key}, project=pair[1]).error is None
    (document,) = house.ask("archive.list", who=PERSON, project=pair[1]).structured["documents"]
    forgotten = house.ask("archive.forget", {"document": document["id"]}, who=PERSON, project=pair[1])
    assert forgotten.error is None, forgotten.text
    assert words_on_disk(house) == []


@pytest.mark.parametrize("lost_register", [False, True])
def test_a_crash_before_the_source_is_emptied_is_finished_at_the_next_start(
    house: House, pair: tuple[Project, Project], monkeypatch: pytest.MonkeyPatch, lost_register: bool
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(App, "settle_project", dies)
        with pytest.raises(KeyboardInterrupt):
            merge(house, pair)
    again(house)
    house.app.tidy()
    assert source_is_empty(house, pair[0])
    if lost_register:
        lose_register(house)
    house.app.tidy()
    assert find(house, "source").id == find(house, "target").id == pair[1].id


def test_a_source_that_could_not_be_emptied_is_emptied_later(
    house: House, pair: tuple[Project, Project], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise Unavailable("disk_full", "Full.", "Free room.")

    with monkeypatch.context() as patched:
        patched.setattr("securecontext.app.stores.emptying.empty", full)
        assert merge(house, pair).error is None
    house.app.tidy()
    assert source_is_empty(house, pair[0])


# A lost register


def find(house: House, name: str) -> Project:
    return house.app.find_project(str(house.app.settings.home.parent / name), "")


def lose_register(house: House, how: Callable[[Path], None] = Path.unlink) -> None:
    settings, clock = house.app.settings, house.app.clock
    house.app.close()
    for part in settings.home.glob("machine.db*"):
        how(part)
    house.app = App(settings, clock)


def test_a_register_made_again_knows_all_folders_and_what_was_merged(
    house: House, pair: tuple[Project, Project]
) -> None:
    assert merge(house, pair).error is None
    lose_register(house)
    assert find(house, "target").id == find(house, "source").id == pair[1].id
    states = {p["id"]: p["state"] for p in house.do("project.list", PERSON, all=True)["projects"]}
    assert (states[pair[0].id], states[pair[1].id]) == ("merged", "active")
    assert keys(house, pair[1]) == {"source", "target"}


def test_a_register_made_again_knows_where_a_project_was_moved_to(house: House) -> None:
    old = house.fresh_project("here")
    house.ask("zc_remember", {"key": "k", "value": "v"}, project=old)
    there = house.app.settings.home.parent / "there"
    there.mkdir()
    house.do("project.move", PERSON, project=old.id, folder=str(there))
    lose_register(house)
    assert find(house, "there").id == old.id
    assert find(house, "here").id != old.id


def test_a_register_without_a_byte_is_a_lost_one(house: House) -> None:
    house.remember("k", "v")
    lose_register(house, lambda part: part.write_bytes(b""))
    assert find(house, "work").id == house.project.id
    assert (house.app.settings.home / "machine.db.bad-1").stat().st_size == 0
    assert house.app.set_aside() == []


def test_a_register_whose_making_was_cut_short_is_made_again(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.remember("k", "v")
    with monkeypatch.context() as patched:
        patched.setattr(FileStores, "_register_anew", dies)
        lose_register(house)
        with pytest.raises(KeyboardInterrupt):
            find(house, "work")
    assert find(house, "work").id == house.project.id


# A missing file


def test_a_project_whose_file_is_gone_does_not_start_empty_by_itself(house: House) -> None:
    house.remember("k", "v")
    path = house.app.stores.path(house.project.id)
    house.app.stores.forget(house.project.id)
    path.rename(path.with_suffix(".away"))
    again(house)
    for _ in range(2):
        assert house.refused("zc_recall_context") == "database_missing"
        assert not path.exists()
    path.with_suffix(".away").rename(path)
    assert "k: v" in house.recall(), "put back, it is used again"
    house.app.stores.forget(house.project.id)
    path.unlink()
    shown = house.ask("recover", who=PERSON)
    assert shown.structured["set_aside"][0]["file"] == path.name and "work" in shown.text
    assert house.refused("zc_recall_context") == "database_missing", "listing decides nothing"
    house.do("recover", PERSON, confirm=True, file=path.name)
    assert "k: v" not in house.recall()
    assert house.do("recover", PERSON)["set_aside"] == []


def test_a_project_whose_file_is_gone_can_be_deleted(house: House) -> None:
    house.remember("k", "v")
    house.app.stores.forget(house.project.id)
    house.app.stores.path(house.project.id).unlink()
    house.do("project.delete", PERSON, project=house.project.id, confirm=True)
    assert find(house, "work").id != house.project.id
    assert house.do("recover", PERSON)["set_aside"] == []


def test_one_of_several_files_is_recovered_by_its_name(house: House) -> None:
    other = house.fresh_project("other")
    files = []
    for project in (house.project, other):
        house.ask("zc_remember", {"key": "k", "value": "v"}, project=project)
        house.app.stores.forget(project.id)
        files.append(house.app.stores.path(project.id))
        files[-1].write_bytes(b"no database at all " * 500)
        assert house.ask("zc_status", project=project).error is not None
    shown = house.ask("recover", who=PERSON)
    assert {line["project"] for line in shown.structured["set_aside"]} == {"work", "other"}
    assert house.refused("recover", PERSON, file="none.db", confirm=True) == "no_such_file"
    house.do("recover", PERSON, file=files[1].name, confirm=True)
    assert house.ask("zc_status", project=other).error is None
    assert house.refused("zc_status") == "database_set_aside"
    assert files[0].name in house.ask("recover", {"confirm": True}, who=PERSON).text
    assert house.ask("zc_status").error is None


# Deleting


def deleted_but_there(house: House, monkeypatch: pytest.MonkeyPatch, end: type[BaseException]) -> str:
    """Delete a project whose file cannot be removed; return what was told."""
    house.remember("k", WORD)
    unlink = Path.unlink

    def denied(path: Path, missing_ok: bool = False) -> None:
        if path.suffix == ".db":
            raise end(13, "Permission denied")
        unlink(path, missing_ok)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", denied)
        given = {"project": house.project.id, "confirm": True}
        answer = house.ask("project.delete", given, who=PERSON)
    return answer.error.code if answer.error is not None else ""


def test_a_deleted_file_that_cannot_be_removed_is_told_and_can_be_deleted_again(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert deleted_but_there(house, monkeypatch, PermissionError) == "file_not_removed"
    assert words_on_disk(house)
    house.do("project.delete", PERSON, project=house.project.id, confirm=True)
    assert words_on_disk(house) == []
    given = {"project": house.project.id, "confirm": True}
    assert house.refused("project.delete", PERSON, **given) == "project_not_active"


def test_a_crash_while_a_project_is_deleted_is_finished_at_the_next_start(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(KeyboardInterrupt):
        deleted_but_there(house, monkeypatch, KeyboardInterrupt)
    again(house)
    house.app.tidy()
    assert words_on_disk(house) == []


def test_what_was_set_aside_of_a_project_is_deleted_with_it(house: House) -> None:
    house.remember("k", "v")
    house.app.stores.forget(house.project.id)
    house.app.stores.path(house.project.id).write_bytes(WORD.encode() * 500)
    assert house.refused("zc_status") == "database_corrupt"
    assert words_on_disk(house)
    house.do("project.delete", PERSON, project=house.project.id, confirm=True)
    assert words_on_disk(house) == []


# Moving


def test_a_move_disturbs_no_session(house: House) -> None:
    store = house.app.store(house.project.id)
    there = house.app.settings.home.parent / "there"
    there.mkdir()
    house.do("project.move", PERSON, project=house.project.id, folder=str(there))
    store.write(lambda transaction: None)


def test_a_call_that_began_before_a_project_ended_is_told_the_truth(house: House) -> None:
    store = house.app.store(house.project.id)
    house.do("project.delete", PERSON, project=house.project.id, confirm=True)
    with pytest.raises(ZcError) as caught:
        store.write(lambda transaction: None)
    assert caught.value.code == "project_gone"


def test_tidying_up_makes_nothing_where_nothing_is_stored(tmp_path: Path, own_home: Path) -> None:
    app = App(Settings(tmp_path / "data", own_home))
    app.tidy()
    assert not list((tmp_path / "data").glob("machine.db*"))
    app.close()
