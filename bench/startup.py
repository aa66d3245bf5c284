"""Starts: the shim to a warm and to a cold service, hooks to both."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from bench.figures import Figure, median, percentile
from bench.floors import bare_start
from bench.home import Home, home
from bench.session import Session
from securecontext.boundaries.code.plugin_files import Machine
from securecontext.cli.plugin_render import render


def first_list(at: Home) -> float:
    """Return the milliseconds from starting a shim to its first ``tools/list``."""
    begun = time.perf_counter()
    with Session(at) as one:
        one.shake_hands()
        one.ask("tools/list", {})
        return (time.perf_counter() - begun) * 1000


def hook_commands(at: Home) -> dict[str, list[str]]:
    """Return by event how the client runs each hook that `zc install claude-code` writes for this interpreter."""
    render(at.root / "rendered", Machine(Path(sys.executable), at.data))
    plugin = at.root / "rendered" / "plugin"
    declared = json.loads((plugin / "hooks" / "hooks.json").read_text(encoding="utf-8"))["hooks"]
    handlers = [h for groups in declared.values() for group in groups for h in group["hooks"]]
    return {
        h["args"][-1]: [h["command"], *(a.replace("${CLAUDE_PLUGIN_ROOT}", str(plugin)) for a in h["args"])]
        for h in handlers
    }


def hook(command: list[str], at: Home, event: str, payload: dict[str, object]) -> float:
    """Return the milliseconds from start to exit of a hook that was answered.

    Raises:
        RuntimeError: it was not.
    """
    given = json.dumps({"session_id": "bench", "cwd": str(at.project), **payload}).encode()
    begun = time.perf_counter()
    done = subprocess.run(
        command, input=given, env=at.environ(), cwd=at.project, stdout=subprocess.PIPE, check=True,
    )  # fmt: skip
    took = (time.perf_counter() - begun) * 1000
    if event == "session-start" and b"additionalContext" not in done.stdout:
        raise RuntimeError(f"the hook was not answered: {done.stdout!r}")
    return took


def measure(times: int) -> list[Figure]:
    """Return the figures of starts; a cold one is measured with a fresh data folder and with a used one."""
    cold_list, fresh_hook, used_hook = [], [], []
    for _ in range(max(2, times // 4)):
        with home() as at:
            cold_list.append(first_list(at))
        with home() as at:
            commands = hook_commands(at)
            fresh_hook.append(hook(commands["session-start"], at, "session-start", {"source": "startup"}))
            at.stop()
            used_hook.append(hook(commands["session-start"], at, "session-start", {"source": "startup"}))
    with home() as at:
        commands = hook_commands(at)
        at.start()
        first_list(at)
        warm_list, hooks, bare = [], [], []
        for number in range(times):
            warm_list.append(first_list(at))
            for again in range(3):  # turn by turn, so that what else the machine does falls on both alike
                bare.append(bare_start())
                payload = {
                    "tool_name": "Bash", "tool_use_id": f"t{number}-{again}", "duration_ms": 12,
                    "tool_input": {"command": "ls -la src"}, "tool_response": {"stdout": "x" * 2_000},
                }  # fmt: skip
                hooks.append(hook(commands["tool-used"], at, "tool-used", payload))
        if any((at.data / "spool").glob("*.json")):
            raise RuntimeError("a hook was spooled although the service was there")
    floor, floor_is = median(bare), "bare `python -I -S` with `_socket`"
    first = "no service, first start ever"
    return [
        Figure("shim to first `tools/list`, service warm", median(warm_list), "ms", 80, floor, floor_is),
        Figure("the same, slowest", max(warm_list), "ms"),
        Figure(f"shim to first `tools/list`, {first}", median(cold_list), "ms", 3_500, floor, floor_is),
        Figure(f"`session-start` hook, {first}", median(fresh_hook), "ms", 800, floor, floor_is),
        Figure("`session-start` hook, no service, used data folder", median(used_hook), "ms", 800, floor, floor_is),
        Figure(
            "`tool-used` hook, service warm", median(hooks), "ms", round(1.3 * floor, 2), floor, floor_is,
            note="the target is 1.3 times the floor",
        ),
        Figure("the same, p99", percentile(hooks, 0.99), "ms", None, percentile(bare, 0.99), floor_is + ", p99"),
    ]  # fmt: skip


def environment_note() -> str:
    """Return the load of the machine, which every figure here depends on."""
    return "load average {:.2f} {:.2f} {:.2f}".format(*os.getloadavg())
