"""The chain does not fork, however many write at once: threads of one service, and two services on one file."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from securecontext.app import App
from securecontext.boundaries.policy import Standing
from securecontext.pipeline.callers import Caller, introduce
from securecontext.settings import Settings

WRITERS, EACH = 8, 20


def caller(app: App, project: Path, session: str) -> Caller:
    headers = {"project-path": str(project), "session": session}
    return introduce(app, Standing.AGENT, "mcp", 1000, headers)


@pytest.mark.parametrize("apps", [1, 2], ids=["one service", "two services"])
@pytest.mark.parametrize("sessions", [1, WRITERS], ids=["one stream", "a stream each"])
def test_w_01_concurrent_writers_do_not_fork_the_chain(tmp_path: Path, apps: int, sessions: int) -> None:
    home = tmp_path / "zc"
    home.mkdir(mode=0o700)
    project = tmp_path / "project"
    project.mkdir()
    made = [App(Settings(home=home, user_home=tmp_path)) for _ in range(apps)]
    first = caller(made[0], project, "s0")
    assert first.call(made[0].corridor, "zc_remember", {"key": "first", "value": "v"}).error is None
    failures: list[object] = []

    def write(number: int) -> None:
        app = made[number % apps]
        who = caller(app, project, f"s{number % sessions}")
        for turn in range(EACH):
            done = who.call(app.corridor, "zc_remember", {"key": f"{number}-{turn}", "value": "v"})
            if done.error is not None:
                failures.append(done.error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(WRITERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert first.project is not None
    with made[0].store(first.project.id).read() as connection:
        verdict = made[0].ledgers.verify(connection)
        entries, streams = made[0].ledgers.size(connection)
    assert verdict.status == "OK", verdict
    assert entries >= WRITERS * EACH + 1
    assert streams >= sessions
    for app in made:
        app.close()
