"""The archive of done tasks that docs/scaling.md proposes: its statements, as they stand there, on a real database."""

from __future__ import annotations

import re
from pathlib import Path

import psycopg
import pytest

from tests.engines.fixtures import admin_of
from tests.house.source import REPOSITORY
from tests.house_case import PERSON, House, make_house


@pytest.fixture
def statements() -> tuple[str, str]:
    """What is done once, and what from time to time."""
    text = (REPOSITORY / "docs" / "scaling.md").read_text(encoding="utf-8")
    once, again = re.findall(r"```sql\n(.*?)```", text, re.DOTALL)
    return once, again


def done(house: House, task: str) -> None:
    (claimed,) = house.do("zc_claim_task", PERSON, role="worker")["claims"]
    assert claimed["task_id"] == task
    given = {"role": "worker", "task_id": task, "fence": claimed["fence"], "result": {"of": task}}
    house.do("zc_complete_task", PERSON, **given)


def test_done_tasks_move_away_with_their_results_and_the_queue_goes_on(
    tmp_path: Path, service_url: str, statements: tuple[str, str]
) -> None:
    house = make_house(tmp_path / "house", service_url)
    try:
        for task in ("first", "second", "open"):
            house.do("zc_enqueue_task", PERSON, task_id=task, role="worker", payload={})
        done(house, "first")
        done(house, "second")
        once, again = statements
        with psycopg.connect(admin_of(service_url), autocommit=True) as superuser:
            superuser.execute(once.encode())
            for _ in range(2):  # what is there already is not moved twice
                superuser.execute(again.replace("2026-12-01", "2999-01-01").encode())
            moved = superuser.execute(
                "SELECT task_id, result FROM securecontext_archive.tasks ORDER BY 1"
            ).fetchall()
            left = superuser.execute("SELECT count(*) FROM securecontext.task_results").fetchone()
        assert moved == [("first", '{"of":"first"}'), ("second", '{"of":"second"}')]
        assert left == (0,)
        stats = house.do("zc_queue_stats", PERSON)
        assert (stats["queued"], stats["done"]) == (1, 0)
        done(house, "open")
        assert house.do("zc_enqueue_task", PERSON, task_id="first", role="worker", payload={})["inserted"]
    finally:
        house.app.close()
