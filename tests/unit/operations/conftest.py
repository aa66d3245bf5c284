"""The house for these tests; those of memory, archive and access are held to the same on each engine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.engines.fixtures import ENGINES
from tests.house_case import House, make_house

ON_EACH = ("test_access", "test_archives", "test_knowledge", "test_memory")
OF_FILES = (
    "test_a_hit_in_another_project_is_read_by_its_own_id_and_no_other",  # each file numbers its rows by itself
    "test_one_broken_project_is_named_and_does_not_spoil_the_rest",
    "test_w_40_no_byte_of_a_forgotten_value_stays_on_the_disk",
    "test_w_40_what_another_program_keeps_in_the_log_leaves_it_with_the_next_write",
)
"""What these tests say holds of files: a database server's disk is not ours to look at."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test on every engine of which it speaks."""
    if "engine_name" in metafunc.fixturenames:
        each = metafunc.module.__name__.endswith(ON_EACH) and metafunc.function.__name__ not in OF_FILES
        metafunc.parametrize("engine_name", ENGINES if each else ENGINES[:1])


@pytest.fixture
def house(engine_name: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[House]:
    """A house on an engine."""
    url = request.getfixturevalue("service_url") if engine_name == "postgres" else None
    made = make_house(tmp_path / "house", url)
    yield made
    made.app.close()
