"""Streams of events: an agent is woken by ids, goes on where it ended, and not longer than its token counts."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from tests.acceptance.test_http_door import refused
from tests.acceptance.test_http_paths import agent, done, team  # noqa: F401 - a fixture
from tests.acceptance.test_team import Team


class Stream:
    """An open stream of events."""

    def __init__(self, answer: httpx.Response) -> None:
        assert answer.headers["content-type"].startswith("text/event-stream")
        self._lines = answer.iter_lines()

    def next(self, kind: str = "") -> dict[str, Any]:
        """Return the next event, or the next one of a kind."""
        found: dict[str, Any] = {}
        for line in self._lines:
            name, _, value = line.partition(": ")
            if line == "" and "event" in found and kind in ("", found["event"]):
                return found
            if line == "":
                found = {}
            elif name == "data":
                found["data"] = json.loads(value)
            elif name:
                found[name] = value
        raise AssertionError("the stream has ended")


@contextmanager
def stream(client: httpx.Client, **headers: str) -> Iterator[Stream]:
    with client.stream("GET", "/api/v1/events", headers=headers) as answer:
        assert answer.status_code == 200, answer.read()
        yield Stream(answer)


def said(team: Team, text: str, **more: Any) -> int:  # noqa: F811
    answer = team.say("boss", type="STATUS", summary=text, **more)
    return int(done(answer)["result"]["id"])


def test_an_agent_is_woken_for_what_is_said_to_it_and_for_tasks_of_its_role(team: Team) -> None:  # noqa: F811
    before = said(team, "before")
    with agent(team, "bob") as bob, agent(team, "boss") as boss, stream(bob) as events:
        first = events.next("broadcast")
        assert (first["id"], first["data"]) == (str(before), {"id": before}), "ids alone"
        for_alice = said(team, "for alice", to=["alice"])
        for_bob = said(team, "for bob", to=["bob"])
        assert events.next("broadcast")["data"] == {"id": for_bob} and for_alice < for_bob
        done(boss.post("/api/v1/enqueue-task", json={"task_id": "e1", "role": "worker", "payload": {}}))
        assert events.next("tasks")["data"] == {"role": "worker"}
        with stream(bob, **{"Last-Event-ID": str(before)}) as again:
            assert again.next("broadcast")["data"] == {"id": for_bob}, "it goes on where it ended"
        done(bob.post("/api/v1/ack", json={"id": for_bob}))
        asked = done(bob.post("/api/v1/events/pending", json={"after": before}))["result"]
        assert asked.get("broadcasts", []) == [] and asked["tasks"] is True


def test_a_stream_ends_with_its_token(team: Team) -> None:  # noqa: F811
    with agent(team, "boss") as boss:
        given = done(boss.post("/api/v1/issue-token", json={"agentId": "dora", "role": "worker"}))["token"]
        headers = {"Authorization": f"Bearer {given}"}
        with (
            httpx.Client(base_url=team.url, headers=headers, trust_env=False, timeout=60) as dora,
            stream(dora) as events,
        ):
            events.next()
            done(boss.post("/api/v1/revoke-token", json={"agentId": "dora"}))
            said(team, "wakes the stream")
            assert events.next("end")["data"] == {"code": "token_revoked"}
            refused(dora.get("/api/v1/events"), 401, "token_revoked")


def test_a_stream_is_refused_to_who_may_not_and_to_who_has_enough(team: Team) -> None:  # noqa: F811
    with httpx.Client(base_url=team.url, trust_env=False) as stranger:
        refused(stranger.get("/api/v1/events"), 401, "unauthenticated")
    with agent(team, "alice") as alice:
        for wrong in ("x", "-1", "9" * 19):
            refused(alice.get("/api/v1/events", headers={"Last-Event-ID": wrong}), 400, "bad_event_id")
        said(team, "for the many")
        with contextlib.ExitStack() as stack:
            held = [stack.enter_context(stream(alice)) for _ in range(8)]
            for each in held:
                each.next()
            with alice.stream("GET", "/api/v1/events") as ninth:
                ninth.read()
            refused(ninth, 429, "too_many_streams")


def test_an_open_stream_does_not_keep_the_service_from_ending(team: Team) -> None:  # noqa: F811
    said(team, "for the last")
    with agent(team, "bob") as bob, stream(bob) as events:
        events.next()
        team.world.stop()
        assert events.next("end")["data"] == {"code": "service_stopping"}
