"""The work queue over HTTP: fifty agents at once, and how soon one that waits has its task.

The agents are connections of one process that speak HTTP/1.1 by hand: a client library would take more of the two
processors than the service does. What they leave of them is part of the figure.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Self

from bench.figures import Figure, median, percentile
from bench.home import Home, home

AGENTS = 50
ROLE = "bench"


class Agent:
    """One connection to the HTTP door, kept open."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: str) -> None:
        self._reader = reader
        self._writer = writer
        self._head = head

    @classmethod
    async def connected(cls, port: int, token: str, project: Path) -> Self:
        """Return an agent of a project that shows this token."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        head = f"Host: 127.0.0.1:{port}\r\nAuthorization: Bearer {token}\r\nX-ZC-Project: {project}\r\n"
        return cls(reader, writer, head + "Content-Type: application/json\r\n")

    async def ask(self, operation: str, **arguments: Any) -> dict[str, Any]:
        """Call an operation; return its result.

        Raises:
            RuntimeError: it was refused.
        """
        body = json.dumps(arguments)
        self._writer.write(
            f"POST /api/v1/{operation} HTTP/1.1\r\n{self._head}Content-Length: {len(body)}\r\n\r\n{body}".encode()
        )
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        size = int(head.partition("content-length:")[2].partition("\r")[0])
        answer = await self._reader.readexactly(size)
        if " 200 " not in head.partition("\r")[0]:
            raise RuntimeError(answer.decode())
        result: dict[str, Any] = json.loads(answer)["result"]
        return result

    def close(self) -> None:
        """End the connection."""
        self._writer.close()


def measure(tasks: int, times: int) -> list[Figure]:
    """Return the figures.

    Args:
        tasks: that the agents drain together.
        times: that one waits for a task.
    """
    with home(ZC_HTTP_PORT="0", ZC_CALLS_PER_SECOND="1000000", ZC_SECRET_RULES="own") as at:
        at.start()
        port, token = _door(at)
        return asyncio.run(_measure(at.project, port, token, tasks, times))


def _door(at: Home) -> tuple[int, str]:
    """Return the port of the HTTP door, once it is open, and the token."""
    while not (said := at.control({"do": "status"})).get("http"):
        time.sleep(0.05)
    return int(said["http"].rpartition(":")[2]), Path(said["token_file"]).read_text("ascii").strip()


async def _measure(project: Path, port: int, token: str, tasks: int, times: int) -> list[Figure]:
    agents = [await Agent.connected(port, token, project) for _ in range(AGENTS)]
    try:
        for number in range(tasks):
            await agents[0].ask("enqueue-task", task_id=f"t{number}", role=ROLE, payload={"n": number})
        took: list[float] = []
        begun = time.perf_counter()
        done = await asyncio.gather(*(_work(agent, took) for agent in agents))
        seconds = time.perf_counter() - begun
        if sorted(task for each in done for task in each) != sorted(f"t{n}" for n in range(tasks)):
            raise RuntimeError("tasks were lost, or done twice")
        woken = [await _woken(agents[0], agents[1], number) for number in range(times)]
    finally:
        for agent in agents:
            agent.close()
    return [
        Figure(
            f"over HTTP, {AGENTS} agents that claim and complete: calls a second",
            len(took) / seconds,
            "1/s",
            400,
            at_least=True,
        ),
        Figure(f"over HTTP, {AGENTS} agents: 99th percentile of a call", percentile(took, 0.99), "ms", 300),
        Figure(
            "over HTTP: from enqueueing to the answer of a claim that waits, median", median(woken), "ms", 50
        ),
    ]


async def _work(agent: Agent, took: list[float]) -> list[str]:
    """Claim and complete until there is nothing; return the tasks, and enter milliseconds a call."""

    async def timed(call: Callable[[], Awaitable[dict[str, Any]]]) -> dict[str, Any]:
        begun = time.perf_counter()
        answer = await call()
        took.append(1000 * (time.perf_counter() - begun))
        return answer

    done = []
    while claims := (await timed(lambda: agent.ask("claim-task", role=ROLE))).get("claims"):
        [claim] = claims
        task, fence = claim["task_id"], claim["fence"]
        await timed(
            lambda t=task, f=fence: agent.ask("complete-task", task_id=t, role=ROLE, fence=f)  # type: ignore[misc]
        )
        done.append(task)
    return done


async def _woken(waiting: Agent, other: Agent, number: int) -> float:
    """Return the milliseconds from asking for a task to be enqueued until one that waits for it has it."""
    claim = asyncio.ensure_future(waiting.ask("claim-task", role=ROLE, wait=10))
    await asyncio.sleep(0.05)  # it has found nothing, and waits
    begun = time.perf_counter()
    await other.ask("enqueue-task", task_id=f"w{number}", role=ROLE, payload={})
    [found] = (await claim)["claims"]
    took = 1000 * (time.perf_counter() - begun)
    await waiting.ask("complete-task", task_id=found["task_id"], role=ROLE, fence=found["fence"])
    return took
