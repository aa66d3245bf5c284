"""A user of the real client into whose home ``zc install claude-code`` put the plugin, and that user's evidence.

Evidence is what the model was really sent, what lies in the data folder, and what the ledger's verifier says; never
what the client prints.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from securecontext import rendezvous
from tests.acceptance.claude_client import Client
from tests.acceptance.scripted_model import Request, ScriptedModel
from tests.engines.fixtures import admin_of
from tests.engines.shared_case import project_named, rows_of_project, tables_with

ZC = Path(sys.executable).with_name("zc")
SERVER = "mcp__plugin_securecontext_zc-ctx__"
REMEMBER, RECALL, SEARCH = (SERVER + name for name in ("zc_remember", "zc_recall_context", "zc_search"))
OURS = ",".join((REMEMBER, RECALL, SEARCH, SERVER + "zc_summarize_session", SERVER + "zc_forget"))
TOOLS = f"Bash,Write,Read,Edit,Agent,TodoWrite,ToolSearch,{OURS}"
SECONDS = 60
RECALLED = re.compile(
    r"SessionStart hook additional context: (?P<recall>SecureContext memory\..*?\[(?P<fence>[0-9a-f]{8})\n.*?"
    r"\n(?P=fence)\](?:\n\d+ more facts[^\n]*)?)",
    re.DOTALL,
)


@dataclass(frozen=True)
class Entry:
    """One entry of a project's ledger: its kind, its session, and its body."""

    kind: str
    session: str
    body: dict[str, Any]

    @property
    def operation(self) -> str:
        return str(self.body["operation"])

    @property
    def arguments(self) -> dict[str, Any]:
        return dict(self.body["arguments"])


