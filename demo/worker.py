"""A worker of ``make demo-team``: claims tasks of its role over MCP, counts words, gives back what it counted.

It tells each step as a line of JSON on standard output. A task that says ``"stay": true`` is one at which the first who
claims it stays for good: that worker will be killed.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import Any

from mcp import ClientSession
from mcp_types import CallToolResult

from demo.telling import REPOSITORY, session

WAIT_SECONDS = 5


def tell(what: str, task: str = "", **more: Any) -> None:
    """Say what happened, to whoever started this worker."""
    sys.stdout.write(json.dumps({"what": what, "task": task, **more}) + "\n")
    sys.stdout.flush()


async def ask(client: ClientSession, tool: str, **arguments: object) -> dict[str, Any]:
    """Return what a tool answers; a refusal ends the worker."""
    result = await client.call_tool(tool, arguments)
    if not isinstance(result, CallToolResult) or result.is_error or result.structured_content is None:
        raise SystemExit(f"{tool} was refused: {result}")
    return result.structured_content


async def work() -> None:
    """Work until whoever started this worker says that all is done."""
    loop = asyncio.get_running_loop()
    told_to_end = loop.run_in_executor(None, sys.stdin.readline)
    async with session(dict(os.environ)) as client:
        while not told_to_end.done():
            for claim in (await ask(client, "zc_claim_task", wait=WAIT_SECONDS))["claims"]:
                task, fence, payload = claim["task_id"], claim["fence"], claim["payload"]
                tell("claimed", task, fence=fence, attempt=claim["attempt"])
                if payload.get("stay") and claim["attempt"] == 1:
                    await asyncio.Event().wait()
                words = len((REPOSITORY / payload["count"]).read_text(encoding="utf-8").split())
                await ask(client, "zc_complete_task", task_id=task, fence=fence, result={"words": words})
                tell("done", task, fence=fence, words=words)
    tell("ended")


if __name__ == "__main__":
    asyncio.run(work())
