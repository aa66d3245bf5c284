"""The real client of one agent is refused a file that another agent holds; the holder writes it and acknowledges."""

from __future__ import annotations

from dataclasses import replace

from tests.acceptance.installed import SERVER, User, result
from tests.acceptance.scripted_model import Call, Say, ScriptedModel, Step
from tests.acceptance.terminal import operators_terminal

BROADCAST, REPLAY, ACK = (SERVER + name for name in ("zc_broadcast", "zc_replay", "zc_ack"))
TOOLS = f"Write,Edit,Read,ToolSearch,{BROADCAST},{REPLAY},{ACK}"
FIND = Call("ToolSearch", {"query": f"select:{BROADCAST},{REPLAY},{ACK}", "max_results": 5})


def test_w_28_the_real_client_is_refused_a_file_that_another_agent_holds(dev: User) -> None:
    with operators_terminal(dev.environment(), dev.project) as operator:
        said = [
            operator.zc(words)
            for words in (
                "channel-key waive --yes",
                "token issue alice developer",
                "token issue bob worker",
                "broadcast ASSIGN --task parser --to alice --file-ownership-exclusive 'src/**'",
            )
        ]
        assert [code for code, _ in said] == [0, 0, 0, 0], said
    tokens = {"alice": said[1][1].strip(), "bob": said[2][1].strip()}
    held, free = str(dev.project / "src" / "parser.py"), str(dev.project / "free.py")
    script: dict[str, list[Step]] = {
        "bob": [
            Call("Write", {"file_path": held, "content": "by bob"}),
            Call("Write", {"file_path": free, "content": "by bob"}),
            FIND,
            Call(BROADCAST, {"type": "DEPENDENCY", "files": ["src/parser.py"], "reason": "a fix"}),
            Say("bye"),
        ],
        "alice": [
            FIND,
            Call(REPLAY, {}),
            Call("Write", {"file_path": held, "content": "by alice"}),
            Call("Edit", {"file_path": held, "old_string": "by alice", "new_string": "by alice again"}),
            Call(ACK, {"broadcast_id": 1}),
            Say("bye"),
        ],
    }
    with ScriptedModel(script) as model:
        for agent in ("bob", "alice"):
            session = replace(
                dev, model_url=model.url, extra={**dev.extra, "ZC_SESSION_TOKEN": tokens[agent]}
            )
            session.ask("go", agent=agent, tools=TOOLS)
            if agent == "bob":
                assert (
                    not (dev.project / "src").exists() and (dev.project / "free.py").read_text() == "by bob"
                )
        refused = result(model, "bob", 0)
        assert "held by alice" in refused and "broadcast:1" in refused
        assert '"asked":["alice"]' in result(model, "bob", 3)
        assert "a fix" in result(model, "alice", 1) and '"verified":false' in result(model, "alice", 1)
        assert '"first":true' in result(model, "alice", 4)
    assert (dev.project / "src" / "parser.py").read_text() == "by alice again"
    [entry] = dev.entries("ownership.check")
    assert (entry.kind, entry.body["outcome"]) == ("refusal", "file_held")
    assert dev.verified()
