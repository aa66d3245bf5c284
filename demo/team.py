"""``make demo-team``: an orchestrator and three workers on PostgreSQL, one of which is killed at its work.

Everything runs for real: a PostgreSQL server out of a wheel that asks for passwords, the service, workers that are
processes of their own, and the official MCP client in each of them. Exits with 1 if any part did not come true.
"""

from __future__ import annotations

import asyncio
import json
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mcp import ClientSession
from mcp_types import CallToolResult
from tests.acceptance.terminal import Terminal, operators_terminal
from tests.engines.postgres_server import running_postgres
from tests.waiting import wait_until

from demo.telling import REPOSITORY, PartFailed, indented, leaf, run_zc, say, session, step

ROLE = "worker"
WORKERS = ("ada", "bob", "cy")
LEASE_SECONDS = 4
PATIENCE_SECONDS = 30
SHORT_LEASES = f"""
import sys
from datetime import timedelta
from securecontext.coordination import leases, queue
from securecontext.service import daemon
queue.claim.__kwdefaults__["lease"] = leases.renew.__kwdefaults__["lease"] = timedelta(seconds={LEASE_SECONDS})
daemon.QUEUE_SECONDS = {LEASE_SECONDS / 4}
from securecontext.service.run import main
sys.exit(main())
"""
"""The service with leases of four seconds instead of ninety, renewed as often in proportion: a story must end."""


@dataclass(frozen=True, slots=True)
class Told:
    """What a worker said."""

    worker: str
    what: str
    task: str
    more: dict[str, Any]


class Worker:
    """A worker's process, and the thread that hears it."""

    def __init__(self, name: str, environment: dict[str, str], ear: queue.Queue[Told]) -> None:
        self.name = name
        pipe = subprocess.PIPE
        command = [sys.executable, "-m", "demo.worker"]
        self.process = subprocess.Popen(
            command,
            cwd=REPOSITORY,
            env=environment,
            stdin=pipe,
            stdout=pipe,
            text=True,
            start_new_session=True,
        )
        threading.Thread(target=self._hear, args=(ear,), daemon=True).start()

    def _hear(self, ear: queue.Queue[Told]) -> None:
        assert self.process.stdout is not None  # noqa: S101 - for the type checker
        for line in self.process.stdout:
            said = json.loads(line)
            ear.put(Told(self.name, said.pop("what"), said.pop("task"), said))

    def end(self) -> int:
        """Tell it that all is done; return its exit code."""
        assert self.process.stdin is not None  # noqa: S101 - for the type checker
        self.process.stdin.write("all is done\n")
        self.process.stdin.close()
        return self.process.wait(PATIENCE_SECONDS)

    def kill(self) -> None:
        """End it as a crash would."""
        self.process.kill()
        self.process.wait()


def documents() -> list[str]:
    """Return the nine files whose words are counted."""
    found = sorted(p for p in (REPOSITORY / "docs").rglob("*.md") if p.stat().st_size > 1000)[:9]
    return [p.relative_to(REPOSITORY).as_posix() for p in found]


async def ask(client: ClientSession, tool: str, **arguments: object) -> tuple[bool, dict[str, Any], str]:
    """Return whether a call was done, what it answered, and the text."""
    result = await client.call_tool(tool, arguments)
    if not isinstance(result, CallToolResult) or result.structured_content is None:
        raise PartFailed(f"{tool} has no answer: {result}")
    text = getattr(result.content[0], "text", "") if result.content else ""
    return not result.is_error, result.structured_content, text


