"""Upstreams that are killed, cut off, slow or silent under many callers: nothing is lost, nothing is done twice."""

from __future__ import annotations

import json
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from securecontext import rendezvous
from securecontext.boundaries.policy import Role
from securecontext.rpc.client import control
from tests.acceptance.cluster_case import IMPATIENT, ZC, Cluster, Node, cluster, hook
from tests.acceptance.loopback_proxy import network_to
from tests.acceptance.service_case import Raw, World
from tests.waiting import wait_until

__all__ = ["cluster"]

WORKERS = 20
TASKS = 40


@contextmanager
def gateway_to(addresses: str, root: Path) -> Iterator[World]:
    """A gateway that soon gives a silent upstream up."""
    root.mkdir()
    made = World(root)
    made.env["ZC_API_URL"] = addresses
    made.serve(IMPATIENT)
    try:
        yield made
    finally:
        made.close()


class Agent:
    """A client at a gateway's socket.

    Args:
        gateway: where.
        token: who it is.
    """

    def __init__(self, gateway: World, token: str) -> None:
        self._raw: Raw = gateway.raw("rpc/1", token=token)

    def ask(self, operation: str, key: str = "", /, **arguments: Any) -> dict[str, Any]:
        return self._raw.ask({"operation": operation, "arguments": arguments, "key": key})

    def do(self, operation: str, /, **arguments: Any) -> dict[str, Any]:
        answer = self.ask(operation, **arguments)
        assert answer["ok"], answer
        return dict(answer["structured"])


def at_once(work: Callable[[int], None], count: int) -> None:
    """Do something in so many threads, and fail as the first of them failed."""
    failures: list[BaseException] = []

    def guarded(number: int) -> None:
        try:
            work(number)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def sound(cluster: Cluster) -> None:
    for node in cluster.nodes:
        person = node.person(cluster.folder)
        for scope in ({}, {"machine": True}):
            assert person.call("audit.verify", {"full": True, **scope}).structured["status"] == "OK"
        person.close()


def test_a_service_that_is_killed_under_twenty_workers_costs_no_task_and_doubles_none(
    cluster: Cluster, tmp_path: Path
) -> None:
    others = ",".join(reversed(cluster.addresses.split(",")))
    with (
        gateway_to(cluster.addresses, tmp_path / "a") as one,
        gateway_to(others, tmp_path / "b") as two,
    ):
        lead = Agent(one, cluster.token("lead", Role.ORCHESTRATOR))
        for number in range(TASKS):
            lead.do("zc_enqueue_task", task_id=f"k{number}", role="pool", payload={"n": number})
        done: list[str] = []
        half = threading.Event()

        def work(number: int) -> None:
            agent = Agent((one, two)[number % 2], cluster.token(f"worker{number}"))
            while claims := agent.do("zc_claim_task", role="pool").get("claims"):
                [task] = claims
                agent.do(
                    "zc_complete_task", task_id=task["task_id"], role="pool", fence=task["fence"],
                    result={"by": number},
                )  # fmt: skip
                done.append(task["task_id"])
                if len(done) >= TASKS // 3:
                    half.set()

        def kill() -> None:
            half.wait(60)
            cluster.nodes[0].kill()

        killer = threading.Thread(target=kill)
        for number in range(WORKERS):
            cluster.token(f"worker{number}")
        killer.start()
        at_once(work, WORKERS)
        killer.join()
        assert one.control(do="status")["upstream"]["in_use"] == cluster.nodes[1].url
    assert Counter(done) == Counter(f"k{number}" for number in range(TASKS))
    assert cluster.rows("SELECT count(*) FROM tasks WHERE role = 'pool' AND state = 'done'") == [(TASKS,)]
    cluster.nodes[0].begin()
    cluster.nodes[0].ready()
    completed = Counter(given["task_id"] for given in entered(cluster, "zc_complete_task"))
    assert completed == Counter(f"k{number}" for number in range(TASKS))
    sound(cluster)


def calls_waiting(node: Node) -> int:
    return int(control(rendezvous.connect(str(node.home)), {"do": "status"})["limits"]["calls_waiting"][0])


def test_a_call_that_waits_goes_on_waiting_at_another_service(cluster: Cluster, tmp_path: Path) -> None:
    first, second = cluster.nodes
    with gateway_to(cluster.addresses, tmp_path / "g") as gateway:
        agent = Agent(gateway, cluster.token("waiter"))
        got: list[dict[str, Any]] = []
        waiter = threading.Thread(target=lambda: got.append(agent.do("zc_claim_task", role="long", wait=60)))
        waiter.start()
        wait_until(lambda: calls_waiting(first), "the call to wait at the first service")
        first.kill()
        wait_until(lambda: calls_waiting(second), "the call to wait at the second one")
        Agent(gateway, cluster.token("lead", Role.ORCHESTRATOR)).do(
            "zc_enqueue_task", task_id="late", role="long", payload={}
        )
        waiter.join(30)
        assert [each["task_id"] for each in got[0]["claims"]] == ["late"]
        until = "SELECT due_at FROM tasks WHERE task_id = 'late'"
        [(before,)] = cluster.rows(until)
        wait_until(lambda: cluster.rows(until)[0][0] > before, "the lease to be renewed")
    first.begin()
    first.ready()


