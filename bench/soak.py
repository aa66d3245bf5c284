"""``python -m bench.soak [--minutes N]``: sessions that call all the time while the service is killed again and again.

At the end every acknowledged fact is in the store, the ledger verifies, and no service has grown. Then a ledger of a
million entries is made and verified. What a session saw as
an error is told; a call during a kill is slower, never lost. Exit code 1 if any of this does not hold.
"""

from __future__ import annotations

import argparse
import random
import sys
import threading
import time
from dataclasses import dataclass, field

from bench import ledger
from bench.crowd import missing, verdict
from bench.figures import Figure, as_table, median, percentile
from bench.home import Home, home, memory_mib
from bench.session import Lost, Session, session
from bench.texts import question, sentence
from securecontext.rendezvous import ServiceAway

SESSIONS = 12
KILL_EVERY = (4.0, 9.0)
"""Seconds between kills: at random within these."""
QUIET_END = 0.3
"""The last part of the time is without kills; in its second half the service must have stopped growing."""


@dataclass(slots=True)
class Log:
    """What the sessions saw, all together."""

    took: list[float] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)
    errors: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


def work(at: Home, number: int, end: float, log: Log) -> None:
    """Be one agent, over several sessions, until the end."""
    chance = random.Random(number)
    count = 0
    while time.monotonic() < end:
        try:
            with session(at, f"agent-{number}") as one:
                for _ in range(chance.randint(50, 400)):
                    if time.monotonic() >= end:
                        return
                    count += 1
                    _call(one, f"soak-{number}-{count}", chance, log)
        except (Lost, OSError) as error:
            with log.lock:
                log.errors.append(f"session {number}: {error}"[:300])


def _call(one: Session, key: str, chance: random.Random, log: Log) -> None:
    if chance.random() < 0.7:
        took = one.timed(
            "zc_remember", {"key": key, "value": sentence(chance), "importance": chance.randint(1, 5)}
        )
        with log.lock:
            log.keys.add(key)
            log.took.append(took)
        return
    tool, given = chance.choice(
        [("zc_search", {"queries": [question(chance)]}), ("zc_recall_context", {}), ("zc_status", {})]
    )
    took = one.timed(tool, given)
    with log.lock:
        log.took.append(took)


def soak(minutes: float) -> list[Figure]:
    """Return the figures of so many minutes."""
    log = Log()
    chance = random.Random()
    kills = 0
    quiet = QUIET_END * minutes * 60
    grown: list[float] = []
    with home() as at:
        at.start()
        end = time.monotonic() + minutes * 60
        agents = [threading.Thread(target=work, args=(at, number, end, log)) for number in range(SESSIONS)]
        for each in agents:
            each.start()
        while (left := end - time.monotonic()) > 0:
            if left <= quiet:
                if left <= quiet / 2:
                    grown.append(_memory(at))
                time.sleep(min(left, 1.0))
                continue
            time.sleep(min(left - quiet, chance.uniform(*KILL_EVERY)))
            at.kill()
            kills += 1
            print(
                f"  {left:4.0f} s left, {kills} kills, {len(log.keys)} facts acknowledged",
                file=sys.stderr,
                flush=True,
            )
        for each in agents:
            each.join()
        lost, said = missing(at, log.keys), verdict(at)
        last = _memory(at)
    for error in log.errors[:10]:
        print("  error:", error, file=sys.stderr)
    return [
        Figure("minutes", minutes, "min"),
        Figure("kills of the service (SIGKILL)", kills, "kills"),
        Figure("calls answered", len(log.took), "calls"),
        Figure("median of a call", median(log.took), "ms"),
        Figure("p99 of a call, those during a restart among them", percentile(log.took, 0.99), "ms"),
        Figure("longest call", max(log.took), "ms"),
        Figure("calls that ended in an error", len(log.errors), "calls", 0),
        Figure("facts acknowledged", len(log.keys), "facts"),
        Figure("acknowledged and not in the store", lost, "facts", 0),
        Figure("ledger: verdicts other than OK", int(said["status"] != "OK"), "verdicts", 0,
               note=f"{said['entries']} entries in {said['streams']} streams: {said['status']}"),
        Figure("service's memory at the end", last, "MiB", 180),
        Figure(f"its growth in the last {quiet / 2:.0f} seconds", max(0.0, last - min(grown or [last])), "MiB", 20),
    ]  # fmt: skip


def _memory(at: Home) -> float:
    try:
        return memory_mib(at.pid())[0]
    except (OSError, KeyError, ServiceAway):
        return 0.0


def main() -> int:
    """Run the soak; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=5.0)
    figures = soak(parser.parse_args().minutes)
    print(as_table([("Soak", figures)]), flush=True)
    with home() as at:
        large = ledger.measure(at, ledger.MILLION, random.Random(20_26))
    print(as_table([("A ledger of a million entries", large)]))
    figures += large
    return 1 if any(figure.met is False for figure in figures) else 0


if __name__ == "__main__":
    sys.exit(main())