async def lead(environment: dict[str, str], files: list[str]) -> None:
    """What the orchestrator does first: nine tasks, and files that are given away, one of them twice."""
    async with session(environment) as client:
        for number, file in enumerate(files, 1):
            payload = {"count": file, **({"stay": True} if number == 1 else {})}
            done, _, text = await ask(
                client,
                "zc_enqueue_task",
                task_id=f"t{number}",
                role=ROLE,
                payload=payload,
                priority=10 - number,
            )
            if not done:
                raise PartFailed(text)
            say(f"   boss: {text} {file}")
        for to, owned in (("ada", ["src/parser/**"]), ("bob", ["src/lexer.py"])):
            done, _, text = await ask(
                client,
                "zc_broadcast",
                type="ASSIGN",
                to=[to],
                task=f"part of {to}",
                file_ownership_exclusive=owned,
            )
            if not done:
                raise PartFailed(text)
            say(f"   boss: {owned[0]} is {to}'s")
        done, said, text = await ask(
            client, "zc_broadcast", type="ASSIGN", to=["cy"], task="the grammar",
            file_ownership_exclusive=["src/parser/grammar.py"],
        )  # fmt: skip
        code = said.get("error", {}).get("code")
        say(f"   boss: src/parser/grammar.py for cy?\n   refused ({code}): {text.splitlines()[0]}")
        if done or code != "files_reserved" or "ada" not in text:
            raise PartFailed("a file that is ada's was given to cy as well")


def watch(workers: list[Worker], ear: queue.Queue[Told], count: int) -> tuple[str, dict[str, Told]]:
    """Tell what the workers do, kill the one that stays at its task, until all is done.

    Returns:
        Who was killed, and by task who finished it.
    """
    killed, finished, left = "", dict[str, Told](), {each.name: each for each in workers}
    while len(finished) < count:
        try:
            told = ear.get(timeout=PATIENCE_SECONDS)
        except queue.Empty:
            raise PartFailed(f"nothing happened for {PATIENCE_SECONDS} s; done: {sorted(finished)}") from None
        who, task, more = told.worker, told.task, told.more
        if told.what == "claimed":
            again = f", attempt {more['attempt']}" if more["attempt"] > 1 else ""
            say(f"   {who:<4} claims {task} under fence {more['fence']}{again}")
            if task == "t1" and not killed:
                killed = who
                left.pop(who).kill()
                say(f"   {who:<4} is killed (SIGKILL) with {task} in hand")
        elif told.what == "done":
            if task in finished:
                raise PartFailed(f"{task} was done twice")
            finished[task] = told
            say(f"   {who:<4} has done {task}: {more['words']} words")
    for worker in left.values():
        if worker.end() != 0:
            raise PartFailed(f"{worker.name} did not end well")
    return killed, finished


def hold_against_the_ledger(environment: dict[str, str], finished: dict[str, Told]) -> None:
    """Read tasks and ledger once more, with the person's command, and compare them with what the workers said."""
    code, text = run_zc(environment, "audit", "tail", "--limit", "200", "--json")
    if code != 0:
        raise PartFailed(text)
    entries = json.loads(text)["entries"]
    claims = [
        tuple(claimed)
        for each in entries
        if each["operation"] == "zc_claim_task"
        for claimed in each["body"].get("noted", {}).get("claimed", ())
    ]
    done = Counter(
        each["body"]["arguments"]["task_id"]
        for each in entries
        if (each["operation"], each["outcome"]) == ("zc_complete_task", "ok")
    )
    refused = [each for each in entries if (each["operation"], each["kind"]) == ("zc_broadcast", "refusal")]
    say(f"   {len(claims)} claims, {sum(done.values())} completions, {len(refused)} refused broadcast")
    if done != Counter(list(finished)):
        raise PartFailed(f"the ledger has other completions: {done}")
    if len(set(claims)) != len(claims) or len(claims) != len(finished) + 1:
        raise PartFailed(f"the ledger has other claims: {claims}")
    if len(refused) != 1:
        raise PartFailed("the refused overlap is not in the ledger")
    for words in (("audit", "verify"), ("audit", "verify", "--machine")):
        code, text = run_zc(environment, *words)
        say(indented(text))
        if code != 0:
            raise PartFailed("the ledger does not verify")


