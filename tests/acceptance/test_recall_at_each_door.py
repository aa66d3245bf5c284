"""W-39: what is remembered is told alike at every door; the predecessor's remote recall left half of it out."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from securecontext import rendezvous
from tests.acceptance.service_case import World, call, piped
from tests.waiting import wait_until

SESSION = "95134a1e-2c36-4d08-885b-f89cbd5175c8"
SECTIONS = (
    "Project ",
    "Critical facts:",
    "Last session's summary",
    "Working state at",
    "- plan: ",
    "- files changed: ",
    "- commands: ",
    "- errors: ",
    "- said last: ",
    "Normal facts:",
    "Ephemeral facts:",
    "Recent events, newest first:",
)


@pytest.fixture
def full_world(world: World) -> World:
    """A project with something in every section of a recall."""
    world.env["ZC_HTTP_PORT"] = "0"
    world.serve()
    person = world.person()
    for importance in (5, 3, 1):
        person.call(
            "zc_remember", {"key": f"k{importance}", "value": f"v{importance}", "importance": importance}
        )
    person.call("zc_summarize_session", {"summary": "Chose the engine."})
    hook(world, "session-start", source="startup")
    todos = [{"content": "write the schema", "status": "pending"}]
    hook(world, "tool-used", tool_name="TodoWrite", tool_use_id="t0", tool_input={"todos": todos})
    hook(world, "tool-used", tool_name="Edit", tool_use_id="t1", tool_input={"file_path": "/p/a.py"})
    hook(world, "tool-used", tool_name="Bash", tool_use_id="t2", tool_input={"command": "make test"})
    hook(
        world,
        "tool-failed",
        tool_name="Bash",
        tool_use_id="t3",
        tool_input={"command": "false"},
        error="exit 1",
    )
    hook(world, "stop", last_assistant_message="I shall go on with the schema.")
    hook(world, "session-end", reason="other")
    other = {"session_id": "another", "tool_use_id": "t4", "tool_input": {"command": "make bench"}}
    hook(world, "tool-used", tool_name="Bash", **other)
    return world


def hook(world: World, event: str, **payload: object) -> str:
    """Report an event and return what the hook prints."""
    opening = rendezvous.preamble(f"hook/1 {event}", {"project-path": str(world.project)})
    raw = world.raw(opening + json.dumps({"session_id": SESSION, **payload}).encode())
    raw.socket.shutdown(1)
    head, _, said = raw.file.read().partition(b"\n")
    assert head.startswith(b"exit 0 ")
    return said.decode()


def unfenced(text: str) -> str:
    """A recall with its random word replaced."""
    (fence,) = re.findall(r"^\[([0-9a-f]{8})$", text, re.MULTILINE)
    return text.replace(fence, "FENCE").strip()


def test_w_39_recall_holds_the_same_sections_at_each_door(full_world: World) -> None:
    told: dict[str, str] = {}
    with piped(full_world) as shim:
        shim.initialize()
        answer = shim.ask(call(1, "zc_recall_context"))["result"]
        told["mcp text"] = answer["content"][0]["text"]
        told["mcp structured"] = answer["structuredContent"]["text"]
    url = wait_until(lambda: full_world.control(do="status")["http"], "the HTTP door")
    token = Path(full_world.control(do="status")["token_file"]).read_text().strip()
    headers = {"Authorization": f"Bearer {token}", "X-ZC-Project": str(full_world.project)}
    with httpx.Client(base_url=url, headers=headers, trust_env=False, timeout=30) as client:
        said = client.post("/api/v1/recall-context", json={}).json()
        told["http text"], told["http result"] = said["text"], said["result"]["text"]
    told["cli"] = _zc(full_world, "recall-context")
    told["cli json"] = json.loads(_zc(full_world, "recall-context", "--json"))["text"]
    told["hook"] = json.loads(hook(full_world, "session-start", source="startup"))["hookSpecificOutput"][
        "additionalContext"
    ]
    spoken = {door: unfenced(text) for door, text in told.items()}
    first = spoken["mcp text"]
    assert [section for section in SECTIONS if f"\n{section}" not in first] == []
    assert {door: text for door, text in spoken.items() if text != first} == {}


def _zc(world: World, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-I", "-m", "securecontext", *words],
        env=world.env, cwd=world.project, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=True,
    )  # fmt: skip
    return done.stdout
