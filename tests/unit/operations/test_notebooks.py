"""Working memory for people: list, show, edit, undo, export, import."""

import json

import pytest
from tests.house_case import AGENT, PERSON, named

MARK = "quetzal-umbrella"


def do(house, name, **arguments):
    return house.do(f"memory.{name}", PERSON, **arguments)


def refused(house, name, **arguments):
    return house.refused(f"memory.{name}", PERSON, **arguments)


def states(house, key):
    return [(f["value"], f["state"]) for f in do(house, "show", key=key)["facts"]]


def test_list_shows_every_notebook_and_on_demand_what_was_evicted(house):
    house.remember("a", "1")
    house.remember("b", "2", who=named("alice"))
    assert [(f["agent"], f["key"]) for f in do(house, "list")["facts"]] == [("alice", "b"), ("default", "a")]
    assert [f["key"] for f in do(house, "list", agent="alice")["facts"]] == ["b"]
    assert "alice/b: 2" in house.ask("memory.list", who=PERSON).text


def test_show_gives_the_history_newest_first(house):
    for value in ("one", "two", "three"):
        house.remember("k", value)
    assert states(house, "k") == [("three", "active"), ("two", "replaced"), ("one", "replaced")]
    assert refused(house, "show", key="absent") == "no_such_fact"


def test_an_edit_keeps_the_importance_and_the_old_text(house):
    house.remember("k", "old", 5)
    assert do(house, "edit", key="k", value="new")["importance"] == 5
    assert states(house, "k") == [("new", "active"), ("old", "replaced")]
    [fact] = do(house, "list")["facts"]
    assert (fact["trust"], fact["importance"]) == ("person", 5)
    assert refused(house, "edit", key="absent", value="x") == "no_such_fact"


def test_an_archived_fact_that_is_imported_takes_no_other_s_place(house):
    limit = house.do("zc_status")["limit"]
    for number in range(limit):
        house.remember(f"k{number}", f"filler {number}")
    limit = house.do("zc_status")["limit"]
    for number in range(limit - len(house.shown())):
        house.remember(f"more{number}", f"filler {number}")
    held = house.shown()
    assert len(held) == limit
    done = do(house, "import", facts=[{"key": "old", "value": "a pelican", "state": "archived"}])
    assert (done["imported"], done["archived"]) == (1, 0)
    assert house.shown() == held
    assert [hit["archived"] for hit in house.search("pelican")] == [True]


# Undo


def test_undo_of_an_edit_brings_the_old_text_back_to_recall_and_search(house):
    house.remember("k", "about a pelican")
    do(house, "edit", key="k", value="about a walrus")
    done = do(house, "undo", key="k")
    assert house.shown() == {"k": "about a pelican"}
    assert "pelican" in house.recall()
    assert [h["id"] for h in house.search("pelican")] == [done["now"]]
    assert house.search("walrus") == []
    assert b"walrus" not in house.bytes_on_disk()


def test_undo_step_by_step_to_the_first_value_and_beyond(house):
    for value in ("one", "two", "three"):
        house.remember("k", value)
    for value in ("two", "one"):
        do(house, "undo", key="k")
        assert house.shown() == {"k": value}
    answer = house.ask("memory.undo", {"key": "k"}, who=PERSON)
    assert "Nothing stands under it now." in answer.text
    assert house.shown() == {}
    assert house.sql("SELECT count(*) FROM chunks") == [(0,)]
    assert refused(house, "undo", key="k") == "no_such_fact"


def test_undo_of_a_supersede_brings_the_other_key_back(house):
    house.remember("queue", "RabbitMQ")
    house.remember("broker", "NATS", supersedes="queue")
    answer = house.ask("memory.undo", {"key": "broker"}, who=PERSON)
    assert "now back: queue" in answer.text
    assert house.shown() == {"queue": "RabbitMQ"}
    assert len(house.search("RabbitMQ")) == 1 and house.search("NATS") == []


def test_undo_of_a_replace_that_superseded_brings_both_back(house):
    house.remember("queue", "RabbitMQ")
    house.remember("broker", "Kafka")
    house.remember("broker", "NATS", supersedes="queue")
    do(house, "undo", key="broker")
    assert house.shown() == {"queue": "RabbitMQ", "broker": "Kafka"}
    assert len(house.search("RabbitMQ")) == 1 and len(house.search("Kafka")) == 1


def test_undo_leaves_a_superseded_key_that_got_a_new_value_since(house):
    house.remember("queue", "RabbitMQ")
    house.remember("broker", "NATS", supersedes="queue")
    house.remember("queue", "Kafka")
    do(house, "undo", key="broker")
    assert house.shown() == {"queue": "Kafka"}
    assert states(house, "queue") == [("Kafka", "active"), ("RabbitMQ", "superseded")]


def test_undo_of_an_evicted_value_brings_the_one_before_back_to_the_archive(house):
    house.remember("old", "pelican", 1)
    house.remember("old", "walrus", 1)
    for number in range(house.do("zc_status")["limit"]):
        house.remember(f"k{number}", "x", 5)
    do(house, "undo", key="old")
    assert "old" not in house.shown()
    [hit] = house.search("pelican")
    assert hit["archived"]


