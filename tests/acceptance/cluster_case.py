"""Several real services on one PostgreSQL database, as upstreams of gateways; they can be killed and started again."""

from __future__ import annotations

import base64
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from securecontext import rendezvous
from securecontext.app import App, database
from securecontext.boundaries.policy import Role
from securecontext.rpc.client import Client as PersonClient
from securecontext.rpc.client import control
from securecontext.settings import Settings
from securecontext.types.ids import now
from tests.acceptance.service_case import World
from tests.engines.fixtures import admin_of, ready_database
from tests.engines.postgres_server import PostgresServer
from tests.house_case import House
from tests.identity_case import OPERATOR, issue, with_operator
from tests.waiting import wait_until

IMPATIENT = """
import sys
from securecontext.boundaries.egress import upstream
from securecontext.http import gateways
from securecontext.pipeline import upstreams
upstream.CONNECT_SECONDS, upstream.SILENCE_SECONDS, upstreams.PATIENCE_SECONDS = 1.0, 1.5, 1.0
gateways.BEAT_SECONDS = 0.3
from securecontext.service import daemon, guard
daemon.QUEUE_SECONDS = guard.BEAT_SECONDS = 0.5
from securecontext.service.run import main
sys.exit(main())
"""
"""A service that gives a silent upstream up after a second and a half, and gives signs of life itself in time."""


ENTRY = Path(__file__).parents[2] / "plugin" / "hooks" / "entry.py"
ZC = Path(sys.executable).with_name("zc")


def hook(gateway: World, event: str, payload: dict[str, Any], **env: str) -> subprocess.CompletedProcess[str]:
    """Run the plugin's hook as the client does."""
    words = [sys.executable, "-I", "-S", str(ENTRY), event]
    return subprocess.run(
        words, input=json.dumps(payload), env={**gateway.env, **env}, cwd=gateway.project, text=True,
        capture_output=True, timeout=60, check=False,
    )  # fmt: skip


@dataclass
class Node:
    """One service of a cluster.

    Attributes:
        home: its data folder.
        env: of its process.
        port: of its HTTP door, the same after each start.
        process: runs it.
    """

    home: Path
    env: dict[str, str]
    port: int = 0
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def begin(self) -> None:
        """Start it; it is there once `ready` has returned."""
        env = {**self.env, "ZC_HTTP_PORT": str(self.port)}
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-c", IMPATIENT], env=env, cwd=self.home.parent
        )

    def ready(self) -> None:
        self.port = int(wait_until(self._address, f"the HTTP door of {self.home.name}").rpartition(":")[2])

    def _address(self) -> str:
        assert self.process is not None and self.process.poll() is None, "the service ended; see above"
        try:
            return str(control(rendezvous.connect(str(self.home)), {"do": "status"}).get("http", ""))
        except OSError:
            return ""

    def kill(self) -> None:
        """End it as a crash would."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(30)

    def person(self, folder: Path) -> PersonClient:
        """The command line's client of it."""
        return PersonClient(str(self.home), str(folder))


@dataclass
class Cluster:
    """Services that are equals, and the tokens of agents in their one project.

    Attributes:
        url: of the database.
        nodes: the services.
        house: another service on the database, within the test.
        folder: of the project.
        secret: their common machine secret.
    """

    url: str
    nodes: list[Node]
    house: House
    folder: Path
    secret: bytes
    _tokens: dict[str, str] = field(default_factory=dict)

    @property
    def addresses(self) -> str:
        """What a gateway's ZC_API_URL says."""
        return ",".join(node.url for node in self.nodes)

    def token(self, agent: str, role: Role = Role.WORKER) -> str:
        """Return the session token of an agent."""
        if agent not in self._tokens:
            self.house.moment = now()
            if not self._tokens:
                with_operator(self.house)
                self.house.do("channel.waive", OPERATOR)
            self._tokens[agent] = issue(self.house, OPERATOR, agent, role)
        return self._tokens[agent]

    def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """Return rows of the project, as the database's administrator sees them."""
        return self.house.sql(query, *values)


def admitted(url: str, home: Path, secret: bytes) -> None:
    """Let the service of a data folder act in a database."""
    keyring = database.keyring_of(Settings(home=home, user_home=home, machine_secret=secret))
    database.migrate(admin_of(url), url, [], keyring)


@contextmanager
def running_cluster(root: Path, url: str, count: int = 2) -> Iterator[Cluster]:
    """Run services on a database that `zc db migrate` has made; all are gone afterwards."""
    secret = secrets.token_bytes(32)
    runtime = Path(tempfile.mkdtemp(prefix="zc-run-", dir="/tmp"))
    folder = root / "project"
    folder.mkdir()
    nodes = []
    for number in range(count):
        home = root / f"node{number}" / "zc"
        home.parent.mkdir()
        env = {
            "PATH": os.environ["PATH"],
            "HOME": str(root),
            "TMPDIR": str(root),
            "XDG_RUNTIME_DIR": str(runtime),
            "ZC_HOME": str(home),
            "ZC_SECRET_RULES": "own",
            "ZC_POSTGRES_URL": url,
            "ZC_MACHINE_SECRET": base64.b64encode(secret).decode(),
        }
        admitted(url, home, secret)
        nodes.append(Node(home, env))
    try:
        for node in nodes:
            node.begin()
        admitted(url, root / "house", secret)
        settings = Settings(home=root / "house", user_home=root, postgres_url=url, machine_secret=secret)
        app = App(settings)
        try:
            made = Cluster(url, nodes, House(app, app.find_project(str(folder), "")), folder, secret)
            for node in nodes:
                node.ready()
            yield made
        finally:
            app.close()
    finally:
        for node in nodes:
            if node.process is not None and node.process.poll() is None:
                node.process.kill()
                node.process.wait(30)
        shutil.rmtree(runtime, ignore_errors=True)


@pytest.fixture(scope="module")
def cluster(
    tmp_path_factory: pytest.TempPathFactory, postgres_server: PostgresServer, _ready_template: str
) -> Iterator[Cluster]:
    """Two services on one database, for the tests of a module; who kills one starts it again."""
    with (
        ready_database(postgres_server, _ready_template) as url,
        running_cluster(tmp_path_factory.mktemp("cluster"), url) as made,
    ):
        yield made
