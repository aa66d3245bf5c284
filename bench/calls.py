"""One session's calls, one after another, on a store of 10,000 entries."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from typing import Any

from mcp import ClientSession
from mcp.client.stdio import StdioServerParameters, stdio_client

from bench.figures import Figure, median, percentile
from bench.home import SHIM, Home, memory_mib
from bench.session import Session, session
from bench.texts import paragraph, question, sentence

Arguments = Callable[[random.Random, int], dict[str, Any]]
IN_FLIGHT = 32

TOOLS: dict[str, tuple[Arguments, float | None]] = {
    "zc_remember": (
        lambda c, n: {"key": f"decision-{n % 80}", "value": sentence(c), "importance": c.randint(1, 5)},
        3,
    ),
    "zc_recall_context": (lambda c, n: {}, 5),
    "zc_status": (lambda c, n: {}, 5),
    "zc_search": (lambda c, n: {"queries": [question(c)]}, 10),
    "zc_search_global": (lambda c, n: {"queries": [question(c)]}, None),
    "zc_index": (lambda c, n: {"source": f"notes/{n % 200}.md", "content": paragraph(c)}, None),
    "zc_summarize_session": (lambda c, n: {"summary": paragraph(c)}, None),
    "zc_forget": (lambda c, n: {"key": f"decision-{n % 80}"}, None),
}
"""Each tool with realistic arguments and the most milliseconds that its median may take."""


def fill(at: Home, entries: int, chance: random.Random) -> tuple[list[str], float]:
    """Store so many entries through the service, a fifth of them facts (which evict one another into the archive).

    Returns:
        Their texts, and the calls a second that a session made with `IN_FLIGHT` calls under way.
    """
    texts: list[str] = []
    begun = time.perf_counter()
    with session(at) as one:
        waiting: set[int] = set()
        for number in range(entries):
            if number % 5:
                texts.append(paragraph(chance))
                given = {"source": f"docs/{number}.md", "content": texts[-1]}
                tool = "zc_index"
            else:
                texts.append(sentence(chance))
                given = {"key": f"fact-{number}", "value": texts[-1], "importance": chance.randint(1, 5)}
                tool = "zc_remember"
            waiting.add(one.send("tools/call", {"name": tool, "arguments": given}))
            while len(waiting) >= (IN_FLIGHT if number < entries - 1 else 1):
                for answer in one.receive(60):
                    if answer["result"].get("isError"):
                        raise RuntimeError(str(answer))
                    waiting.discard(answer["id"])
    return texts, entries / (time.perf_counter() - begun)


def tool_figures(
    one: Session, times: int, floors: dict[str, tuple[float, str]], chance: random.Random
) -> list[Figure]:
    """Return each tool's median and 99th percentile.

    Args:
        one: a session.
        times: calls of each tool.
        floors: milliseconds and name of the floor of each kind: ``write`` and ``search``.
        chance: for the arguments.
    """
    out: list[Figure] = []
    for tool, (arguments, target) in TOOLS.items():
        took = [one.timed(tool, arguments(chance, number)) for number in range(times)]
        floor = floors["search" if "search" in tool else "write"]
        out.append(Figure(f"`{tool}`, median", median(took), "ms", target, *floor))
        out.append(Figure(f"`{tool}`, p99", percentile(took, 0.99), "ms"))
    return out


def official_client(at: Home, times: int) -> float:
    """Return the median milliseconds of ``zc_remember`` as the official client's caller sees it."""

    async def run() -> list[float]:
        shim = StdioServerParameters(command=SHIM[0], args=SHIM[1:], env=at.environ(), cwd=str(at.project))
        out = []
        async with stdio_client(shim) as (inward, outward), ClientSession(inward, outward) as client:
            await client.initialize()
            for number in range(times):
                given = {"key": f"official-{number % 80}", "value": f"value {number}"}
                begun = time.perf_counter()
                await client.call_tool("zc_remember", given)
                out.append((time.perf_counter() - begun) * 1000)
        return out

    return median(asyncio.run(run()))


def wire_size(one: Session) -> int:
    """Return the characters of the ``tools`` array as it goes over the wire."""
    import json

    return len(json.dumps(one.ask("tools/list", {})["tools"], ensure_ascii=False, separators=(",", ":")))


def memory_figures(at: Home, one: Session) -> list[Figure]:
    """Return the memory of the service and of a shim as they are now."""
    (service, service_own), (shim, shim_own) = memory_mib(at.pid()), memory_mib(one.pid)
    return [
        Figure("service, resident", service, "MiB", 180),
        Figure("service, proportional", service_own, "MiB"),
        Figure("shim, resident", shim, "MiB", 15),
        Figure("shim, proportional", shim_own, "MiB"),
    ]
