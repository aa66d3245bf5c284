"""Limits at the service's own doors: refused with a code and an entry, and the service goes on."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from securecontext.types.errors import LimitReached, NotFound
from tests.acceptance.service_case import World, call
from tests.waiting import wait_until

FEW_FILES = """
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (96, 96))
from securecontext.service.run import main
sys.exit(main())
"""
TEXT = "\n".join(f"line {number} of a text about nothing in particular" for number in range(4_000))


def code_of(answer: dict[str, Any]) -> str:
    """The code of a tool's refusal; empty where it was done."""
    result = answer["result"]
    return str(result["structuredContent"]["error"]["code"]) if result.get("isError") else ""


def outcomes(world: World, **where: bool) -> list[str]:
    """The outcomes in the newest entries of a ledger."""
    tail = world.person().call("audit.tail", {"limit": 100, **where}).structured
    return [entry["outcome"] for entry in tail["entries"] if "outcome" in entry]


def test_a_session_that_calls_too_fast_is_refused_at_the_socket_and_others_are_not(world: World) -> None:
    world.env["ZC_CALLS_PER_SECOND"] = "0.01"
    world.serve()
    fast, calm = world.session(), world.session()
    answers = [fast.ask(call(number, "zc_status")) for number in range(5)]
    codes = [code_of(answer) for answer in answers]
    assert codes == ["", "rate_limited", "rate_limited", "rate_limited", "rate_limited"]
    details = answers[-1]["result"]["structuredContent"]["error"]["details"]
    assert details["retry_after_ms"] > 0
    assert code_of(calm.ask(call(1, "zc_status"))) == ""
    assert outcomes(world).count("rate_limited") == 4


def test_quota_and_memory_refuse_what_stores_at_the_socket_and_forgetting_goes_on(world: World) -> None:
    world.env["ZC_QUOTA_MB"] = "2"
    world.serve()
    session = world.session()
    assert code_of(session.ask(call(0, "zc_remember", key="early", value="v"))) == ""
    code, number = "", 0
    while not code:
        number += 1
        assert number < 100
        code = code_of(session.ask(call(number, "zc_index", source=f"s{number}", content=TEXT)))
    assert code == "quota_reached"
    assert code_of(session.ask(call(1_000, "zc_remember", key="late", value="v"))) == "quota_reached"
    assert code_of(session.ask(call(1_001, "zc_search", queries=["particular"]))) == ""
    assert code_of(session.ask(call(1_002, "zc_forget", key="early"))) == ""
    assert outcomes(world).count("quota_reached") == 2
    used, limit = world.control(do="status")["limits"]["largest_project_mb"]
    assert limit == 2 and used >= 1.5
    person = world.person()
    listed = person.call("archive.list", {}).structured["documents"]
    for document in listed:
        person.call("archive.forget", {"document": document["id"]})
    assert code_of(session.ask(call(1_003, "zc_index", source="again", content=TEXT))) == ""
    with pytest.raises(NotFound):
        person.call("memory.show", {"key": "early"})
    assert person.call("audit.verify", {}).structured["status"] == "OK"


def test_a_service_above_its_memory_limit_refuses_large_work_alone(world: World) -> None:
    world.env["ZC_MEMORY_LIMIT_MB"] = "10"
    world.serve()
    person = world.person()
    with pytest.raises(LimitReached) as caught:
        person.call("zc_index", {"source": "s", "content": "text"})
    assert caught.value.code == "memory_limit"
    person.call("zc_remember", {"key": "k", "value": "v"})
    assert "memory_limit" in outcomes(world)


def test_connections_are_refused_before_the_files_run_out(world: World) -> None:
    world.serve(FEW_FILES)
    held = []
    while True:
        held.append(world.raw(greeted=False))
        assert len(held) <= 96
        said = held[-1].line()
        if "service" not in said:
            break
    assert said["structured"]["error"]["code"] == "too_many_connections"
    assert len(held) == said["structured"]["error"]["details"]["limit"] + 1 == 96 // 2 + 1
    held.pop(0).close()
    wait_until(lambda: "pid" in world.control(do="status"), "room")
    used, limit = world.control(do="status")["limits"]["open_files"]
    assert limit == 96 and 48 < used < 96
    for raw in held:
        raw.close()
    wait_until(lambda: world.control(do="status")["connections"] == 0, "the connections to be closed")
    assert "Too many open files" not in world.log()
    assert "too_many_connections" in outcomes(world, machine=True)


def test_what_is_used_of_each_limit_is_shown(world: World) -> None:
    world.serve()
    zc = [sys.executable, "-I", "-m", "securecontext", "service", "status"]
    shown = subprocess.run(zc, env=world.env, capture_output=True, text=True, timeout=60, check=True).stdout
    for line in ("Connections: ", "Open files: ", "Memory (MiB): ", "Largest project (MiB): 0 of 4096"):
        assert line in shown
    told = subprocess.run([*zc, "--json"], env=world.env, capture_output=True, timeout=60, check=True).stdout
    limits = json.loads(told)["limits"]
    assert all(0 <= used < limit for used, limit in limits.values()), limits
