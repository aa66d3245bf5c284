"""Users of the real client: one for a module's tests, each in its own project; one for a test that breaks things."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest

from tests.acceptance.claude_client import program
from tests.acceptance.installed import User, user
from tests.acceptance.service_case import world  # noqa: F401 - found by its name here
from tests.engines.fixtures import ready_database

_numbers = itertools.count()
ENGINE = os.environ.get("E2E_ENGINE", "sqlite")
"""Asked once: tests have an environment of their own."""


@pytest.fixture(scope="session")
def claude(request: pytest.FixtureRequest) -> Path:
    """The client's program, or a loud skip."""
    return program(lambda: request.getfixturevalue("tools"))


@pytest.fixture(scope="session")
def postgres_addresses(request: pytest.FixtureRequest) -> Callable[[], AbstractContextManager[str]]:
    """Give addresses of databases where users' data is to lie in PostgreSQL (`make e2e-postgres`), else empty ones."""
    if ENGINE == "sqlite":
        return lambda: nullcontext("")
    server, template = (request.getfixturevalue(name) for name in ("postgres_server", "_ready_template"))
    return lambda: ready_database(server, template)


@pytest.fixture(scope="module")
def settled(
    claude: Path,
    tmp_path_factory: pytest.TempPathFactory,
    postgres_addresses: Callable[[], AbstractContextManager[str]],
) -> Iterator[User]:
    """A user with the plugin installed, for all tests of a module."""
    with postgres_addresses() as url, user(tmp_path_factory.mktemp("settled"), claude, url) as someone:
        yield someone


@pytest.fixture
def dev(settled: User) -> User:
    """The module's user in a project that no other test has seen."""
    return settled.at(f"project{next(_numbers)}")


@pytest.fixture
def alone(
    claude: Path, tmp_path: Path, postgres_addresses: Callable[[], AbstractContextManager[str]]
) -> Iterator[User]:
    """A user of this test alone, with the plugin installed."""
    with postgres_addresses() as url, user(tmp_path, claude, url) as someone:
        yield someone
