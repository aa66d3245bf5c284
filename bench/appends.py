"""The ledger alone: how many entries a second a project's store takes, each durable before it is acknowledged."""

from __future__ import annotations

import threading
import time

from bench.figures import Figure
from bench.floors import raw_chain
from bench.home import Home
from securecontext.app import App
from securecontext.settings import Settings
from securecontext.types.ids import new_id
from securecontext.types.ledger import EntryDraft

WRITERS = 50


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
    one_by_one = 1000 / insert[0]
    raw = raw_chain(at.root, seconds, WRITERS)
    raw_is = f"raw inserts with HMAC, {WRITERS} a commit"
    try:
        alone = _rate(app, project, 1, seconds)
        many = _rate(app, project, WRITERS, seconds)
    finally:
        app.close()
    return [
        Figure("appends by one caller", alone, "1/s", None, one_by_one, insert[1]),
        Figure(
            f"appends by {WRITERS} callers", many, "1/s", 4_000, raw, raw_is, at_least=True,
            note="they share commits: those who wait are acknowledged together",
        ),
        Figure("the same against the raw inserts", many / raw, "times", 0.5, at_least=True),
    ]  # fmt: skip
