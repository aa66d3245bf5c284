"""Users of the real client: one for a module's tests, each in its own project; one for a test that breaks things."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import engine
from tests.acceptance.claude_client import program
from tests.acceptance.installed import User, user
from tests.acceptance.service_case import world  # noqa: F401 - found by its name here

_numbers = itertools.count()


@pytest.fixture(scope="session")
def claude(request: pytest.FixtureRequest) -> Path:
    """The client's program, or a loud skip."""
    return program(lambda: request.getfixturevalue("tools"))


@pytest.fixture(scope="module")
def settled(claude: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[User]:
    """A user with the plugin installed, for all tests of a module."""
    with engine.address() as url, user(tmp_path_factory.mktemp("settled"), claude, url) as someone:
        yield someone


@pytest.fixture
def dev(settled: User) -> User:
    """The module's user in a project that no other test has seen."""
    return settled.at(f"project{next(_numbers)}")


@pytest.fixture
def alone(claude: Path, tmp_path: Path) -> Iterator[User]:
    """A user of this test alone, with the plugin installed."""
    with engine.address() as url, user(tmp_path, claude, url) as someone:
        yield someone