def test_undo_never_holds_more_than_the_limit(house):
    house.remember("queue", "RabbitMQ")
    house.remember("broker", "Kafka")
    limit = house.do("zc_status")["limit"]
    house.remember("broker", "NATS", supersedes="queue")
    for number in range(limit - 1):
        house.remember(f"k{number}", "x", 2)
    assert len(house.shown()) == limit
    do(house, "undo", key="broker")
    assert len(house.shown()) <= limit
    assert {"queue", "broker"} <= set(house.shown())


def test_undo_in_one_notebook_leaves_the_others(house):
    house.remember("k", "shared")
    house.remember("k", "of alice", who=named("alice"))
    do(house, "undo", key="k", agent="alice")
    assert house.shown() == {"k": "shared"}


def test_what_was_forgotten_cannot_be_undone(house):
    house.remember("k", "one")
    house.remember("k", "two")
    house.do("zc_forget", key="k")
    assert refused(house, "undo", key="k") == "no_such_fact"


# Export and import


def exported(house, project=None):
    answer = house.ask("memory.export", {}, who=PERSON, project=project or house.project)
    assert answer.error is None
    assert json.loads(answer.text) == answer.structured
    return answer.structured["facts"]


def import_into(house, project, facts):
    return house.ask("memory.import", {"facts": facts}, who=PERSON, project=project)


def filled(house):
    house.remember("db", "PostgreSQL\nwith two lines  ", 5)
    house.remember("db2", "änderung 🦆", 1, who=named("alice"))
    house.remember("evicted", "a pelican", 1)
    for number in range(house.do("zc_status")["limit"]):
        house.remember(f"k{number}", f"x{number}", 2)
    house.remember("k1", "newer")


def test_an_export_read_into_a_second_project_gives_the_same_facts(house):
    filled(house)
    facts = exported(house)
    assert {f["state"] for f in facts} == {"active", "archived"}
    second = house.fresh_project("second")
    answer = import_into(house, second, facts)
    assert answer.error is None, answer.text
    assert answer.structured == {"imported": len(facts), "unchanged": 0, "redacted": 0}
    same = ("agent", "key", "value", "importance", "state", "created_at", "provenance")
    assert [[f[n] for n in same] for f in exported(house, second)] == [[f[n] for n in same] for f in facts]
    found = house.ask("zc_search", {"queries": ["pelican"]}, project=second)
    assert found.structured["hits"][0]["archived"]


def test_an_import_twice_changes_nothing(house):
    filled(house)
    facts = exported(house)
    second = house.fresh_project("second")
    import_into(house, second, facts)
    before = exported(house, second)
    answer = import_into(house, second, facts)
    assert answer.structured["imported"] == 0
    assert exported(house, second) == before


def test_an_import_is_labelled_whatever_its_file_says(house):
    second = house.fresh_project("second")
    for trust, label in (("person", "imported"), ("system", "imported"), ("external", "external")):
        import_into(house, second, [{"key": trust, "value": "v", "trust": trust}])
        assert {f["key"]: f["trust"] for f in exported(house, second)}[trust] == label


def test_an_archived_fact_of_a_file_takes_no_others_place(house):
    house.remember("db", "mine")
    answer = import_into(house, house.project, [{"key": "db", "value": "theirs", "state": "archived"}])
    assert answer.structured["unchanged"] == 1
    assert house.shown() == {"db": "mine"}


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        ({"key": "k"}, "missing_argument"),
        ({"key": "k", "value": 5}, "wrong_type"),
        ({"key": "k", "value": "v", "importance": 9}, "out_of_range"),
        ({"key": "k", "value": "x" * 4_001}, "too_long"),
        ({"key": "a\nb", "value": "v"}, "control_character"),
        ({"key": "k", "value": "a\0b"}, "nul_character"),
        ({"key": "k", "value": "v", "agent": "a b"}, "bad_agent_id"),
        ({"key": "k", "value": "v", "created_at": "yesterday"}, "bad_time"),
        ({"key": "k", "value": "v", "state": "replaced"}, "unknown_value"),
        ({"key": "k", "value": "v", "extra": 1}, "unknown_argument"),
        ("not an object", "wrong_type"),
    ],
)
def test_an_import_is_refused_as_a_whole(house, bad, code):
    house.remember("there", "before")
    good = {"key": "good", "value": "v"}
    answer = import_into(house, house.project, [good, bad, good])
    assert answer.error is not None and answer.error.code == code
    assert house.shown() == {"there": "before"}
    assert house.sql("SELECT count(*) FROM chunks") == [(1,)]


def test_secrets_in_an_import_are_redacted_and_counted(house):
    secret = "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"
    facts = [{"key": "a", "value": f"token {secret}"}, {"key": "b", "value": "fine"}]
    answer = import_into(house, house.project, facts)
    assert answer.structured == {"imported": 2, "unchanged": 0, "redacted": 1}
    assert secret.encode() not in house.bytes_on_disk()


def test_no_imported_value_is_in_the_ledger(house):
    import_into(house, house.project, [{"key": "a", "value": MARK}])
    assert MARK not in str(house.sql("SELECT * FROM ledger_bodies"))


@pytest.mark.parametrize("name", ["list", "show", "edit", "undo", "export", "import"])
def test_agents_do_not_manage(house, name):
    arguments = {
        "show": {"key": "k"}, "edit": {"key": "k", "value": "v"}, "undo": {"key": "k"}, "import": {"facts": []},
    }  # fmt: skip
    assert house.refused(f"memory.{name}", AGENT, **arguments.get(name, {})) == "not_permitted"
