"""The ledger alone: how many entries a second a project's store takes, each durable before it is acknowledged."""

from __future__ import annotations

import threading
import time

from bench.figures import Figure
from bench.home import Home
from securecontext.app import App
from securecontext.settings import Settings
from securecontext.types.ids import new_id
from securecontext.types.ledger import EntryDraft

WRITERS = 16


def _rate(app: App, project: str, threads: int, seconds: float) -> float:
    done = [0] * threads
    end = time.perf_counter() + seconds

    def work(number: int) -> None:
        draft = EntryDraft(
            "uid:0",
            f"bench-{number}",
            "",
            "call",
            {"operation": "zc_status", "arguments": {}, "outcome": "ok"},
        )
        store = app.store(project)
        while time.perf_counter() < end:
            store.write(lambda transaction: transaction.record(draft))
            done[number] += 1

    begun = time.perf_counter()
    running = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    for each in running:
        each.start()
    for each in running:
        each.join()
    return sum(done) / (time.perf_counter() - begun)


def measure(at: Home, seconds: float, insert: tuple[float, str]) -> list[Figure]:
    """Return the appends a second of one writer and of many, in process, on a store of their own."""
    folder = at.root / "appends"
    folder.mkdir(mode=0o700)
    app = App(Settings(home=folder, user_home=at.root))
    project = new_id("prj")
    floor = 1000 / insert[0]
    try:
        return [
            Figure("appends by one caller", _rate(app, project, 1, seconds), "1/s", None, floor, insert[1]),
            Figure(
                f"appends by {WRITERS} callers", _rate(app, project, WRITERS, seconds), "1/s", None, floor, insert[1],
                note="they share commits: those who wait are acknowledged together",
            ),
        ]  # fmt: skip
    finally:
        app.close()
