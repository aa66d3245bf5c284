"""Requests made from the OpenAPI document, sent to a real service: what schemathesis finds wrong with the answers.

No answer may be a 500 or a status that the document does not name, none may differ from its schema, and no route may
answer without a token. `make test` sends a few requests to every route; ``python -m tests.openapi_attack`` also goes
along the borders of every schema, as the user's programs and as an orchestrator, which takes minutes.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from tests.acceptance.http_service import HttpService, http_service

NOT_ASKED = "positive_data_acceptance,negative_data_rejection,unsupported_method"
"""Checks that hold a schema for all there is to say: whether a project exists, a lock is held, a text is a secret."""
PATIENCE = 90
"""Seconds for one answer; a call may wait a minute for what it asks for."""
MANY = "1000000"
ENDLESS = "/api/v1/events"
"""A stream has no end to wait for; `test_http_events` asks it."""


def attack(
    service: HttpService, *arguments: str, headers: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run schemathesis against a service.

    Args:
        service: whom.
        arguments: how much of it.
        headers: sent with each request.
    """
    command = [
        Path(sys.executable).with_name("st"),
        "run",
        f"{service.url}/openapi.json",
        "--no-color",
        *arguments,
    ]
    command += ["--exclude-checks", NOT_ASKED, "--suppress-health-check", "all", "--seed", "2"]
    command += [
        "--request-timeout",
        str(PATIENCE),
        "--generation-database",
        "none",
        "--exclude-path",
        ENDLESS,
    ]
    for name, value in headers.items():
        command += ["-H", f"{name}: {value}"]
    with tempfile.TemporaryDirectory() as empty:  # its settings and its reports would lie here
        return subprocess.run(command, cwd=empty, capture_output=True, text=True, check=False)


def main() -> int:
    """Attack with every phase; print what was found."""
    with (
        tempfile.TemporaryDirectory() as folder,
        http_service(Path(folder) / "service", ZC_CALLS_PER_SECOND=MANY) as service,
    ):
        done = attack(
            service, "--phases", "examples,coverage,fuzzing", "--max-examples", "20", headers=service.headers
        )
    print(done.stdout, done.stderr, sep="\n")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
