"""Fifty sessions at once: each calling once a second, and each as fast as it can."""

from __future__ import annotations

import random
import select
import sqlite3
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from bench.calls import TOOLS
from bench.figures import Figure, median, percentile
from bench.home import Home
from bench.session import Lost, Session, session
from securecontext.rpc.client import Client

SESSIONS = 50
MIX = ("zc_remember", "zc_remember", "zc_remember", "zc_search", "zc_recall_context", "zc_status")


@dataclass(slots=True)
class Seen:
    """What a run saw: milliseconds of each answer, the keys that were acknowledged, the answers that were errors."""

    took: list[float] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)
    errors: list[str] = field(default_factory=list)


@contextmanager
def crowd(at: Home, size: int) -> Iterator[list[Session]]:
    """Yield so many sessions, each an agent of its own, that have shaken hands."""
    with ExitStack() as stack:
        yield [stack.enter_context(session(at, f"agent-{number}")) for number in range(size)]


def paced(sessions: list[Session], seconds: float, chance: random.Random) -> Seen:
    """Let each session call once a second, at a moment of its own within the second."""
    seen = Seen()
    start = time.perf_counter() + 0.2
    due = [start + number / len(sessions) for number in range(len(sessions))]
    sent: dict[int, float] = {}
    by_pipe = {one.out: number for number, one in enumerate(sessions)}
    end = start + seconds
    count = 0
    while sent or min(due) < end:
        moment = time.perf_counter()
        for number, one in enumerate(sessions):
            if due[number] <= moment and due[number] < end and number not in sent:
                tool = MIX[count % len(MIX)]
                count += 1
                sent[number] = time.perf_counter()
                one.send("tools/call", {"name": tool, "arguments": TOOLS[tool][0](chance, count)})
                due[number] += 1.0
        waiting = [d for n, d in enumerate(due) if n not in sent and d < end]
        pause = max(0.0, min(waiting) - time.perf_counter()) if waiting else 1.0
        for pipe in select.select(list(by_pipe), [], [], pause)[0]:
            number = by_pipe[pipe]
            for answer in sessions[number].receive():
                seen.took.append((time.perf_counter() - sent.pop(number)) * 1000)
                if answer.get("result", {}).get("isError", True):
                    seen.errors.append(str(answer)[:300])
    return seen


def rush(sessions: list[Session], seconds: float) -> Seen:
    """Let each session send its next ``zc_remember`` as soon as the last one is answered."""
    seen = Seen()
    by_pipe = {one.out: number for number, one in enumerate(sessions)}
    sent: dict[int, tuple[float, str]] = {}

    def send(number: int, turn: int) -> None:
        key = f"rush-{number}-{turn}"
        sent[number] = (time.perf_counter(), key)
        given = {"key": key, "value": f"session {number} was here for the {turn}th time", "importance": 2}
        sessions[number].send("tools/call", {"name": "zc_remember", "arguments": given})

    end = time.perf_counter() + seconds
    turns = [0] * len(sessions)
    for number in range(len(sessions)):
        send(number, 0)
    while sent:
        ready = select.select(list(by_pipe), [], [], 60)[0]
        if not ready:
            raise Lost(f"{len(sent)} answers did not come")
        for pipe in ready:
            number = by_pipe[pipe]
            for answer in sessions[number].receive():
                begun, key = sent.pop(number)
                seen.took.append((time.perf_counter() - begun) * 1000)
                if answer.get("result", {}).get("isError", True):
                    seen.errors.append(str(answer)[:300])
                else:
                    seen.keys.add(key)
                if time.perf_counter() < end:
                    turns[number] += 1
                    send(number, turns[number])
    return seen


def missing(at: Home, keys: set[str]) -> int:
    """Return how many acknowledged keys no row of the store holds."""
    stored: set[str] = set()
    for path in (at.data / "projects").glob("*.db"):
        connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
        try:
            stored |= {str(row[0]) for row in connection.execute("SELECT key FROM facts")}
        finally:
            connection.close()
    return len(keys - stored)


def verdict(at: Home) -> dict[str, object]:
    """Return what the ledger's verifier says of the project."""
    client = Client(str(at.data), str(at.project))
    try:
        return client.call("audit.verify", {}).structured
    finally:
        client.close()


def measure(at: Home, seconds: float, chance: random.Random, insert: tuple[float, str]) -> list[Figure]:
    """Return the figures of a crowd.

    Args:
        at: where the service runs.
        seconds: of each of the two runs.
        chance: for the arguments.
        insert: milliseconds of a bare durable insert, and its name.
    """
    with crowd(at, SESSIONS) as sessions:
        calm = paced(sessions, seconds * 2, chance)
        full = rush(sessions, seconds)
    lost = missing(at, full.keys)
    said = verdict(at)
    middle = median(full.took)
    for error in (calm.errors + full.errors)[:5]:
        print("  error:", error)
    return [
        Figure("50 sessions, a call a second each: median", median(calm.took), "ms", None, *insert),
        Figure("50 sessions, a call a second each: p99", percentile(calm.took, 0.99), "ms", 50),
        Figure("50 sessions, a call a second each: errors", len(calm.errors), "calls", 0),
        Figure("50 sessions as fast as they can: `zc_remember` a second", len(full.took) / seconds, "1/s", None,
               1000 / insert[0], insert[1]),
        Figure("50 sessions as fast as they can: median wait", middle, "ms"),
        Figure("50 sessions as fast as they can: longest wait against the median", max(full.took) / middle, "times", 3),
        Figure("50 sessions as fast as they can: acknowledged and not in the store", lost, "calls", 0),
        Figure("50 sessions as fast as they can: errors", len(full.errors), "calls", 0),
        Figure("ledger afterwards: verdicts other than OK", int(said["status"] != "OK"),
               "verdicts", 0, note=f"{said['entries']} entries in {said['streams']} streams: {said['status']}"),
    ]  # fmt: skip
