"""What becomes of broadcasts: purged with their session, merged with their project, mended when a secret is found."""

from __future__ import annotations

from tests.rules_case import all_rules, engine_of_rules, hugging_face, own_rules
from tests.team_case import Team, team

from securecontext.projects.emptying import HELD
from securecontext.storage import tables
from securecontext.validators.secrets import wear

__all__ = ["all_rules", "engine_of_rules", "own_rules", "team"]
WORD = "zymurgy"


def test_what_a_session_said_is_purged_with_it_and_what_it_assigned_is_free(team: Team) -> None:
    team.say(team.boss, "ASSIGN", task=WORD, to=["alice"], summary=WORD, file_ownership_exclusive=["src"])
    team.say(team.bob, "STATUS", summary="stays")
    assert WORD.encode() in team.house.bytes_on_disk()
    assert team.house.do("zc_purge_session", team.boss)["broadcasts"] == 1
    assert WORD.encode() not in team.house.bytes_on_disk()
    assert [each["agent"] for each in team.heard(team.alice)] == ["bob"]
    assert team.house.do("zc_reservations", team.bob)["reservations"] == []


def test_a_merged_project_brings_its_broadcasts_and_keeps_nothing(team: Team) -> None:
    said = team.say(team.boss, "STATUS", summary="from the first project", to=["alice", "bob"])
    team.house.do("zc_ack", team.alice, broadcast_id=said["id"])
    other = team.house.fresh_project("other")
    source = team.house.project
    assert team.house.app.store(source.id)
    store = team.house.app.store(other.id)
    team.house.do("project.merge", team.operator, source=source.id, target=other.id)
    with store.read() as connection:
        [row] = connection.execute(tables.broadcasts.select()).all()
        assert (row.project, row.agent, row.role, row.recipients) == (other.id, "boss", "orchestrator", 2)
        [ack] = connection.execute(tables.broadcast_acks.select()).all()
        assert (ack.project, ack.broadcast, ack.agent) == (other.id, row.broadcast, "alice")
        names = connection.execute(tables.broadcast_recipients.select()).all()
        assert {each.agent for each in names} == {"alice", "bob"}
        assert connection.execute(tables.channel_keys.select()).all() == []
    assert all(not team.house.sql(f"SELECT 1 FROM {table.name}") for table in HELD)


def test_a_secret_that_only_later_rules_know_is_taken_out_of_a_broadcast(
    team: Team, own_rules, engine_of_rules
) -> None:
    token = hugging_face()
    team.house.app.secret_rules.state = "ready"
    team.say(
        team.boss, "ASSIGN", task=f"login {token} now", to=["alice"], acceptance_criteria=[f"has {token}"],
        file_ownership_exclusive=["src"],
    )  # fmt: skip
    wear(engine=engine_of_rules)
    team.house.app.secret_rules._name = "r1"
    team.house.app.secret_rules.rescan(lambda: None)
    for table in ("broadcasts", "reservations"):
        assert token not in str(team.house.sql(f"SELECT * FROM {table}"))
    [heard] = team.heard(team.alice)
    assert "[REDACTED:huggingface_access_token]" in heard["message"]["task"]
    assert team.say(team.boss, "STATUS", summary="goes on")["id"] == 2
