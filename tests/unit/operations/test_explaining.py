"""zc_explain of a question: what each hit scored by words, within what the caller may see."""

from __future__ import annotations

from tests.team_case import Team, team

__all__ = ["team"]


def fill(team: Team) -> None:
    for key, value in (
        ("db", "the database is PostgreSQL"),
        ("db2", "the database of the tests is PostgreSQL too, or a file"),
        ("ui", "the buttons are green"),
        *((f"more{n}", f"note of day {n}") for n in range(7)),
    ):
        team.house.do("zc_remember", team.alice, key=key, value=value)


def test_each_hit_is_explained_by_its_scores_as_the_search_has_them(team: Team) -> None:
    fill(team)
    told = team.house.do("zc_explain", team.alice, query="which database is PostgreSQL?")
    found = team.house.do("zc_search", team.alice, queries=["which database is PostgreSQL?"])["hits"]
    assert [(each["id"], each["source"]) for each in told["hits"]] == [(h["id"], h["source"]) for h in found]
    assert told["words"][0] == "databas" and "No vectors" in told["note"]
    raw = [each["bm25"] for each in told["hits"]]
    assert len(raw) == 2 and raw == sorted(raw, reverse=True) and raw[-1] > 0
    for each in told["hits"]:
        assert abs(each["normalised"] - each["bm25"] / raw[0]) < 0.01 and each["length"] > 20
        assert "PostgreSQL" in each["preview"] and each["preview"].startswith("[")


def test_depth_says_how_much_is_shown(team: Team) -> None:
    fill(team)
    for depth, shown in (("L0", set()), ("L1", {"source"}), ("L2", {"source", "preview"})):
        (first, *_) = team.house.do("zc_explain", team.alice, query="buttons", depth=depth)["hits"]
        assert {name for name in ("source", "preview") if first.get(name)} == shown


def test_what_a_caller_may_not_see_is_not_explained_and_a_sealed_text_has_no_score_of_an_index(
    team: Team,
) -> None:
    team.house.do("zc_remember", team.alice, key="k", value="the quixotic plan", classification="restricted")
    team.house.do("zc_remember", team.bob, key="s", value="a quixotic secret", classification="confidential")
    (own,) = [
        e for e in team.house.do("zc_explain", team.alice, query="quixotic")["hits"] if "alice" in e["source"]
    ]
    assert own.get("bm25") is None and own["normalised"] > 0
    for each in team.house.do("zc_explain", team.bob, query="quixotic")["hits"]:
        assert "plan" not in each["preview"] and "alice" not in each["source"]


def test_either_a_broadcast_or_a_question(team: Team) -> None:
    assert team.house.refused("zc_explain", team.alice) == "broadcast_or_query"
    assert team.house.refused("zc_explain", team.alice, broadcast_id=1, query="x") == "broadcast_or_query"
    told = team.house.do("zc_explain", team.alice, query="nothing here of that kind")
    assert told["hits"] == []
