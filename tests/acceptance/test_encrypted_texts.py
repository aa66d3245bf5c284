"""Confidential and restricted texts through the real service: no file of the data folder holds a word of them."""

from __future__ import annotations

import json
from pathlib import Path

from tests.acceptance.service_case import World, call, piped
from tests.acceptance.terminal import PHRASE, operators_terminal, terminal
from tests.acceptance.test_command_line import said, zc
from tests.acceptance.test_recall_at_each_door import hook

WORDS = ("numbat", "quokka", "ocelot", "axolotl", "capybara", "dugong", "echidna", "fossa", "tarsier")


def lying(world: World) -> dict[str, list[str]]:
    """The words that stand in files of the data folder, its logs, sockets' folder and scratch space included."""
    folders = [world.home, Path(world.env["XDG_RUNTIME_DIR"]), Path(world.env["TMPDIR"])]
    found: dict[str, list[str]] = {}
    for file in (each for folder in folders for each in folder.rglob("*") if each.is_file()):
        data = file.read_bytes().lower()
        for word in WORDS:
            if word.encode() in data or word.encode("utf-16-le") in data:
                found.setdefault(word, []).append(file.name)
    return found


def fill(world: World) -> None:
    """Say each of the words as a confidential or restricted text, or as one that becomes so, at every door."""
    with piped(world) as shim:
        shim.initialize()
        asked = 0

        def tool(name: str, **arguments: object) -> dict[str, object]:
            nonlocal asked
            asked += 1
            answer = shim.ask(call(asked, name, **arguments))["result"]
            assert not answer.get("isError"), answer
            return dict(answer["structuredContent"])

        tool("zc_remember", key="pin", value="an early numbat, stored as it is")
        tool("zc_remember", key="pin", value="the quokka hides", classification="restricted")
        tool("zc_remember", key="pin", value="the quokka has moved on")
        tool("zc_index", source="notes", content="a plain ocelot")
        tool("zc_index", source="notes", content="an axolotl report\n" * 400, classification="confidential")
        tool("zc_summarize_session", summary="spoke of the capybara")
        tool("zc_search", queries=["where does the quokka hide?", "axolotl"])
        assert "the quokka has moved on" in str(tool("zc_recall_context")["text"])
    hook(world, "post-compact", compact_summary="compacted: the dugong", trigger="auto")
    hook(world, "stop", last_assistant_message="I told you of the echidna")
    hook(
        world,
        "tool-used",
        tool_name="mcp__zc-ctx__zc_remember",
        tool_use_id="t1",
        tool_input={"key": "pin", "value": "the fossa", "classification": "restricted"},
        tool_response="the fossa",
    )
    hook(world, "session-start", source="startup")
    hook(world, "session-end", reason="other")
    (world.project / "secret.txt").write_text("a tarsier by hand")
    indexed = said(world, "index", "secret.txt", "--classification", "restricted")
    assert indexed["classification"] == "restricted" and indexed["chunks"] == 0


def test_rt_s1_11_no_word_of_a_sealed_text_lies_in_any_file(world: World) -> None:
    fill(world)
    assert lying(world) == {}, "while the service runs, write-ahead copies included"
    world.kill()
    assert lying(world) == {}, "after a crash"
    recalled = zc(world, "recall-context").stdout
    assert "has moved on" in recalled and "compacted: the dugong" in recalled
    found = zc(world, "search", "where is the tarsier").stdout
    assert "a tarsier by hand" in found and "secret.txt [restricted]" in found
    world.stop()
    assert lying(world) == {}, "after a checkpoint at the end"
    assert "quokka" in zc(world, "memory", "show", "pin").stdout
    world.stop()
    assert lying(world) == {}


def test_rotation_destruction_and_export_on_the_command_line(world: World) -> None:
    remember = ("remember", "pin", "the quokka hides", "--classification", "confidential")
    assert "It is confidential, stored encrypted." in zc(world, *remember).stdout
    (key,) = said(world, "keys", "status")["data_keys"]
    assert key["uses"] == 1
    with operators_terminal(world.env, world.project) as operator:
        assert operator.zc("keys rotate")[0] == 0
    zc(world, "remember", "late", "the fossa sleeps", "--classification", "confidential")
    assert "the quokka hides" in zc(world, "recall-context").stdout

    exported = said(world, "memory", "export")
    assert (exported["facts"], exported["sealed"]) == ([], 2)
    whole = zc(world, "memory", "export", "--sealed").stdout
    assert {fact["classification"] for fact in json.loads(whole)["facts"]} == {"confidential"}
    (world.root / "export.json").write_text(whole)
    other = world.root / "other"
    other.mkdir()
    assert zc(world, "memory", "import", str(world.root / "export.json"), cwd=other).returncode == 0
    assert said(world, "memory", "list", cwd=other)["facts"][0]["classification"] == "confidential"

    with terminal(world.env, world.project) as operator:
        assert operator.zc("operator unlock", PHRASE)[0] == 0
        assert operator.zc(f"keys destroy {key['id']} --yes")[0] == 0
    recalled = zc(world, "recall-context").stdout
    assert "pin [confidential]: cannot be read (key_destroyed)" in recalled
    assert "the fossa sleeps" in recalled and "1 encrypted fact(s) cannot be read" in recalled
    assert "the quokka hides" in zc(world, "recall-context", cwd=other).stdout, "sealed anew at the import"
    assert lying(world) == {}
    unknown = zc(world, "remember", "x", "y", "--classification", "secret")
    assert unknown.returncode == 2 and "unknown_value" in unknown.stderr


def test_a_merge_seals_texts_anew_for_the_project_that_goes_on(world: World) -> None:
    one, two = world.project, world.root / "two"
    two.mkdir()
    zc(world, "remember", "pin", "the quokka hides", "--classification", "restricted")
    (one / "notes.md").write_text("an axolotl report")
    said(world, "index", "notes.md", "--classification", "confidential")
    zc(world, "remember", "pin", "the fossa sleeps", "--classification", "confidential", cwd=two)
    merged = said(world, "project", "merge", "project", "two", "--yes")
    assert (merged["facts"], merged["renamed"], merged["documents"]) == (1, 1, 1)
    shown = {f["key"]: f for f in said(world, "memory", "list", cwd=two)["facts"]}
    assert shown["pin"]["value"] == "the fossa sleeps"
    assert shown["pin (project)"]["value"] == "the quokka hides"
    assert shown["pin (project)"]["classification"] == "restricted"
    assert "an axolotl report" in zc(world, "archive", "show", "notes.md", cwd=two).stdout
    assert lying(world) == {}
