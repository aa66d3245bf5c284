"""Several real clients at once, in one project and in two: nothing is lost, nothing leaks, one service serves all."""

from __future__ import annotations

from contextlib import ExitStack

from tests.acceptance.installed import RECALL, REMEMBER, SECONDS, SERVER, User, first, recalled
from tests.acceptance.scripted_model import Call, Say, ScriptedModel, Step

FACTS = 6


def keeps(agent: str) -> list[Step]:
    """Return steps by which an agent keeps facts of its own and writes to one that all share."""
    own: list[Step] = [
        Call(REMEMBER, {"key": f"{agent}.{n}", "value": f"fact {n} of {agent}"}) for n in range(FACTS)
    ]
    return [
        *own,
        Call("Bash", {"command": f"echo {agent}"}),
        Call(REMEMBER, {"key": "last", "value": agent}),
        Say("bye"),
    ]


def test_five_clients_in_two_projects(alone: User) -> None:
    here, there = alone.at("here"), alone.at("there")
    crews = {"a": here, "b": here, "c": here, "d": there, "e": there}
    script: dict[str, list[Step]] = {agent: keeps(agent) for agent in crews}
    with ScriptedModel({**script, "after": [Call(RECALL, {}), Say("read")]}) as model:
        here.model_url = there.model_url = model.url
        with ExitStack() as running:
            sessions = [running.enter_context(where.session("go", agent)) for agent, where in crews.items()]
            assert [session.wait(SECONDS) for session in sessions] == [0] * len(crews)
        here.ask("go", agent="after")
    for where, agents in ((here, "abc"), (there, "de")):
        facts = where.facts()
        assert facts.pop("last") in agents
        assert facts == {f"{agent}.{n}": f"fact {n} of {agent}" for agent in agents for n in range(FACTS)}
        outcomes = [entry.body["outcome"] for entry in where.entries("zc_remember")]
        assert outcomes == ["ok"] * (FACTS + 1) * len(agents)
        assert len({entry.session for entry in where.entries("zc_remember")}) == len(agents)
        assert len(where.observed()) == len(agents)
        assert len(where.entries("session.start")) == len(agents) + (where is here)
        assert where.verified()
    [recall] = recalled(first(model, "after"))
    assert "fact 0 of a" in recall
    assert " of d" not in recall and " of e" not in recall
    log = (alone.zc_home / "logs" / "service.log").read_text()
    assert log.count('"event": "serving ') == 1, "five clients come at once, one service starts"


def test_a_subagent_shares_the_sessions_server(dev: User) -> None:
    # Both take their steps from one script: the session starts the agent, whose request comes next.
    task = {"description": "keep a fact", "prompt": "KEEP-A-FACT", "subagent_type": "general-purpose"}
    kept = Call(REMEMBER, {"key": "by.subagent", "value": "kept by a subagent"})
    steps = [
        Call(REMEMBER, {"key": "by.session", "value": "kept by the session"}),
        Call("Agent", {**task, "run_in_background": False}),
        kept,
        Call("Bash", {"command": "echo SUB"}),
        Say("sub done"),
        Say("bye"),
    ]
    with ScriptedModel({"dev": steps, "next": [Say("read")]}) as model:
        dev.model_url = model.url
        dev.ask("go")
        dev.ask("go", agent="next")
    assert dev.facts() == {"by.session": "kept by the session", "by.subagent": "kept by a subagent"}
    assert len({entry.session for entry in dev.entries("zc_remember")}) == 1, "one shim, one connection"
    assert sorted(o["tool"] for o in dev.observed()) == ["Agent", "Bash"]
    offered = [r for r in model.requests("dev") if "KEEP-A-FACT" in str(r.body["messages"][0])]
    assert any(tool["name"] == SERVER + "zc_remember" for tool in offered[0].body["tools"])
    assert "kept by a subagent" in recalled(first(model, "next"))[0]
