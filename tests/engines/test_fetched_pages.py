"""Pages of the web on both engines; in PostgreSQL on the login of services, where each row is for who acts there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import text

from securecontext.boundaries.policy import Principal
from securecontext.boundaries.sight import actor_of
from securecontext.storage import acting
from tests.boundaries.test_agents_apart_in_the_database import ALICE, BOB, Case, count, refused
from tests.engines.fixtures import ENGINES
from tests.house_case import make_house
from tests.web_case import Server, WebHouse, moved, page, serving


@pytest.fixture(params=ENGINES)
def web(request: pytest.FixtureRequest, tmp_path: Any) -> Iterator[WebHouse]:
    url = request.getfixturevalue("service_url") if request.param == "postgres" else None
    made = WebHouse(make_house(tmp_path / "house", url))
    yield made
    made.house.app.close()


@pytest.fixture
def server(web: WebHouse) -> Iterator[Server]:
    with serving() as made:
        web.allow(f"*.fetch-case.org:{made.port}")
        yield made


def fetch(web: WebHouse, who: Principal, url: str) -> dict[str, Any]:
    web.clock.now += 60
    return web.house.do("zc_fetch", who, url=url)


def test_agents_fetch_count_and_replace_pages_of_one_project(web: WebHouse, server: Server) -> None:
    server.answers |= {"/a": page("wombats dig", headers=['ETag: "1"']), "/gone": page("", status="404 No")}
    server.answers["/away"] = moved("http://elsewhere.example.net/")
    first = fetch(web, ALICE, server.url("/a"))
    server.answers["/a"] = page("", status="304 Not Modified")
    again = fetch(web, BOB, server.url("/a"))
    assert (again["unchanged"], again["sha256"], again["left_today"]) == (True, first["sha256"], 48)
    server.answers["/a"] = page("quokkas smile")
    assert fetch(web, BOB, server.url("/a"))["unchanged"] is False
    assert [hit["trust"] for hit in web.house.search("quokkas", who=ALICE)] == ["external"]
    assert web.house.search("wombats", who=ALICE) == []
    for path in ("/gone", "/away"):
        web.refused(server.url(path))
    assert web.left() == 47, "what did not come is not counted"
    assert web.house.sql("SELECT created_by FROM fetched_pages") == [(BOB.name,)]
    assert {each["principal"] for each in web.sent()} >= {ALICE.name, BOB.name}


def test_another_project_has_rules_pages_and_a_budget_of_its_own(web: WebHouse, server: Server) -> None:
    server.answers["/a"] = page("wombats dig")
    fetch(web, ALICE, server.url("/a"))
    elsewhere, given = web.house.fresh_project("other"), {"url": server.url("/a")}
    answer = web.house.ask("zc_fetch", given, who=ALICE, project=elsewhere)
    assert answer.error is not None and answer.error.code == "url_port", "no rule opens it there"
    web.allow(f"*.fetch-case.org:{server.port}", machine=True)
    web.clock.now += 60
    answer = web.house.ask("zc_fetch", given, who=BOB, project=elsewhere)
    assert answer.error is None and answer.structured is not None, answer.text
    assert answer.structured["left_today"] == 49


@pytest.mark.parametrize("web", ["postgres"], indirect=True)
def test_in_the_database_pages_are_for_who_keeps_texts_of_the_project(
    web: WebHouse, server: Server, service_url: str
) -> None:
    server.answers["/a"] = page("wombats dig")
    fetch(web, BOB, server.url("/a"))
    case = Case(web.house, service_url)
    for table in ("fetched_pages", "fetch_budgets"):
        whole = f"SELECT count(*) FROM {table}"
        with case.as_(case.alice(acting.KEEP)) as connection:
            assert count(connection, whole) == 1
        with case.as_(case.alice()) as connection:
            assert count(connection, whole) == 0, "no other call has a use for them"
            assert connection.execute(text(f"DELETE FROM {table}")).rowcount == 0
        with case.as_(actor_of(BOB, "prj_other", acting.KEEP), "prj_other") as connection:
            assert count(connection, whole) == 0
    columns = "url_digest, url, source, etag, last_modified, content_digest, text_digest, flags, fetched_at, created_by"
    for project, by in ((":here", BOB.name), ("'prj_other'", ALICE.name)):
        with case.as_(case.alice(acting.KEEP)) as connection:
            values = f"{project}, 'd', 'u', 's', '', '', 'c', 't', '{{}}', 'now', '{by}'"
            refused(connection, f"INSERT INTO fetched_pages (project, {columns}) VALUES ({values})", case)
    with case.as_(case.alice(acting.KEEP)) as connection:
        refused(connection, "INSERT INTO fetch_budgets VALUES ('prj_other', '2026-03-01', 0)", case)
