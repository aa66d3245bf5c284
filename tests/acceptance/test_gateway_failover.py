"""Upstreams that are killed, cut off, slow or silent while many call through gateways: nothing lost, nothing twice."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from securecontext.boundaries.policy import Role
from tests.acceptance.cluster_case import IMPATIENT, Cluster, running_cluster
from tests.acceptance.service_case import Raw, World
from tests.engines.fixtures import ready_database
from tests.engines.postgres_server import PostgresServer

WORKERS = 20
TASKS = 40


@pytest.fixture(scope="module")
def cluster(
    tmp_path_factory: pytest.TempPathFactory, postgres_server: PostgresServer, _ready_template: str
) -> Iterator[Cluster]:
    """Two services on one database; a test starts again what it killed."""
    with (
        ready_database(postgres_server, _ready_template) as url,
        running_cluster(tmp_path_factory.mktemp("cluster"), url) as made,
    ):
        yield made


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
    assert completions(cluster) == Counter(f"k{number}" for number in range(TASKS))
    sound(cluster)


def completions(cluster: Cluster) -> Counter[str]:
    """Return how often each task's completion is in the ledgers of all services together."""
    found: Counter[str] = Counter()
    for (body,) in cluster.rows("SELECT b.body FROM ledger_bodies b WHERE b.body IS NOT NULL"):
        told = json.loads(bytes(body))
        if told.get("operation") == "zc_complete_task" and told["outcome"] == "ok":
            found[told["arguments"]["task_id"]] += 1
    return found
