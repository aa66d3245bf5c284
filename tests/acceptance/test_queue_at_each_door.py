"""The queue through real doors: an orchestrator and workers with tokens over shims, a person at the command line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from tests.acceptance.service_case import Pipe, World, call, piped
from tests.acceptance.terminal import Terminal, operators_terminal

SHORT_LEASES = """
import sys
from datetime import timedelta
from securecontext.coordination import leases, queue
from securecontext.service import daemon
queue.claim.__kwdefaults__["lease"] = timedelta(seconds=1)
leases.renew.__kwdefaults__["lease"] = timedelta(seconds=1)
daemon.QUEUE_SECONDS = 0.1
from securecontext.service.run import main
sys.exit(main())
"""
"""A service whose leases last a second and are renewed ten times as often."""


@dataclass
class Place:
    """A running service, a terminal of the operator's, and session tokens by agent."""

    world: World
    person: Terminal
    tokens: dict[str, str]

    def json(self, command: str) -> dict[str, Any]:
        code, said = self.person.zc(f"{command} --json")
        assert code == 0, said
        found: dict[str, Any] = json.loads(said)
        return found


@contextmanager
def running(world: World, code: str | None = None) -> Iterator[Place]:
    service = world.serve(code)
    with operators_terminal(world.env, world.project) as person:
        tokens = {}
        for agent, role in (("boss", "orchestrator"), ("alice", "worker"), ("bob", "worker")):
            done, said = person.zc(f"token issue {agent} {role}")
            assert done == 0, said
            tokens[agent] = said.strip()
        yield Place(world, person, tokens)
    world.stop()
    service.wait(30)


@pytest.fixture
def place(world: World) -> Iterator[Place]:
    with running(world) as made:
        yield made


@pytest.fixture
def hurried(world: World) -> Iterator[Place]:
    with running(world, SHORT_LEASES) as made:
        yield made


def ask(pipe: Pipe, tool: str, **arguments: Any) -> dict[str, Any]:
    answer = pipe.ask(call("c", tool, **arguments))["result"]
    assert not answer["isError"], answer
    found: dict[str, Any] = answer["structuredContent"]
    return found


def test_a_worker_that_is_killed_loses_its_task_to_one_that_waits_for_it(hurried: Place) -> None:
    """As long as it is connected its lease is renewed, although it says nothing; then it is not."""
    place = hurried
    shims = [piped(place.world, ZC_SESSION_TOKEN=place.tokens[agent]) for agent in ("boss", "alice", "bob")]
    with shims[0] as boss, shims[1] as alice, shims[2] as bob:
        for pipe in (boss, alice, bob):
            pipe.initialize()
        alice.send(json.dumps(call("w", "zc_claim_task", wait=60)).encode() + b"\n")
        ask(boss, "zc_enqueue_task", task_id="t", role="worker", payload={"do": "it"})
        (claimed,) = alice.answer()["result"]["structuredContent"]["claims"]
        assert (claimed["task_id"], claimed["fence"], claimed["payload"]) == ("t", 1, {"do": "it"})
        assert ask(bob, "zc_claim_task", wait=3)["claims"] == [], "three leases long it is alice's"
        bob.send(json.dumps(call("w", "zc_claim_task", wait=60)).encode() + b"\n")
        alice.process.kill()
        (again,) = bob.answer()["result"]["structuredContent"]["claims"]
        assert (again["task_id"], again["fence"], again["attempt"]) == ("t", 2, 2)
        with piped(place.world, ZC_SESSION_TOKEN=place.tokens["alice"]) as late:
            late.initialize()
            refused = late.ask(call("c", "zc_complete_task", task_id="t", fence=1))["result"]
            assert refused["isError"] and refused["structuredContent"]["error"]["code"] == "lease_lost"
        shown = place.json("queue")
        assert (shown["claimed"][0]["claimed_by"], shown["claimed"][0]["fence"]) == ("agent:bob", 2)
        ask(bob, "zc_complete_task", task_id="t", fence=2, result={"n": 1})
        assert ask(boss, "zc_queue_stats", task_id="t", role="worker")["task"]["result"] == {"n": 1}
    assert place.json("queue stats")["done"] == 1
    assert place.json("audit verify")["status"] == "OK"


def test_a_person_enqueues_claims_fails_and_requeues_at_the_command_line(place: Place) -> None:
    person = place.person
    assert person.zc("""queue enqueue t worker '{"do": "it"}' --max-attempts 1 --priority 9""")[0] == 0
    code, said = person.zc("queue enqueue u worker nonsense")
    assert code == 2 and "malformed_json" in said
    (claimed,) = place.json("queue claim --role worker")["claims"]
    assert (claimed["payload"], claimed["priority"]) == ({"do": "it"}, 9)
    assert person.zc("queue complete t 7 --role worker")[0] == 5
    assert person.zc("queue fail t 1 broke --role worker")[0] == 0
    code, said = person.zc("queue")
    assert code == 0 and "Dead:" in said and "broke" in said
    assert person.zc("queue requeue --role worker --task-id t")[0] == 0
    assert place.json("queue stats")["queued"] == 1
    code, said = person.zc("queue --watch list")
    assert code == 2 and "no_watch" in said
