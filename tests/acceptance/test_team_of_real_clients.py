"""Four real clients at once: an orchestrator and three workers drain one queue and keep off one another's files."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from tests.acceptance.installed import SERVER, User, result
from tests.acceptance.scripted_model import Call, Say, ScriptedModel, Step
from tests.acceptance.terminal import operators_terminal

NAMES = ("enqueue_task", "claim_task", "complete_task", "broadcast", "replay", "ack")
ENQUEUE, CLAIM, COMPLETE, BROADCAST, REPLAY, ACK = (f"{SERVER}zc_{name}" for name in NAMES)
OURS = ",".join((ENQUEUE, CLAIM, COMPLETE, BROADCAST, REPLAY, ACK))
TOOLS = f"Write,ToolSearch,{OURS}"
FIND = Call("ToolSearch", {"query": f"select:{OURS}", "max_results": 9})
WORKERS = ("alice", "bob", "carol")
TASKS = ("one", "two", "three")


def work(dev: User, *more: Step) -> list[Step]:
    """Return what a worker does: claim a task, write its file, do ``more``, give the task back, acknowledge."""
    file = str(dev.project / "src" / '<<"file":"([a-z]+)">>.py')
    return [
        FIND,
        Call(CLAIM, {"wait": 45}),
        Call("Write", {"file_path": file, "content": "made"}),
        Call(COMPLETE, {"task_id": r"<<src/([a-z]+)\.py>>", "fence": 1, "result": {"done": True}}),
        Call(REPLAY, {"wait": 5}),
        Call(ACK, {"broadcast_id": 2}),
        *more,
        Say("bye"),
    ]


def test_an_orchestrator_and_three_workers_drain_one_queue(dev: User) -> None:
    with operators_terminal(dev.environment(), dev.project) as operator:
        words = ["channel-key waive --yes", "token issue boss orchestrator"]
        words += [f"token issue {name} worker" for name in WORKERS]
        said = [operator.zc(each) for each in words]
    assert {code for code, _ in said} == {0}, said
    tokens = {name: text.strip() for name, (_, text) in zip(("boss", *WORKERS), said[1:], strict=True)}
    held = str(dev.project / "shared" / "api.py")
    script: dict[str, list[Step]] = {
        "boss": [
            FIND,
            Call(BROADCAST, {"type": "ASSIGN", "task": "the api", "to": ["alice"],
                             "file_ownership_exclusive": ["shared"]}),
            Call(BROADCAST, {"type": "STATUS", "state": "begun", "summary": "three tasks are there"}),
            *(
                Call(ENQUEUE, {"task_id": name, "role": "worker", "payload": {"file": name},
                               "file_ownership_exclusive": [f"src/{name}.py"]})
                for name in TASKS
            ),
            Call(REPLAY, {"wait": 50}),
            Call(ACK, {"broadcast_id": 3}),
            Say("bye"),
        ],
        "alice": work(dev, Call("Write", {"file_path": held, "content": "by alice"})),
        "bob": work(
            dev,
            Call("Write", {"file_path": held, "content": "by bob"}),
            Call(BROADCAST, {"type": "STATUS", "state": "done", "summary": "all but the api"}),
        ),
        "carol": work(dev),
    }  # fmt: skip

    def run(agent: str) -> None:
        session = replace(dev, model_url=model.url, extra={**dev.extra, "ZC_SESSION_TOKEN": tokens[agent]})
        session.ask("go", agent=agent, tools=TOOLS)

    with ScriptedModel(script) as model, ThreadPoolExecutor(4) as pool:
        for ended in [pool.submit(run, agent) for agent in script]:
            ended.result()
        claimed = {agent: json.loads(result(model, agent, 1))["claims"] for agent in WORKERS}
        refused, heard = result(model, "bob", 6), result(model, "boss", 6)
    assert sorted(task["task_id"] for (task,) in claimed.values()) == sorted(TASKS)
    for (task,) in claimed.values():
        assert task["file_ownership_exclusive"] == [f"src/{task['task_id']}.py"]
    assert "held by alice" in refused and "broadcast:1" in refused
    assert "all but the api" in heard and '"verified":false' in heard
    assert (dev.project / "shared" / "api.py").read_text() == "by alice"
    assert sorted(path.stem for path in (dev.project / "src").iterdir()) == sorted(TASKS)

    # All of it, read back from the ledger
    claims = {entry.session: entry.body["noted"]["claimed"] for entry in dev.entries("zc_claim_task")}
    assert len(claims) == 3, "each of three sessions has claimed"
    assert sorted(claims.values()) == sorted([["worker", name, 1]] for name in TASKS)
    done = {entry.session: entry.arguments for entry in dev.entries("zc_complete_task")}
    assert all(done[session]["task_id"] == held[0][1] for session, held in claims.items()), (
        "by whoever claimed it"
    )
    assert [entry.body["noted"]["broadcast"] for entry in dev.entries("zc_broadcast")] == [1, 2, 3]
    acked = [entry.arguments["broadcast_id"] for entry in dev.entries("zc_ack")]
    assert sorted(acked) == [2, 2, 2, 3]
    [entry] = dev.entries("ownership.check")
    assert (entry.kind, entry.body["outcome"]) == ("refusal", "file_held")
    assert dev.rows(
        "SELECT count(*) FROM reservations WHERE cause LIKE 'task:%' AND released_at IS NULL"
    ) == [(0,)]
    assert dev.verified()
