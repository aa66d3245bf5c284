"""The HTTP door answers what its OpenAPI document says, whatever it is sent."""

from __future__ import annotations

import re
from pathlib import Path

from tests.acceptance.http_service import http_service
from tests.openapi_attack import ENDLESS, MANY, attack


def test_no_request_made_from_the_document_is_answered_otherwise_than_it_says(tmp_path: Path) -> None:
    with http_service(tmp_path / "service", ZC_CALLS_PER_SECOND=MANY) as service:
        document = service.client().get("/openapi.json").json()
        routes = sum(len(methods) for path, methods in document["paths"].items() if path != ENDLESS)
        done = attack(service, "--phases", "examples,fuzzing", "--max-examples", "1", headers=service.headers)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"Tested: {routes}" in done.stdout
    sent = re.search(r"(\d+) generated, \1 passed", done.stdout)
    assert sent is not None and int(sent[1]) > routes, done.stdout
