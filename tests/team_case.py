"""What the tests of broadcasts and ownership share: a house with an operator, and agents with tokens in it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from securecontext.boundaries.policy import Principal, Role, Standing
from securecontext.pipeline.call import Answer
from securecontext.types.ids import now
from tests.engine import address
from tests.house_case import START, House, make_house
from tests.identity_case import holder, issue, with_operator


@dataclass
class Team:
    """Agents of one project: ``boss`` leads, ``alice`` and ``bob`` work; the channel's key is waived."""

    house: House
    operator: Principal
    boss: Principal
    alice: Principal
    bob: Principal
    tokens: dict[str, str]

    @property
    def folder(self) -> Path:
        return Path(self.house.project.folder)

    def say(self, who: Principal, kind: str, /, **given: Any) -> dict[str, Any]:
        return self.house.do("zc_broadcast", who, type=kind, **given)

    def say_not(self, who: Principal, kind: str, /, **given: Any) -> Answer:
        answer = self.house.ask("zc_broadcast", {"type": kind, **given}, who=who)
        assert answer.error is not None, answer.text
        return answer

    def assign(self, to: str, *files: str, task: str = "the task") -> dict[str, Any]:
        return self.say(self.boss, "ASSIGN", task=task, to=[to], file_ownership_exclusive=list(files))

    def heard(self, who: Principal, /, **given: Any) -> list[dict[str, Any]]:
        return list(self.house.do("zc_replay", who, **given)["broadcasts"])

    def writes(self, who: Principal, *files: str | Path) -> str:
        """Ask as the hook of an agent's session does before it writes; return the code of a refusal."""
        hook = Principal(who.name, Standing.HOOK, "hook", "claude-1", agent=who.agent, role=who.role,
                         project=who.project, token=who.token)  # fmt: skip
        paths = [str(self.folder / file) for file in files]
        answer = self.house.ask("ownership.check", {"files": paths}, who=hook)
        return answer.error.code if answer.error else ""


def make_team(root: Path, moment: datetime = START, postgres_url: str | None = None) -> Team:
    house = make_house(root, postgres_url)
    house.moment = moment
    operator = with_operator(house)
    house.do("channel.waive", operator)
    roles = {"boss": Role.ORCHESTRATOR, "alice": Role.DEVELOPER, "bob": Role.WORKER}
    tokens = {name: issue(house, operator, name, role) for name, role in roles.items()}
    return Team(house, operator, *(holder(house, tokens[name]) for name in roles), tokens)


@pytest.fixture
def team(tmp_path: Path) -> Iterator[Team]:
    with address() as url:
        made = make_team(tmp_path / "house", postgres_url=url or None)
        yield made
        made.house.app.close()


@pytest.fixture
def team_now(tmp_path: Path) -> Iterator[Team]:
    """A team at the present time, which is what calls through a door are given."""
    with address() as url:
        made = make_team(tmp_path / "house", now(), url or None)
        yield made
        made.house.app.close()
