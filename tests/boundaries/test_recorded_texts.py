"""What is written down, and who reads it: prompts never, other agents' records never, and reading changes nothing."""

from __future__ import annotations

import json

import pytest

from securecontext.boundaries.policy import Role
from securecontext.hooks.handlers import _HANDLERS, answer, parse
from securecontext.pipeline.callers import Caller
from securecontext.pipeline.operation import CATALOGUE
from tests.house_case import AGENT, HOOK, PERSON, in_role, named

MARK = "quetzal-umbrella"
READERS = ("audit.tail", "audit.export", "audit.prove")
"""Operations that show entries of the ledger."""
UNCHANGED = ("facts", "documents", "chunks", "events", "tokens")


@pytest.mark.parametrize("event", [*_HANDLERS, "user-prompt-submit", "user-prompt"])
def test_rt_s1_11_the_text_of_a_prompt_is_never_stored(house, event):
    """Whatever event a client reports a prompt with, and by whatever name."""
    told = dict.fromkeys(
        ("prompt", "user_prompt", "message", "input", "content", "text", "custom_instructions"), MARK
    )
    payload = {
        "session_id": "c1",
        "tool_name": "Task",
        "tool_use_id": "toolu_1",
        "tool_input": {"prompt": MARK, "description": MARK, "content": MARK},
        **told,
    }
    caller = Caller(HOOK, house.project)
    answer(house.app.corridor, caller, event, parse(json.dumps(payload).encode()))
    assert MARK.encode() not in house.bytes_on_disk()


@pytest.mark.parametrize("operation", READERS)
def test_rt_s1_13_no_agent_reads_what_the_ledger_says_of_another(house, operation):
    house.remember("k", MARK, who=named("alice"))
    agents = [AGENT, named("bob"), *(in_role(role, "bob", house.project.id) for role in Role)]
    for who in agents:
        refused = house.ask(operation, arguments(operation), who=who)
        assert refused.error is not None
        assert "alice" not in refused.text + json.dumps(refused.structured)
    assert operation in CATALOGUE


def arguments(operation):
    return {"audit.tail": {"limit": 5}, "audit.prove": {"entry": 1}}.get(operation, {})


def test_rt_s1_14_reading_the_ledger_changes_nothing_that_was_written(house):
    house.remember("k", "v")
    house.do("zc_search", queries=["v"])
    before = {table: house.sql(f"SELECT * FROM {table}") for table in UNCHANGED}
    written = house.sql("SELECT * FROM ledger_entries ORDER BY entry")
    first = house.do("audit.tail", PERSON, limit=50)["entries"]
    for _ in range(3):
        assert house.do("audit.tail", PERSON, limit=50)["entries"][-len(first) :] == first
    assert {table: house.sql(f"SELECT * FROM {table}") for table in UNCHANGED} == before
    assert house.sql("SELECT * FROM ledger_entries ORDER BY entry")[: len(written)] == written


@pytest.mark.only_in_files("reads or edits the project's file by hand")
def test_rt_s1_16_odd_paths_are_projects_of_their_own_with_files_of_their_own(house):
    """Names that a careless spelling would join: by case, separators, blanks, dots, composition, line breaks."""
    odd = (
        "a b",
        "a_b",
        "a-b",
        "A-B",
        "a\\b",
        "a.b",
        "a b ",
        "caf\u00e9",
        "cafe\u0301",
        "a\nb",
        "a%20b",
        "-",
        "'; --",
        "x" * 200,
    )
    found = {name: house.fresh_project(name) for name in odd}
    files = {house.app.stores.path(project.id) for project in found.values()}
    assert len({project.id for project in found.values()}) == len(files) == len(odd)
    for number, project in enumerate(found.values()):
        given = {"key": "name", "value": f"the pelican of house {number}."}
        assert house.ask("zc_remember", given, project=project).error is None
    for number, (name, project) in enumerate(found.items()):
        shown = house.ask("zc_recall_context", project=project).text
        assert f"of house {number}." in shown and shown.count("pelican") == 1
        assert house.app.find_project(str(house.app.settings.home.parent / name), "").id == project.id