def test_a_connection_that_is_dead_and_does_not_say_so_is_given_up(cluster: Cluster, tmp_path: Path) -> None:
    first, second = cluster.nodes
    with (
        network_to(first.port) as network,
        gateway_to(f"{network.url},{second.url}", tmp_path / "g") as gateway,
    ):
        agent = Agent(gateway, cluster.token("cut"))
        agent.do("zc_remember", key="before", value="1")
        assert network.connections == 1
        network.swallow()
        agent.do("zc_remember", key="during", value="2")
        upstream = gateway.control(do="status")["upstream"]
        assert (upstream["in_use"], list(upstream["trouble"])) == (second.url, [network.url])
        network.heal()  # what was held back arrives late, and is the same call
        network.delay = 0.05
        agent.do("zc_remember", key="after", value="3")
    found = cluster.rows("SELECT key, count(*) FROM facts WHERE agent = 'cut' GROUP BY key ORDER BY key")
    assert found == [("after", 1), ("before", 1), ("during", 1)]


def test_connections_that_are_reset_again_and_again_cost_no_call_and_double_none(
    cluster: Cluster, tmp_path: Path
) -> None:
    first, second = cluster.nodes
    with (
        network_to(first.port) as one,
        network_to(second.port) as two,
        gateway_to(f"{one.url},{two.url}", tmp_path / "g") as gateway,
    ):
        one.delay = two.delay = 0.01  # so that calls are under way when the reset comes
        tokens = [cluster.token(f"reset{number}") for number in range(4)]
        left = threading.Semaphore(0)

        def write(number: int) -> None:
            agent = Agent(gateway, tokens[number])
            for count in range(8):
                agent.do("zc_remember", key=f"k{count}", value=f"v{count}")
                left.release()

        def reset() -> None:
            for network in (one, two) * 3:
                for _ in range(4):
                    left.acquire(timeout=30)
                network.cut()

        cutter = threading.Thread(target=reset)
        cutter.start()
        at_once(write, 4)
        cutter.join()
        assert one.connections + two.connections > 4
    found = cluster.rows(
        "SELECT agent, key, count(*) FROM facts WHERE agent LIKE 'reset%' GROUP BY agent, key"
    )
    assert sorted(found) == [(f"reset{n}", f"k{c}", 1) for n in range(4) for c in range(8)]


def test_when_no_upstream_works_everybody_is_told_and_no_session_is_kept_up(
    cluster: Cluster, tmp_path: Path
) -> None:
    port = cluster.nodes[0].port  # at the other loopback address nobody listens there yet
    with gateway_to(f"http://[::1]:{port}", tmp_path / "g") as gateway:
        token = cluster.token("alone")
        answer = Agent(gateway, token).ask("zc_recall_context")
        assert (answer["class"], answer["structured"]["error"]["code"]) == (
            "Unavailable",
            "upstream_unreachable",
        )
        assert f"http://[::1]:{port} cannot be connected to" in answer["text"]
        told: dict[str, Any] = {"session_id": "s", "tool_name": "Bash", "tool_use_id": "t9", "tool_input": {}}
        started = hook(gateway, "session-start", told, ZC_SESSION_TOKEN=token)
        assert "No upstream service" in json.loads(started.stdout)["systemMessage"]
        used = hook(gateway, "tool-used", told, ZC_SESSION_TOKEN=token)
        assert (used.returncode, used.stdout) == (0, "")
        written = {**told, "tool_input": {"file_path": "x.py"}}
        assert hook(gateway, "pre-write", written, ZC_SESSION_TOKEN=token).returncode == 0
        strict = hook(gateway, "pre-write", written, ZC_SESSION_TOKEN=token, ZC_OWNERSHIP_STRICT="1")
        assert strict.returncode == 2
        [note] = (gateway.home / "spool").glob("*.json")
        assert token not in note.read_text()
        command = subprocess.run(
            [ZC, "status"], cwd=gateway.project, env={**gateway.env, "ZC_SESSION_TOKEN": token}, text=True,
            capture_output=True, check=False,
        )  # fmt: skip
        assert command.returncode == 7
        with network_to(port):
            hook(gateway, "session-start", told, ZC_SESSION_TOKEN=token)  # the session goes on
            wait_until(lambda: not list((gateway.home / "spool").glob("*.json")), "the spool to be drained")
    assert [given["tool_use_id"] for given in entered(cluster, "session.observed")] == ["t9"]


def entered(cluster: Cluster, operation: str) -> list[dict[str, Any]]:
    """Return the arguments of an operation's calls that were done, from the ledgers of all services together."""
    bodies = [json.loads(bytes(body)) for (body,) in cluster.rows("SELECT body FROM ledger_bodies")]
    return [
        body["arguments"] for body in bodies if (body["operation"], body.get("outcome")) == (operation, "ok")
    ]
