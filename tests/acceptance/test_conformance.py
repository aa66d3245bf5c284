"""The official conformance suite against `/mcp` of the real service: the scenarios that fit what it offers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.http_service import HttpService, http_service
from tests.acceptance.token_proxy import token_proxy
from tests.tools import Tools

COMPOSITION = (sys.executable, str(Path(__file__).parent / "conformance_service.py"))
SCENARIOS = {
    "server-initialize": 1,
    "ping": 1,
    "tools-list": 1,
    "tools-call-simple-text": 1,
    "tools-call-error": 1,
    "json-schema-2020-12": 4,
    "dns-rebinding-protection": 2,
    "server-sse-multiple-streams": 2,
}
"""Scenario and how many of its checks succeed: one that is silently left out shows."""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpService]:
    with http_service(tmp_path_factory.mktemp("conformance"), COMPOSITION) as running:
        yield running


def run_scenario(
    service: HttpService, tools: Tools, folder: Path, name: str, headers: dict[str, str] | None = None
) -> list[dict[str, Any]]:
    """Run one scenario; return its checks. The suite itself must say that none failed."""
    with token_proxy(service.port, service.headers | (headers or {})) as url:
        done = subprocess.run(
            [
                tools.node,
                tools.conformance,
                "server",
                "--url",
                f"{url}/mcp",
                "--scenario",
                name,
                "-o",
                folder,
            ],
            env={"PATH": os.environ["PATH"], "HOME": str(folder)},
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    (file,) = folder.glob("**/checks.json")
    checks: list[dict[str, Any]] = json.loads(file.read_text("utf-8"))
    return checks


def told(checks: list[dict[str, Any]]) -> dict[str, str]:
    """Return the verdict of each check that has one."""
    return {check["id"]: check["status"] for check in checks if check["status"] != "INFO"}


@pytest.mark.parametrize(("name", "succeed"), SCENARIOS.items(), ids=SCENARIOS)
def test_scenario(service: HttpService, tools: Tools, tmp_path: Path, name: str, succeed: int) -> None:
    checks = run_scenario(service, tools, tmp_path, name)
    assert Counter(told(checks).values()) == {"SUCCESS": succeed}, json.dumps(checks, indent=1)


def test_server_sse_polling(service: HttpService, tools: Tools, tmp_path: Path) -> None:
    """The scenario agrees on 2025-11-25 and then calls without that version in its header, which is told here.

    A client says the version that was agreed on in each request; with that, every check succeeds: the stream is
    primed, says when to come back, is closed in the middle of the call, and is resumed.
    """
    agreed = {"Mcp-Protocol-Version": "2025-11-25"}
    checks = run_scenario(service, tools, tmp_path, "server-sse-polling", agreed)
    assert told(checks) == {
        "server-sse-priming-event": "SUCCESS",
        "server-sse-retry-field": "SUCCESS",
        "server-sse-disconnect-resume": "SUCCESS",
    }, json.dumps(checks, indent=1)


def test_server_sse_polling_as_a_client_of_an_older_version(
    service: HttpService, tools: Tools, tmp_path: Path
) -> None:
    """As it is, the scenario calls as a client of 2025-03-26, which could not read a priming event.

    So it gets none, its stream stays open until the answer is there, and the suite warns of what it recommends.
    """
    checks = run_scenario(service, tools, tmp_path, "server-sse-polling")
    assert told(checks) == {"server-sse-priming-event": "WARNING", "server-sse-retry-field": "WARNING"}
    (closed,) = [check for check in checks if check["id"] == "stream-closed"]
    assert closed["details"]["receivedToolResponse"] is True
