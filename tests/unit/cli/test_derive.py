"""Commands that derive from the catalogue: which of them ask before they act."""

from __future__ import annotations

import inspect
from typing import get_args

import pytest
from typer.testing import CliRunner

from securecontext.cli.derive import command_of
from securecontext.cli.main import app
from securecontext.pipeline.operation import CATALOGUE


@pytest.mark.parametrize("words", [["merge", "one", "two"], ["delete", "one"]])
def test_what_ends_a_project_asks_before_it_calls_the_service(words: list[str]) -> None:
    done = CliRunner().invoke(app, ["project", *words])
    assert done.exit_code == 2 and "not_confirmed" in done.output and "--yes" in done.output


def test_an_object_that_is_not_json_is_refused_before_the_service_is_called() -> None:
    done = CliRunner().invoke(app, ["queue", "enqueue", "t", "worker", "nonsense"])
    assert done.exit_code == 2 and "malformed_json" in done.output


@pytest.mark.parametrize(("option", "kind"), [("task_dependencies", list[int]), ("files", list[str])])
def test_a_list_is_parsed_as_what_it_is_a_list_of(option: str, kind: object) -> None:
    parameters = inspect.signature(command_of(CATALOGUE["zc_broadcast"])).parameters
    assert get_args(parameters[option].annotation)[0] == kind | None  # type: ignore[operator]
