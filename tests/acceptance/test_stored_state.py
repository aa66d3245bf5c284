"""A real database broken under a real service: it says so at its start and to the doctor, enters it, and serves on."""

from __future__ import annotations

import json
from typing import Any

from tests.acceptance.service_case import World
from tests.acceptance.test_command_line import said, zc
from tests.engine import tamper
from tests.waiting import wait_until

OF_THE_PROJECT = "log NOT IN (SELECT log FROM ledger_heads WHERE stream = 'system/projects')"
"""Where a database holds the machine's ledger too."""


def broken(world: World, statement: str) -> None:
    assert tamper(world.home, statement) > 0


def failures(world: World) -> list[tuple[str, str]]:
    entries = said(world, "audit", "tail", "--machine", "--limit", "100")["entries"]
    return [(e["operation"], e["outcome"]) for e in reversed(entries) if e["kind"] == "failure"]


def states(world: World) -> tuple[int, list[dict[str, Any]]]:
    done = zc(world, "doctor", "--json")
    return done.returncode, [each for each in json.loads(done.stdout)["checks"] if each["name"] == "state"]


def test_w_05_a_broken_head_is_found_at_the_start_and_by_the_doctor_and_stops_nothing(world: World) -> None:
    said(world, "remember", "bird", "pelican")
    _, (sound,) = states(world)
    assert sound["health"] == "ok"
    said(world, "audit", "verify")  # signs what there is
    world.stop()
    another = "(SELECT mac FROM ledger_entries ORDER BY entry LIMIT 1)"
    broken(world, f"UPDATE ledger_heads SET mac = {another} WHERE stream LIKE 'uid:%' AND {OF_THE_PROJECT}")

    world.serve()
    found = wait_until(lambda: failures(world), "the broken head to be entered")
    assert found == [("state.check", "head_forged")]
    broken(world, f"UPDATE ledger_sequencers SET fence = 0 WHERE {OF_THE_PROJECT}")  # while it serves
    code, checks = states(world)
    assert code == 1 and [each["health"] for each in checks] == ["fail", "fail"]
    assert "[head_forged]" in checks[0]["detail"] and "zc audit verify" in checks[0]["next"]
    assert "[lease_malformed]" in checks[1]["detail"]
    assert failures(world) == [("state.check", "head_forged"), ("state.check", "lease_malformed")]

    raw = world.session()  # another stream than the broken one
    answer = raw.ask(
        {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "tools/call",
            "params": {"name": "zc_recall_context", "arguments": {}},
        }
    )
    assert "pelican" in json.dumps(answer) and not answer["result"]["isError"]
