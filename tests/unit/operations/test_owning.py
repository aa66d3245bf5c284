"""Whose files are whose, through the corridor: reserved, refused, handed over, checked before a write."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from tests.house_case import AGENT, PERSON, make_house
from tests.identity_case import holder, issue
from tests.team_case import Team, team

from securecontext.boundaries.policy import Role
from securecontext.coordination.ownership import LEASE

__all__ = ["team"]


def git(folder: Path, *words: str) -> None:
    given = ["-c", "user.name=t", "-c", "user.email=t@t", "-c", "init.defaultBranch=main"]
    subprocess.run(["git", *given, *words], cwd=folder, check=True, capture_output=True)


def reserved(team: Team) -> list[tuple[str, str]]:
    found = team.house.do("zc_reservations", team.bob)["reservations"]
    return [(each["agent"], each["pattern"]) for each in found]


def test_only_the_holder_writes(team: Team) -> None:
    team.assign("alice", "src/parser", "README.md")
    for file in ("src/parser", "src/parser/lexer.py", "SRC/PARSER/x", "README.md", "src/../README.md"):
        assert team.writes(team.alice, file) == "", file
        for who in (team.bob, team.boss, AGENT, PERSON):
            assert team.writes(who, file) == "file_held", file
    for file in ("src/other.py", "/tmp/elsewhere", "README.txt"):
        assert team.writes(team.bob, file) == ""


def test_rt_s4_05_a_second_assignment_of_the_files_is_refused_whoever_sends_it(team: Team) -> None:
    said = team.assign("alice", "src/parser")
    for to in ("bob", "alice"):
        refused = team.say_not(
            team.boss, "ASSIGN", task="other", to=[to], file_ownership_exclusive=["src/**/lexer.py"]
        )
        assert refused.error is not None and refused.error.http_status == 409
        assert refused.error.details == {
            "holder": "alice", "overlapping_files": ["src/parser"], "conflicting_broadcast_id": said["id"],
        }  # fmt: skip
    assert len(team.heard(team.bob, unacked_only=False)) == 1, "what was refused was not said"


def test_an_assignment_that_names_nobody_reserves_for_its_sender_who_hands_it_on(team: Team) -> None:
    team.say(team.boss, "ASSIGN", task="open", file_ownership_exclusive=["src"])
    assert reserved(team) == [("boss", "src")]
    assert team.writes(team.bob, "src/x") == "file_held"
    assert team.house.do("zc_hand_over", team.boss, files=["src"], to="bob")["to"] == "bob"
    assert team.writes(team.bob, "src/x") == "" and team.writes(team.boss, "src/x") == "file_held"


def test_w_26_only_an_orchestrators_merge_ends_a_reservation(team: Team) -> None:
    """W-26: a worker's MERGE is said, marked, and frees nothing."""
    team.assign("alice", "src", task="parser")
    for worker in (team.alice, team.bob):
        assert team.say(worker, "MERGE", task="parser")["released"] == 0
    assert reserved(team) == [("alice", "src")]
    assert team.say(team.boss, "MERGE", task="another")["released"] == 0
    assert team.say(team.boss, "MERGE", task="parser")["released"] == 1
    assert reserved(team) == [] and team.writes(team.bob, "src/x") == ""


def test_files_are_asked_for_and_handed_over(team: Team) -> None:
    team.assign("alice", "src/parser", "docs")
    said = team.say(team.bob, "DEPENDENCY", files=["src/parser/lexer.py"], reason="a fix", to=["boss"])
    assert said["asked"] == ["alice"] and said["to"] == ["boss", "alice"]
    assert [each["id"] for each in team.heard(team.alice)][-1] == said["id"]
    [parser, docs] = team.house.do("zc_reservations", team.alice)["reservations"]
    assert (parser["requested_by"], docs["requested_by"]) == ("bob", "")
    for who in (team.bob, PERSON):
        assert team.house.refused("zc_hand_over", who, files=["src/parser"], to="bob") == "not_the_holder"
    assert team.house.refused("zc_hand_over", team.alice, files=["src/parser/lexer.py"]) == "not_reserved"
    team.house.do("zc_hand_over", team.alice, files=["src/Parser/"], to="bob")
    assert team.writes(team.bob, "src/parser/lexer.py") == ""
    assert team.writes(team.alice, "src/parser/lexer.py") == "file_held"
    team.house.do("zc_hand_over", team.operator, files=["docs"])
    assert reserved(team) == [("bob", "src/parser")]


def test_a_lease_ends_without_signs_of_life_and_lasts_with_them(team: Team) -> None:
    team.assign("alice", "src")
    team.house.moment += LEASE * 3 / 4
    assert team.writes(team.alice, "src/x") == ""
    team.house.moment += LEASE * 3 / 4
    assert team.writes(team.bob, "src/x") == "file_held"
    team.house.moment += timedelta(hours=1)
    assert team.writes(team.bob, "src/x") == ""
    team.assign("bob", "src", task="again")


