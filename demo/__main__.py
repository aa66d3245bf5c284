"""Two sessions of an agent, a ledger that verifies, and a copy with one changed byte that does not.

Everything runs for real in a data folder of its own, which is removed at the end: the service, the shim that Claude
Code would start, and the official MCP client in front of it.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from mcp import ClientSession
from mcp_types import CallToolResult, TextContent

from demo.telling import REPOSITORY, PartFailed, indented, leaf, run_zc, say, session, step

DECISIONS = (
    ("storage", "SQLite by default, one file a project; PostgreSQL when several hosts share the work", 5),
    (
        "one-service",
        "One service per user owns the database writer, the keys and the ledger; shims are thin",
        5,
    ),
    ("hooks", "Memory hooks fail open in one line, security hooks fail closed", 4),
)
QUESTION = "Who owns the database writer, and why?"


async def call(client: ClientSession, tool: str, **arguments: object) -> None:
    """Call a tool and show the call with its answer."""
    started = time.perf_counter()
    result = await client.call_tool(tool, arguments)
    took = (time.perf_counter() - started) * 1000
    if not isinstance(result, CallToolResult) or result.is_error:
        raise PartFailed(f"{tool} was refused: {result.content}")
    text = "\n".join(part.text for part in result.content if isinstance(part, TextContent))
    if "\n" in text:
        say(f"   {tool:<22}{took:6.1f} ms")
        say(indented(text))
    else:
        say(f"   {tool:<22}{took:6.1f} ms   {text}")


async def first_session(environment: dict[str, str]) -> None:
    """Remember three decisions, index the documents, say what was done."""
    async with session(environment) as client:
        for key, value, importance in DECISIONS:
            await call(client, "zc_remember", key=key, value=value, importance=importance)
        for file in sorted([REPOSITORY / "README.md", *(REPOSITORY / "docs").rglob("*.md")]):
            source, content = str(file.relative_to(REPOSITORY)), file.read_text(encoding="utf-8")
            if content.strip():
                await call(client, "zc_index", source=source, content=content)
        summary = "Decided on storage, the service and how hooks fail. Next: the skill gate."
        await call(client, "zc_summarize_session", summary=summary)


async def second_session(environment: dict[str, str]) -> None:
    """Recall and search what the first session left."""
    async with session(environment) as client:
        await call(client, "zc_recall_context")
        say(f"\n   Asked: {QUESTION}")
        await call(client, "zc_search", queries=[QUESTION], limit=4)


def change_one_byte(copy: Path) -> str:
    """Change one byte of the second decision's ledger entry in a database file; return what was done."""
    with sqlite3.connect(copy) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        entry, canonical = database.execute(
            "SELECT entry, canonical FROM ledger_entries WHERE kind = 'call' ORDER BY entry LIMIT 1 OFFSET 1"
        ).fetchone()
    database.close()
    content = bytearray(copy.read_bytes())
    at = content.find(canonical) + canonical.index(b'"principal":"uid:') + len('"principal":"uid:')
    before = chr(content[at])
    content[at] = ord("7") if before != "7" else ord("8")
    copy.write_bytes(content)
    return f"entry {entry}: byte {at} of the copy, {before!r} became {chr(content[at])!r} (who made the call)"


def main() -> int:
    """Tell the story; return 0 if every part of it came true."""
    folder = Path(tempfile.mkdtemp(prefix="zc-demo-"))
    environment = {
        **os.environ,
        "ZC_HOME": str(folder / "data"),
        "ZC_PROJECT_PATH": str(REPOSITORY),
        "ZC_HTTP_PORT": "off",
    }
    started = time.monotonic()
    try:
        step("A first session: an agent decides, and remembers")
        asyncio.run(first_session(environment))
        step("The session ends. A second one starts, with an empty head")
        asyncio.run(second_session(environment))
        step("Every call is in the ledger, and the ledger verifies")
        code, text = run_zc(environment, "audit", "tail", "--limit", "4")
        say(indented(text))
        code, text = run_zc(environment, "audit", "verify")
        say(indented(text))
        if code != 0:
            return 1
        run_zc(environment, "service", "stop")
        step("Somebody changes one byte in a copy of the database")
        copy = folder / "copy.db"
        shutil.copy(next((folder / "data" / "projects").glob("*.db")), copy)
        say("   " + change_one_byte(copy))
        code, text = run_zc(environment, "audit", "verify", "--database", str(copy))
        say(indented(text))
        if code != 6:
            return 1
        step(f"Done in {time.monotonic() - started:.1f} s")
        say("   Next: `.venv/bin/zc install claude-code`, and your next Claude Code session has it.")
        return 0
    except BaseExceptionGroup as group:  # the client's task groups wrap what happens inside
        failed = group.subgroup(PartFailed)
        if failed is None:
            raise
        say(f"\nThis part did not come true: {leaf(failed)}")
        return 1
    finally:
        subprocess.run(
            [sys.executable, "-m", "securecontext", "service", "stop"],
            env=environment,
            capture_output=True,
            check=False,
        )
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
