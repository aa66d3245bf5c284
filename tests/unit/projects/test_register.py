"""The register through the composition root: which folders share a memory, and what people do with projects."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from subprocess import run
from typing import Any

import pytest

from securecontext.app import App
from securecontext.boundaries.policy import Standing
from securecontext.pipeline.callers import Caller, introduce
from securecontext.settings import Settings
from tests.unit.projects.test_identity import git, repository

START = datetime(2026, 11, 22, 2, 0, tzinfo=UTC)


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.moment = START

    def __call__(self) -> datetime:
        return self.moment

    def later(self) -> None:
        """Let what the composition root keeps for a while grow old."""
        self.moment += timedelta(days=1)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def app(tmp_path: Path, own_home: Path, clock: Clock) -> Iterator[App]:
    made = App(Settings(tmp_path / "data", own_home), clock)
    yield made
    made.close()


def person(app: App, folder: Path | str, scope: str = "") -> Caller:
    headers = {"project-path": str(folder), "scope": scope, "session": "s1"}
    return introduce(app, Standing.PERSON, "cli", 1000, headers)


def do(app: App, folder: Path | str, operation: str, /, **arguments: Any) -> dict[str, Any]:
    answer = person(app, folder).call(app.corridor, operation, arguments)
    assert answer.error is None, answer.text
    return answer.structured


def refusal(app: App, folder: Path | str, operation: str, /, **arguments: Any) -> str:
    answer = person(app, folder).call(app.corridor, operation, arguments)
    assert answer.error is not None
    return answer.error.code


def keys(app: App, folder: Path | str) -> set[str]:
    return {f["key"] for f in do(app, folder, "memory.list")["facts"]}


def listed(app: App, folder: Path | str, **arguments: Any) -> dict[str, dict[str, Any]]:
    return {p["id"]: p for p in do(app, folder, "project.list", **arguments)["projects"]}


def test_a_rename_keeps_the_memory_and_frees_the_old_path(app: App, tmp_path: Path) -> None:
    old = repository(tmp_path / "old")
    do(app, old, "zc_remember", key="k", value="v")
    new = old.rename(tmp_path / "new")
    assert keys(app, new) == {"k"}
    assert [p["paths"] for p in listed(app, new).values()] == [[str(new)]]
    repository(old)
    app.stores.forget("")  # as if an hour had passed
    assert keys(app, old) == set()


def test_repositories_that_change_places_take_their_memory_with_them(app: App, tmp_path: Path) -> None:
    one, two = repository(tmp_path / "one"), repository(tmp_path / "two")
    for folder in (one, two):
        do(app, folder, "zc_remember", key=folder.name, value="v")
    one.rename(tmp_path / "spare")
    two.rename(one)
    (tmp_path / "spare").rename(two)
    app.stores.forget("")
    assert keys(app, one) == {"two"}
    assert keys(app, two) == {"one"}
    assert len(listed(app, one)) == 2


def test_a_copy_does_not_share(app: App, tmp_path: Path) -> None:
    top = repository(tmp_path / "repo")
    do(app, top, "zc_remember", key="k", value="v")
    run(["cp", "-a", top, tmp_path / "copy"], check=True)
    assert keys(app, tmp_path / "copy") == set()
    assert keys(app, top) == {"k"}


def test_a_tree_made_elsewhere_after_another_was_deleted_does_not_share(app: App, tmp_path: Path) -> None:
    for number in range(5):
        top = repository(tmp_path / f"repo{number}")
        assert keys(app, top) == set()
        do(app, top, "zc_remember", key="k", value="v")
        run(["rm", "-rf", top], check=True)


@pytest.mark.parametrize("make", [repository, Path.mkdir], ids=["repository", "folder"])
def test_a_folder_made_again_at_its_place_keeps_its_memory(app: App, tmp_path: Path, make: Any) -> None:
    make(tmp_path / "again")
    do(app, tmp_path / "again", "zc_remember", key="k", value="v")
    run(["rm", "-rf", tmp_path / "again"], check=True)
    app.stores.forget("")
    make(tmp_path / "again")
    assert keys(app, tmp_path / "again") == {"k"}


def test_worktrees_share_unless_they_are_kept_apart(app: App, tmp_path: Path) -> None:
    top = repository(tmp_path / "repo")
    git("-C", top, "worktree", "add", "-q", tmp_path / "tree")
    do(app, top, "zc_remember", key="k", value="v")
    assert keys(app, tmp_path / "tree") == {"k"}
    apart = person(app, tmp_path / "tree", "worktree")
    assert apart.call(app.corridor, "memory.list", {}).structured["facts"] == []


def test_a_link_leads_to_the_same_memory(app: App, tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    (tmp_path / "link").symlink_to("plain")
    do(app, tmp_path / "link", "zc_remember", key="k", value="v")
    assert keys(app, tmp_path / "plain") == {"k"}


@pytest.mark.parametrize("name", ["new\nline", "grüße", "x" * 250], ids=ascii)
def test_odd_names_have_a_memory_and_one_line_in_the_list(app: App, tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    do(app, tmp_path / name, "zc_remember", key="k", value="v")
    assert keys(app, tmp_path / name) == {"k"}
    answer = person(app, tmp_path / name).call(app.corridor, "project.list", {})
    assert len(answer.text.splitlines()) == 1
    assert len(answer.structured["projects"][0]["name"]) <= 200


def test_a_session_goes_on_where_its_folder_is_gone(app: App, tmp_path: Path, clock: Clock) -> None:
    (tmp_path / "plain").mkdir()
    session = person(app, tmp_path / "plain")
    (tmp_path / "plain").rmdir()
    clock.later()
    assert session.call(app.corridor, "zc_remember", {"key": "k", "value": "v"}).error is None


def test_move_lets_a_project_live_elsewhere(app: App, tmp_path: Path) -> None:
    for name in ("here", "there", "taken"):
        (tmp_path / name).mkdir()
    do(app, tmp_path / "here", "zc_remember", key="k", value="v")
    moved = do(app, tmp_path / "here", "project.move", project="here", folder=str(tmp_path / "there"))
    assert (moved["name"], moved["folder"]) == ("there", str(tmp_path / "there"))
    assert keys(app, tmp_path / "there") == {"k"}
    assert keys(app, tmp_path / "here") == set()
    do(app, tmp_path / "taken", "zc_index", source="s", content="c")
    given = {"project": "there", "folder": str(tmp_path / "taken")}
    assert refusal(app, tmp_path / "there", "project.move", **given) == "place_taken"
    given = {"project": "there", "folder": str(tmp_path / "absent")}
    assert refusal(app, tmp_path / "there", "project.move", **given) == "no_such_folder"
    assert refusal(app, tmp_path / "there", "project.move", project="x", folder="/") == "no_such_project"


def test_merge_brings_everything_and_hides_nothing(app: App, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for folder in (one, two):
        folder.mkdir()
        do(app, folder, "zc_remember", key="same", value="same")
        do(app, folder, "zc_remember", key="differs", value=f"value of {folder.name}")
        do(app, folder, "zc_remember", key=folder.name, value="v")
        do(app, folder, "zc_index", source="README.md", content=f"the unicorn of {folder.name}")
    do(app, one, "zc_index", source="only.md", content="a manticore")
    gone = person(app, one)
    merged = do(app, two, "project.merge", source="one", target="two")
    assert (merged["facts"], merged["renamed"], merged["documents"]) == (3, 1, 2)
    expected = {"same", "differs", "differs (one)", "one", "two"}
    assert keys(app, two) == expected
    assert keys(app, one) == expected, "its folder leads to the target now"
    sources = {h["source"] for h in do(app, two, "zc_search", queries=["unicorn"])["hits"]}
    assert sources == {"README.md", "README.md (one)"}
    assert do(app, two, "zc_search", queries=["manticore"])["hits"]
    assert gone.call(app.corridor, "zc_remember", {"key": "late", "value": "v"}).error is None
    assert "late" in keys(app, two), "a session that began before the merge writes to the target"
    assert {p["state"] for p in listed(app, two, all=True).values()} == {"active", "merged"}
    assert refusal(app, two, "project.merge", source="two", target="two") == "same_project"
    assert (
        refusal(app, two, "project.merge", source=merged["source_id"], target="two") == "project_not_active"
    )
    assert do(app, two, "audit.verify")["status"] == "OK"


def test_delete_needs_a_yes_and_leaves_no_file(app: App, tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    (tmp_path / "other").mkdir()
    do(app, tmp_path / "plain", "zc_remember", key="k", value="v")
    ident = next(iter(listed(app, tmp_path / "plain")))
    assert refusal(app, tmp_path / "other", "project.delete", project="plain") == "not_confirmed"
    session = person(app, tmp_path / "plain")
    do(app, tmp_path / "other", "project.delete", project="plain", confirm=True)
    assert list(app.stores.path(ident).parent.glob(f"{ident}*")) == []
    assert session.call(app.corridor, "zc_remember", {"key": "new", "value": "v"}).error is None
    assert list(app.stores.path(ident).parent.glob(f"{ident}*")) == [], "an open session revives nothing"
    assert keys(app, tmp_path / "plain") == {"new"}
    assert listed(app, tmp_path / "plain", all=True)[ident]["state"] == "deleted"
    assert (
        refusal(app, tmp_path / "other", "project.delete", project=ident, confirm=True)
        == "project_not_active"
    )


def test_two_projects_of_one_name_are_named_by_id(app: App, tmp_path: Path) -> None:
    for parent in ("a", "b"):
        (tmp_path / parent / "same").mkdir(parents=True)
        keys(app, tmp_path / parent / "same")
    folder = tmp_path / "a" / "same"
    assert refusal(app, folder, "project.delete", project="same", confirm=True) == "ambiguous_project"
    do(app, folder, "project.delete", project=next(iter(listed(app, folder))), confirm=True)
    assert len(listed(app, tmp_path / "a" / "same", all=True)) == 3


def test_a_folder_that_is_absent_is_told_at_calls_that_need_it(app: App, tmp_path: Path) -> None:
    assert refusal(app, tmp_path / "absent", "memory.list") == "no_such_folder"
    assert do(app, tmp_path / "absent", "project.list") == {"projects": []}


def test_a_relative_path_is_refused_and_not_looked_for_where_the_service_runs(
    app: App, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "plain").mkdir()
    monkeypatch.chdir(tmp_path)
    for path in (".", "plain"):
        assert refusal(app, path, "memory.list") == "relative_path"
        given = {"project": "plain", "folder": path}
        assert refusal(app, tmp_path / "plain", "project.move", **given) == "relative_path"
    assert keys(app, tmp_path / "plain") == set()


def test_another_repository_at_the_old_path_gets_no_memory_of_the_renamed_one(
    app: App, tmp_path: Path
) -> None:
    """Within the hour in which what was looked up is kept."""
    old = repository(tmp_path / "app")
    do(app, old, "zc_remember", key="k", value="of the old one")
    old.rename(tmp_path / "renamed")
    repository(old)
    assert keys(app, old) == set()
    do(app, old, "zc_remember", key="new", value="of the new one")
    assert keys(app, tmp_path / "renamed") == {"k"}
    assert keys(app, old) == {"new"}


def test_a_plain_folder_that_becomes_a_repository_is_known_by_its_tree_at_once(
    app: App, tmp_path: Path
) -> None:
    (tmp_path / "plain").mkdir()
    do(app, tmp_path / "plain", "zc_remember", key="k", value="v")
    repository(tmp_path / "plain")
    assert keys(app, tmp_path / "plain") == {"k"}
    (tmp_path / "plain").rename(tmp_path / "renamed")
    assert keys(app, tmp_path / "renamed") == {"k"}


def test_a_project_has_the_name_that_its_folder_has_now(app: App, tmp_path: Path) -> None:
    old = repository(tmp_path / "old")
    do(app, old, "zc_remember", key="k", value="v")
    new = old.rename(tmp_path / "new")
    assert [p["name"] for p in listed(app, new).values()] == ["new"]


def test_a_project_of_several_folders_keeps_its_name_when_one_is_renamed(app: App, tmp_path: Path) -> None:
    one, two = repository(tmp_path / "one"), repository(tmp_path / "two")
    for folder in (one, two):
        do(app, folder, "zc_remember", key=folder.name, value="v")
    do(app, two, "project.merge", source="one", target="two")
    assert keys(app, one.rename(tmp_path / "other")) == {"one", "two"}
    assert [p["name"] for p in listed(app, two).values()] == ["two"]


def test_an_empty_project_is_no_obstacle_to_a_move(app: App, tmp_path: Path) -> None:
    """To call from the new folder makes a project of it."""
    here, there = repository(tmp_path / "here"), repository(tmp_path / "there")
    do(app, here, "zc_remember", key="k", value="v")
    do(app, there, "zc_status")
    empty = do(app, there, "zc_status")["project_id"]
    moved = do(app, there, "project.move", project="here", folder=str(there))
    assert moved["given_up"] == [empty]
    assert keys(app, there) == {"k"}
    assert listed(app, there, all=True)[empty]["state"] == "deleted"
    assert list(app.stores.path(empty).parent.glob(f"{empty}*")) == []


def test_a_project_that_was_in_the_way_of_a_refused_move_goes_on(app: App, tmp_path: Path) -> None:
    for name in ("here", "taken"):
        (tmp_path / name).mkdir()
        do(app, tmp_path / name, "zc_remember", key=name, value="v")
    given = {"project": "here", "folder": str(tmp_path / "taken")}
    assert refusal(app, tmp_path / "here", "project.move", **given) == "place_taken"
    do(app, tmp_path / "taken", "zc_remember", key="more", value="v")
    assert keys(app, tmp_path / "taken") == {"taken", "more"}


def test_a_move_does_not_take_the_tree_of_a_project_that_was_renamed(app: App, tmp_path: Path) -> None:
    one, two = repository(tmp_path / "one"), repository(tmp_path / "two")
    for folder in (one, two):
        do(app, folder, "zc_remember", key=folder.name, value="v")
    two.rename(tmp_path / "renamed")
    given = {"project": "one", "folder": str(tmp_path / "renamed")}
    assert refusal(app, one, "project.move", **given) == "place_taken"
    assert keys(app, tmp_path / "renamed") == {"two"}