@dataclass
class User(Client):
    """A client whose ``zc`` is the command of this very environment."""

    def environment(self, agent: str = "dev") -> dict[str, str]:
        path = f"{ZC.parent}{os.pathsep}{self.program.parent}{os.pathsep}{os.environ['PATH']}"
        return {**super().environment(agent), "PATH": path, "ZC_HTTP_PORT": "off", **self.extra}

    def at(self, folder: str) -> User:
        """Return the same user in another project."""
        return replace(self, folder=folder)

    def zc(self, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Run our own command in the project."""
        return subprocess.run(
            [str(ZC), *words],
            cwd=self.project,
            env=self.environment() | env,
            text=True,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=SECONDS,
            check=False,
        )

    def told(self, *words: str) -> Any:
        """Return what our own command prints as JSON; it must have succeeded."""
        done = self.zc(*words, "--json")
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)

    def ask(self, prompt: str, *words: str, agent: str = "dev", tools: str = TOOLS) -> str:
        return super().ask(prompt, *words, agent=agent, tools=tools)

    @contextlib.contextmanager
    def session(self, prompt: str, agent: str = "dev") -> Iterator[subprocess.Popen[bytes]]:
        """Run a `-p` session beside the test."""
        words = [str(self.program), "-p", prompt, "--allowedTools", TOOLS]
        quiet = subprocess.DEVNULL
        with subprocess.Popen(
            words, cwd=self.project, env=self.environment(agent), stdin=quiet, stdout=quiet, stderr=quiet
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    # What is in the data folder

    def database(self) -> Path:
        """Return the project's file."""
        machine = sqlite3.connect(f"file:{self.zc_home}/machine.db?mode=ro", uri=True)
        with contextlib.closing(machine):
            rows = machine.execute(
                "SELECT project FROM projects WHERE name = ?", (self.project.name,)
            ).fetchall()
        [[project]] = rows
        return self.zc_home / "projects" / f"{project}.db"

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Return what a query finds in the project's file, or among its rows in the database."""
        if url := self.extra.get("ZC_POSTGRES_URL"):
            every = admin_of(url)
            return rows_of_project(every, project_named(every, self.project.name), query, *values)
        connection = sqlite3.connect(f"file:{self.database()}?mode=ro", uri=True)
        with contextlib.closing(connection):
            return connection.execute(query, values).fetchall()

    def facts(self) -> dict[str, str]:
        """Return the active facts of the project."""
        return dict(self.rows("SELECT key, value FROM facts WHERE state = 'active'"))

    def entries(self, operation: str) -> list[Entry]:
        """Return the ledger's entries of one operation, oldest first."""
        found = self.rows(
            "SELECT e.kind, e.stream, b.body FROM ledger_entries e "
            "JOIN ledger_bodies b ON b.log = e.log AND b.stream = e.stream AND b.seq = e.seq ORDER BY e.entry"
        )
        entries = [Entry(kind, stream.partition("/")[2], json.loads(body)) for kind, stream, body in found]
        return [entry for entry in entries if entry.operation == operation]

    def observed(self) -> list[dict[str, Any]]:
        """Return what the ledger holds of the client's own tool calls."""
        return [entry.arguments for entry in self.entries("session.observed")]

    def verified(self) -> bool:
        """Say whether the ledgers of the project and of the machine verify."""
        return all(self.told("audit", "verify", *words)["status"] == "OK" for words in ((), ("--machine",)))

    def files_with(self, mark: str) -> list[str]:
        """Return which files of the data folder, and which tables of its database, hold a text."""
        url = self.extra.get("ZC_POSTGRES_URL")
        return (tables_with(admin_of(url), mark) if url else []) + [
            str(path.relative_to(self.root))
            for path in sorted(self.root.rglob("*"))
            if path.is_file() and path.is_relative_to(self.zc_home) and mark.encode() in path.read_bytes()
        ]

    # The service

    def service_pid(self) -> int:
        """Return the process id of the running service, 0 for none."""
        try:
            with rendezvous.connect(str(self.zc_home), timeout=5) as connection:
                status = rendezvous.preamble("control/1", {}) + b'{"do": "status"}\n'
                connection.sendall(status)
                return int(json.loads(connection.makefile("rb").readline())["pid"])
        except (OSError, ValueError):
            return 0


def recalled(request: Request) -> list[str]:
    """Return every recall that a request holds, oldest first."""
    texts = [
        block["text"]
        for message in request.body["messages"]
        if isinstance(message["content"], list)
        for block in message["content"]
        if block["type"] == "text"
    ]
    return [found["recall"] for found in RECALLED.finditer("\n".join(texts))]


def first(model: ScriptedModel, agent: str) -> Request:
    """Return the first request of an agent's session."""
    return model.requests(agent)[0]


def result(model: ScriptedModel, agent: str, step: int) -> str:
    """Return what the model was sent as the result of its step (0, 1, …)."""
    blocks = [
        block
        for message in model.requests(agent)[-1].body["messages"]
        if message["role"] == "user" and isinstance(message["content"], list)
        for block in message["content"]
        if block["type"] == "tool_result"
    ]
    content = blocks[step]["content"]
    return content if isinstance(content, str) else "\n".join(b.get("text", "") for b in content)


@contextlib.contextmanager
def user(root: Path, program: Path, postgres_url: str = "", *, install: bool = True) -> Iterator[User]:
    """Give a user with the plugin installed; the service is ended afterwards."""
    runtime = Path(tempfile.mkdtemp(prefix="zc-run-", dir="/tmp"))
    extra = {"XDG_RUNTIME_DIR": str(runtime), **({"ZC_POSTGRES_URL": postgres_url} if postgres_url else {})}
    someone = User(root, program, extra=extra)
    try:
        if postgres_url:
            done = someone.zc("db", "migrate", ZC_POSTGRES_ADMIN_URL=admin_of(postgres_url))
            assert done.returncode == 0, done.stdout + done.stderr
        if install:
            done = someone.zc("install", "claude-code")
            assert done.returncode == 0, done.stdout + done.stderr
        yield someone
    finally:
        someone.zc("service", "stop")
        shutil.rmtree(runtime, ignore_errors=True)
