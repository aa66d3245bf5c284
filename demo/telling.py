"""How the stories are told: lines that appear as they happen, sessions of the official client, our own command."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from mcp import ClientSession
from mcp.client.stdio import StdioServerParameters, stdio_client

REPOSITORY = Path(__file__).resolve().parent.parent


class PartFailed(Exception):
    """A part of the story did not come true."""


def say(text: str = "") -> None:
    """Print a line at once, so that the story is read as it happens."""
    print(text, flush=True)


def step(title: str) -> None:
    """Print the heading of a step."""
    say(f"\n== {title}")


def indented(text: str) -> str:
    """Return a text as a block under its heading."""
    return "\n".join("   " + line for line in text.splitlines())


def leaf(group: BaseException) -> BaseException:
    """Return the first error inside nested groups."""
    while isinstance(group, BaseExceptionGroup):
        group = group.exceptions[0]
    return group


@asynccontextmanager
async def session(environment: dict[str, str]) -> AsyncIterator[ClientSession]:
    """Yield a session of the official client with the shim, as Claude Code would start it."""
    shim = StdioServerParameters(
        command=sys.executable, args=["-m", "securecontext", "mcp"], env=environment, cwd=REPOSITORY
    )
    async with stdio_client(shim) as (read, write), ClientSession(read, write) as client:
        await client.initialize()
        yield client


def run_zc(environment: dict[str, str], *words: str) -> tuple[int, str]:
    """Run a command of the command line, shown with its name, and return its exit code and output."""
    say(f"   $ zc {' '.join(words)}")
    done = subprocess.run(
        [sys.executable, "-m", "securecontext", *words],
        env=environment, cwd=REPOSITORY, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.returncode, (done.stdout + done.stderr).rstrip()
