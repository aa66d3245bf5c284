"""What the tests of the queue's operations share: an orchestrator and workers with session tokens of a house."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from securecontext.boundaries.policy import Principal, Role
from tests.house_case import House
from tests.identity_case import holder, issue, with_operator


@dataclass
class Team:
    """A house with an operator, an orchestrator and any number of agents."""

    house: House
    operator: Principal
    boss: Principal
    agents: dict[str, Principal] = field(default_factory=dict)

    def agent(self, name: str = "alice", role: Role = Role.WORKER) -> Principal:
        if name not in self.agents:
            self.agents[name] = holder(self.house, issue(self.house, self.operator, name, role))
        return self.agents[name]

    def put(self, task_id: str, role: str = "worker", **more: Any) -> dict[str, Any]:
        given = {"payload": {"do": task_id}} | more
        return self.house.do("zc_enqueue_task", self.boss, task_id=task_id, role=role, **given)

    def claim(self, who: Principal | None = None, **more: Any) -> list[dict[str, Any]]:
        claims: list[dict[str, Any]] = self.house.do("zc_claim_task", who or self.agent(), **more)["claims"]
        return claims

    def one(self, who: Principal | None = None, **more: Any) -> dict[str, Any]:
        (claimed,) = self.claim(who, **more)
        return {"task_id": claimed["task_id"], "fence": claimed["fence"]}

    def stats(self) -> dict[str, Any]:
        return self.house.do("zc_queue_stats", self.boss)


@pytest.fixture
def team(house: House) -> Iterator[Team]:
    operator = with_operator(house)
    yield Team(house, operator, holder(house, issue(house, operator, "boss", Role.ORCHESTRATOR)))
