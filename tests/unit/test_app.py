"""The composition root: which project a folder is, also after it was merged, moved or deleted."""

from datetime import timedelta

import pytest

from securecontext.app import App
from securecontext.types.errors import InvalidInput
from tests.house_case import PERSON, house

__all__ = ["house"]


def find(house, name):
    return house.app.find_project(str(house.app.settings.home.parent / name), "")


def test_a_folder_keeps_its_project(house):
    assert house.fresh_project("a") == house.fresh_project("a")
    assert house.fresh_project("a") != house.fresh_project("b")


def test_a_project_looked_up_again_is_not_written_again_within_the_hour(house):
    house.fresh_project("a")
    house.moment += timedelta(minutes=59)
    house.fresh_project("a")
    assert house.do("project.list", PERSON)["projects"][0]["last_used"] == "2026-03-01 12:00"
    house.moment += timedelta(minutes=2)
    house.fresh_project("a")
    assert house.do("project.list", PERSON)["projects"][0]["last_used"] == "2026-03-01 13:01"


def test_a_deleted_projects_folder_gets_a_new_one_and_the_old_one_stays_gone(house):
    old = house.fresh_project("a")
    house.ask("zc_remember", {"key": "k", "value": "v"}, project=old)
    house.do("project.delete", PERSON, project=old.id, confirm=True)
    new = house.fresh_project("a")
    assert new.id != old.id
    answer = house.ask("zc_recall_context", project=old)
    assert answer.error is not None and answer.error.code == "project_gone"
    assert not house.app.stores.path(old.id).exists()
    assert house.ask("zc_recall_context", project=new).error is None


def test_a_merged_projects_folder_leads_to_the_other(house):
    source, target = house.fresh_project("a"), house.fresh_project("b")
    house.ask("zc_remember", {"key": "k", "value": "from a"}, project=source)
    house.do("project.merge", PERSON, source=source.id, target=target.id)
    assert find(house, "a").id == target.id
    answer = house.ask("zc_recall_context", project=target)
    assert "k: from a" in answer.text
    gone = house.ask("zc_remember", {"key": "k", "value": "v"}, project=source)
    assert gone.error is not None and gone.error.code == "project_gone"


def test_a_merge_evicts_nothing_that_fits_and_wakes_nothing_that_was_evicted(house):
    source, target = house.fresh_project("a"), house.fresh_project("b")
    for number in range(116):
        house.ask("zc_remember", {"key": f"s{number}", "value": "v", "importance": 1}, project=source)
    for number in range(15 * 20):
        house.ask("zc_index", {"source": f"d{number}", "content": "x"}, project=target)
    for number in range(40):
        house.ask("zc_remember", {"key": f"t{number}", "value": "v", "importance": 1}, project=target)
    before = house.ask("memory.list", who=PERSON, project=source).structured["facts"]
    house.do("project.merge", PERSON, source=source.id, target=target.id)
    after = house.ask("memory.list", who=PERSON, project=target).structured["facts"]
    assert len(before) == 92 and len(after) == 40 + 92
    everything = house.ask("memory.list", {"archived": True}, who=PERSON, project=target).structured["facts"]
    assert len(everything) == 40 + 116


def test_a_moved_projects_new_folder_leads_to_it_at_once(house):
    old = house.fresh_project("a")
    (house.app.settings.home.parent / "c").mkdir()
    house.do("project.move", PERSON, project=old.id, folder=str(house.app.settings.home.parent / "c"))
    assert find(house, "c").id == old.id
    assert find(house, "a").id != old.id
    assert house.ask("zc_recall_context", project=old).error is None


@pytest.mark.parametrize("path", ["/no/such/folder", "\0", "x" * 5_000, "/tmp/\ud800"])
def test_a_folder_that_is_none_is_a_plain_refusal(house, path):
    with pytest.raises(InvalidInput) as caught:
        house.app.find_project(path, "")
    assert caught.value.code in ("no_such_folder", "bad_path")


def test_a_folder_whose_name_is_no_text_is_a_plain_refusal(house):
    folder = house.app.settings.home.parent / "caf\udce9"
    folder.mkdir()
    with pytest.raises(InvalidInput) as caught:
        house.app.find_project(str(folder), "")
    assert caught.value.code == "bad_path"


def test_an_unknown_scope_is_refused(house):
    with pytest.raises(InvalidInput):
        house.app.find_project("/tmp", "everything")


def test_a_lost_register_is_made_again_from_the_projects_files(house):
    before = house.fresh_project("a")
    house.ask("zc_remember", {"key": "k", "value": "v"}, project=before)
    settings, clock = house.app.settings, house.app.clock
    house.app.close()
    for part in settings.home.glob("machine.db*"):
        part.unlink()
    house.app = App(settings, clock)
    assert house.fresh_project("a").id == before.id
    with house.app.machine.read() as connection:
        assert house.app.ledgers.verify(connection).as_dict()["status"] == "OK"
