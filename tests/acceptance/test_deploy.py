"""What `deploy/` runs, run for real without Docker: the login is made, tables are migrated, the health check asks."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.acceptance.http_service import SERVE
from tests.engines.postgres_server import PostgresServer, postgres_programs
from tests.house.source import REPOSITORY
from tests.house.test_deploy import values
from tests.waiting import wait_until

DOCKER = REPOSITORY / "deploy" / "docker"
PASSWORD = "5f0c6d2a9b"


def is_well(environment: dict[str, str]) -> tuple[int, str]:
    """Run the image's health check as its line says; return its exit code and what it said."""
    text = (DOCKER / "Dockerfile").read_text(encoding="utf-8")
    found = re.search(r"(?m)^HEALTHCHECK .*\\\n\s+CMD (\[.*\])$", text)
    assert found
    python, *words = json.loads(found[1])
    assert python == "python"
    command = [
        sys.executable,
        *(each.replace("/opt/securecontext/health.py", str(DOCKER / "health.py")) for each in words),
    ]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout


@pytest.fixture
def database(postgres_server: PostgresServer) -> Iterator[str]:
    """A database whose login was made by the script that the database's image runs at its first start."""
    name = "deployed"
    postgres_server.create(name, owner="postgres")
    script = (DOCKER / "make-login.sh").read_text(encoding="utf-8").replace("zc_service", "zc_deployed")
    environment = {
        "PATH": f"{postgres_programs()}:/usr/bin:/bin", "PGHOST": str(postgres_server.socket),
        "PGPASSWORD": postgres_server.admin_password, "POSTGRES_DB": name, "SERVICE_LOGIN_PASSWORD": PASSWORD,
    }  # fmt: skip
    try:
        subprocess.run(["/bin/sh", "-c", script], env=environment, check=True)
        yield name
    finally:
        postgres_server.drop(name)
        with postgres_server.admin() as connection:
            connection.execute("DROP ROLE IF EXISTS zc_deployed")


def filled_in(server: PostgresServer, database: str, home: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Return the environments of a service and of what migrates, out of the examples as a person fills them in."""

    def put(text: str, password: str) -> str:
        here = text.replace("PASSWORD", password).replace("/var/run/postgresql", str(server.socket))
        return here.replace("/securecontext?", f"/{database}?").replace("zc_service", "zc_deployed")

    service = values("service.env.example")
    service = {name: put(value, PASSWORD) for name, value in service.items() if value}
    admin = values("admin.env.example")
    admin = {name: put(value, server.admin_password) for name, value in admin.items() if value}
    base = {
        "PATH": os.environ["PATH"], "HOME": str(home), "TMPDIR": os.environ["TMPDIR"], "ZC_HOME": str(home / "zc"),
        "XDG_RUNTIME_DIR": os.environ["XDG_RUNTIME_DIR"], "ZC_SECRET_RULES": "own", "ZC_IDLE_MINUTES": "525600",
    }  # fmt: skip
    return base | service, base | service | admin


def test_a_service_is_set_up_as_the_compose_file_does_and_says_how_it_is(
    postgres_server: PostgresServer, database: str, tmp_path: Path
) -> None:
    service, admin = filled_in(postgres_server, database, tmp_path)
    command = [sys.executable, "-I", "-m", "securecontext"]
    for _ in range(2):  # each start of compose runs it again
        done = subprocess.run(
            [*command, "db", "migrate"], env=admin, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    assert "zc_deployed" in done.stdout
    with socket.create_server(("127.0.0.1", 0)) as taken:
        service["ZC_HTTP_PORT"] = str(taken.getsockname()[1])
    away, said = is_well(service)
    assert away == 1 and "no answer" in said
    running = subprocess.Popen(SERVE, env=service, cwd=tmp_path)
    try:
        wait_until(lambda: is_well(service)[0] == 0 or running.poll() is not None, "the service to be well")
        code, said = is_well(service)
        assert (code, json.loads(said)["status"]) == (0, "ok")
        with psycopg.connect(service["ZC_POSTGRES_URL"]) as connection:
            assert connection.execute("SELECT count(*) FROM securecontext.facts").fetchone() == (0,)
        postgres_server.drop(database)
        wait_until(lambda: is_well(service)[0] == 1, "the loss of the database to be told")
        assert "degraded" in is_well(service)[1]
    finally:
        running.terminate()
        running.wait(30)