def test_a_refused_write_is_an_entry_and_a_free_one_is_not(team: Team) -> None:
    team.assign("alice", "src")
    before = len(team.house.entries(100))
    team.writes(team.alice, "src/x")
    assert len(team.house.entries(100)) == before
    team.writes(team.bob, "src/x")
    newest = team.house.entries(1)[0]
    assert (newest["kind"], newest["operation"], newest["outcome"]) == (
        "refusal",
        "ownership.check",
        "file_held",
    )


def test_a_write_that_nobody_can_see_is_refused_while_others_hold_files(team: Team) -> None:
    assert team.house.ask("ownership.check", {"unread": True}, who=team.bob).error is None
    team.assign("alice", "src")
    assert team.house.refused("ownership.check", team.bob, unread=True) == "file_held"
    assert team.house.ask("ownership.check", {"unread": True}, who=team.alice).error is None


def test_links_are_seen_through_from_either_side(team: Team) -> None:
    (team.folder / "src").mkdir()
    (team.folder / "src" / "real.py").write_text("x")
    (team.folder / "alias").symlink_to("src")
    (team.folder / "link.py").symlink_to("src/real.py")
    team.assign("alice", "src/real.py")
    for file in ("link.py", "alias/real.py", "alias/../src/real.py"):
        assert team.writes(team.bob, file) == "file_held", file
        assert team.writes(team.alice, file) == ""
    team.say(team.boss, "MERGE", task="the task")
    team.assign("alice", "alias/*.py")
    assert team.writes(team.bob, "src/real.py") == "file_held"
    assert team.writes(team.alice, "src/real.py") == ""
    team.assign("bob", "src/other", task="other")
    (team.folder / "src" / "loop").symlink_to("loop")
    assert team.writes(team.bob, "src/loop") == "bad_path"


def test_worktrees_share_what_is_reserved_and_a_submodule_is_seen_from_outside(tmp_path: Path) -> None:
    main, tree, module = tmp_path / "main", tmp_path / "tree", tmp_path / "main" / "vendor" / "lib"
    main.mkdir()
    git(main, "init")
    git(main, "commit", "--allow-empty", "-m", "x")
    git(main, "worktree", "add", str(tree))
    module.mkdir(parents=True)
    git(module, "init")
    house = make_house(tmp_path / "house")
    try:
        house.project = house.app.find_project(str(main), "")
        from tests.identity_case import with_operator

        operator = with_operator(house)
        house.do("channel.waive", operator)
        boss = holder(house, issue(house, operator, "boss", Role.ORCHESTRATOR))
        bob = holder(house, issue(house, operator, "bob"))
        house.do(
            "zc_broadcast", boss, type="ASSIGN", task="t", to=["alice"],
            file_ownership_exclusive=[f"{tree}/src/**", "vendor/lib/a.c"],
        )  # fmt: skip
        shown = house.do("zc_reservations", bob)["reservations"]
        assert [each["pattern"] for each in shown] == ["src/**", "vendor/lib/a.c"]
        for file in (main / "src" / "x.py", tree / "src" / "x.py", module / "a.c"):
            assert house.refused("ownership.check", bob, files=[str(file)]) == "file_held", file
        assert house.ask("ownership.check", {"files": [str(module / "b.c")]}, who=bob).error is None
        elsewhere = house.ask(
            "zc_broadcast",
            {"type": "ASSIGN", "task": "u", "to": ["bob"], "file_ownership_exclusive": ["/etc/passwd"]},
            who=boss,
        )
        assert elsewhere.error is not None and elsewhere.error.code == "files_elsewhere"
    finally:
        house.app.close()


@pytest.mark.parametrize("path", ["relative/x", "", "\0", "/" + "x" * 5_000])
def test_an_odd_path_is_refused_by_name_and_not_taken_for_free(team: Team, path: str) -> None:
    team.assign("alice", "src")
    code = team.house.refused("ownership.check", team.bob, files=[path])
    assert code in ("relative_path", "bad_path")


def test_a_file_whose_name_is_no_text_lies_in_its_folder_all_the_same(team: Team) -> None:
    team.assign("alice", "src")
    name = os.fsdecode(b"/src/\xff.py").encode("utf-8", "replace").decode()
    assert team.writes(team.bob, str(team.folder) + name) == "file_held"


def test_a_system_service_looks_into_nobodys_folders(team: Team) -> None:
    team.assign("alice", "src")
    app = team.house.app
    app.facts = replace(app.facts, for_many=True)
    looked: list[str] = []
    app.locate = lambda path, scope="": looked.append(path)  # type: ignore[method-assign, assignment, return-value]
    assert team.writes(team.bob, "src/x") == ""
    refused = team.say_not(team.boss, "ASSIGN", task="t", file_ownership_exclusive=[f"{team.folder}/x"])
    assert refused.error is not None and refused.error.code == "files_elsewhere"
    assert looked == []