def counted(files: list[str], finished: dict[str, Told]) -> int:
    """Return the sum of what the workers counted; it must be what is in the files."""
    total = sum(told.more["words"] for told in finished.values())
    if total != sum(len((REPOSITORY / file).read_text(encoding="utf-8").split()) for file in files):
        raise PartFailed("the workers counted other words than there are")
    return total


def set_up(environment: dict[str, str], administrator: str) -> None:
    """Make the database's tables, and let the service in."""
    code, text = run_zc({**environment, "ZC_POSTGRES_ADMIN_URL": administrator}, "db", "migrate")
    say(indented(text))
    if code != 0:
        raise PartFailed("the database was not set up")


def serve(environment: dict[str, str], stack: ExitStack) -> None:
    """Start the service, and have it stopped at the end."""
    command = [sys.executable, "-I", "-c", SHORT_LEASES]
    process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL)

    def stop() -> None:
        process.terminate()
        try:
            process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()

    stack.callback(stop)
    link = Path(environment["ZC_HOME"]) / "service.sock"
    wait_until(lambda: link.exists() or process.poll() is not None, "the service")


def tokens(person: Terminal) -> dict[str, str]:
    """Issue a session token for each agent, as the operator does; none needs a channel key."""
    found = {}
    for agent, role in (("boss", "orchestrator"), *((name, ROLE) for name in WORKERS)):
        code, text = person.zc(f"token issue {agent} {role}")
        if code != 0:
            raise PartFailed(text)
        found[agent] = text.strip()
        say(f"   $ zc token issue {agent} {role}")
    code, text = person.zc("channel-key waive --yes")
    if code != 0:
        raise PartFailed(text)
    return found


def tell(folder: Path, stack: ExitStack) -> None:
    """Tell the story in a folder of its own."""
    step("PostgreSQL with passwords, and a login for the service that owns nothing")
    server = stack.enter_context(running_postgres())
    server.create("team", owner="postgres")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ZC_")} | {
        "ZC_HOME": str(folder / "data"),
        "ZC_PROJECT_PATH": str(REPOSITORY),
        "ZC_HTTP_PORT": "off",
        "ZC_SECRET_RULES": "own",
        "ZC_POSTGRES_URL": server.service_url("team"),
    }
    set_up(environment, server.admin_url("team"))
    serve(environment, stack)
    step("The operator gives an orchestrator and three workers an identity each")
    with operators_terminal(environment, REPOSITORY) as person:
        given = tokens(person)
    step("The orchestrator enqueues nine tasks, and gives files away")
    files = documents()
    asyncio.run(lead({**environment, "ZC_SESSION_TOKEN": given["boss"]}, files))
    step(f"Three processes work; one is killed. Leases last {LEASE_SECONDS} s here, 90 s otherwise")
    ear: queue.Queue[Told] = queue.Queue()
    workers = [Worker(name, {**environment, "ZC_SESSION_TOKEN": given[name]}, ear) for name in WORKERS]
    for each in workers:
        stack.callback(each.kill)
    killed, finished = watch(workers, ear, len(files))
    if not killed or finished["t1"].worker == killed or finished["t1"].more["fence"] != 2:
        raise PartFailed("no other worker finished the task of the one that was killed")
    last = finished["t1"].worker
    say(f"   All nine are done, {counted(files, finished):,} words; {last} finished what {killed} began.")
    step("The ledger says the same, and verifies")
    hold_against_the_ledger(environment, finished)


def main() -> int:
    """Tell the story; return 0 if every part of it came true."""
    folder = Path(tempfile.mkdtemp(prefix="zc-team-"))
    started = time.monotonic()
    try:
        with ExitStack() as stack:
            tell(folder, stack)
    except (PartFailed, BaseExceptionGroup, AssertionError) as error:
        failed = leaf(error)
        if not isinstance(failed, (PartFailed, AssertionError)):
            raise
        say(f"\nThis part did not come true: {failed}")
        return 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    step(f"Done in {time.monotonic() - started:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
