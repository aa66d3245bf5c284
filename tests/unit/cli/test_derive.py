"""Commands that derive from the catalogue: which of them ask before they act."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from securecontext.cli.main import app


@pytest.mark.parametrize("words", [["merge", "one", "two"], ["delete", "one"]])
def test_what_ends_a_project_asks_before_it_calls_the_service(words: list[str]) -> None:
    done = CliRunner().invoke(app, ["project", *words])
    assert done.exit_code == 2 and "not_confirmed" in done.output and "--yes" in done.output
