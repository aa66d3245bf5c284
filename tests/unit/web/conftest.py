"""One house with a web of its own for the tests of a module; each test has its own servers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.house_case import House, make_house
from tests.web_case import Server, WebHouse, serving


@pytest.fixture(scope="module")
def shared_house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    made = make_house(tmp_path_factory.mktemp("web") / "house")
    yield made
    made.app.close()


@pytest.fixture(scope="module")
def web(shared_house: House) -> WebHouse:
    return WebHouse(shared_house)


@pytest.fixture
def server(web: WebHouse) -> Iterator[Server]:
    with serving() as made:
        web.names.said.clear()
        web.allow(f"*.fetch-case.org:{made.port}")
        web.house.sql_write("DELETE FROM fetch_budgets")
        yield made
