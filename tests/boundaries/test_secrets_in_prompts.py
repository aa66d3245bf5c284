"""What a model is told is composed by us: no secret gets into it, on whichever way it came."""

from __future__ import annotations

import json
import secrets

import pytest

from tests.house_case import AGENT, HOOK

WAYS = {
    "a fact": ("zc_remember", AGENT, lambda text: {"key": "deploy", "value": text, "importance": 5}),
    "a summary": ("zc_summarize_session", AGENT, lambda text: {"summary": text}),
    "a compaction": ("session.compacted", HOOK, lambda text: {"summary": text}),
    "the words of a turn": ("session.turn", HOOK, lambda text: {"said": text}),
    "a failed command": (
        "session.observed",
        HOOK,
        lambda text: {"tool": "Bash", "tool_use_id": "t", "outcome": "failed", "command": "x", "error": text},
    ),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("shape", ["ghp_{}", "postgres://admin:{}@db/app", "password = {}"])
def test_rt_s0_11_a_secret_in_a_prompt_is_blocked(house, way, shape):
    """The prompts that there are: what a session starts with, and what it recalls."""
    secret = secrets.token_hex(18)
    operation, who, given = WAYS[way]
    house.do(operation, who, **given("the pelican knows " + shape.format(secret)))
    if who is HOOK:
        house.do("session.checkpoint", HOOK, reason="compaction: auto")
    told = [
        house.ask("session.start", {"source": source}, who=HOOK) for source in ("startup", "compact", "clear")
    ]
    told += [house.ask("zc_recall_context"), house.ask("zc_search", {"queries": ["pelican"]})]
    for answer in told:
        assert answer.error is None
        for form in (answer.text, json.dumps(answer.structured)):
            assert secret not in form
    shown = "".join(answer.text for answer in told)
    assert "pelican" in shown and "[REDACTED" in shown
