"""``python -m bench``: measure, print, and write ``docs/bench.md`` and ``bench/out/bench.json``.

``--quick`` measures a tenth of it in half a minute and writes ``bench/out`` alone; ``--queue`` measures the work queue
alone and puts that into the page in the place of what stands there. A missed target is told and does
not fail the run: it says what this machine did at this moment.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from bench import (
    appends,
    calls,
    crowd,
    floors,
    http_queue,
    ledger,
    queues,
    redaction,
    sandbox,
    startup,
    web,
)  # fmt: skip
from bench.figures import Figure, as_table, machine, median, write_json
from bench.home import home
from bench.session import session
from bench.texts import question
from securecontext import __version__

HERE = Path(__file__).resolve().parent
QUEUE = "The work queue"
INTRODUCTION = """# What it costs

Written by `make bench`; the numbers are those of one run on one machine, with a floor measured in the same run: what
the bare minimum costs there at that moment. Data folders and projects are temporary ones, the service speaks to nobody
but the bench, and calls go through the real shim as JSON-RPC lines. A call counts from the request's first byte to the
answer's last, when its entry in the ledger is durable (`synchronous=FULL`).
"""


def run(quick: bool) -> list[tuple[str, list[Figure]]]:
    """Return every figure, by group."""
    chance = random.Random(20_26)
    entries, times, seconds = (1_000, 40, 2.0) if quick else (10_000, 300, 8.0)
    groups: list[tuple[str, list[Figure]]] = []

    def note(title: str, figures: list[Figure]) -> None:
        groups.append((title, figures))
        print(as_table([(title, figures)]), file=sys.stderr, flush=True)

    note("Starts", startup.measure(5 if quick else 20))
    note("Sandbox", sandbox.measure(10 if quick else 50))
    with home() as at:
        at.start()
        insert = (median(floors.raw_inserts(at.root, times)), "raw insert, `synchronous=FULL`")
        texts, rate = calls.fill(at, entries, chance)
        asked = [question(chance) for _ in range(times)]
        searched = (median(floors.raw_search(at.root, texts, asked)), "plain FTS5 query on the same texts")
        with session(at) as one:
            size = calls.wire_size(one)
            one.timed("zc_status", {})
            pings = floors.milliseconds(lambda: one.ask("ping", {}), times)
            told = calls.tool_figures(one, times, {"write": insert, "search": searched}, chance)
            echo = (median(floors.raw_echo(times)), "echo over a unix socket")
            told.append(Figure("`ping` through the shim, median", median(pings), "ms", None, *echo))
            told.append(
                Figure(
                    "`zc_remember` as the official client's caller sees it",
                    calls.official_client(at, times),
                    "ms",
                )
            )
            told.append(Figure("`tools/list`", size, "characters", 8_000))
            note(f"Calls of one session, {entries:,} entries stored", told)
            busy = crowd.measure(at, seconds, chance, insert)
            busy.append(
                Figure(f"one session with {calls.IN_FLIGHT} calls under way: stored a second", rate, "1/s")
            )
            note("Many sessions", busy)
            redaction.wait_for_rules(at)
            note("Memory, after all that", calls.memory_figures(at, one))
            note("Secrets", redaction.measure(at, times, chance))
        note("Reading the web", web.measure(at, times, chance))
        note("Ledger", appends.measure(at, seconds / 2, insert))
        note(
            "Proofs of the ledger, and a call's way through all checks",
            ledger.measure(at, entries * 10, chance),
        )
    note(QUEUE, _queue(quick))
    return groups


def _queue(quick: bool) -> list[Figure]:
    tasks, times = (300, 10) if quick else (3_000, 60)
    found = queues.measure_all(1.0, 500) if quick else queues.measure_all(4.0, 3_000)
    return found + http_queue.measure(tasks, times)


def _put_queue() -> None:
    """Measure the work queue, and put that at the end of the page, or in the place of what stands there of it."""
    figures = _queue(quick=False)
    when = datetime.now(UTC).isoformat(timespec="seconds")
    told = (
        as_table([(QUEUE, figures)])
        + f"\n\nMeasured by itself, {when}, {machine()}, {startup.environment_note()}.\n"
    )
    page = HERE.parent / "docs" / "bench.md"
    before = page.read_text(encoding="utf-8").partition(f"\n## {QUEUE}\n")[0]
    page.write_text(before.rstrip() + "\n" + told, encoding="utf-8")
    print(told, file=sys.stderr)


def main() -> int:
    """Run the bench; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of it; writes bench/out alone")
    parser.add_argument("--queue", action="store_true", help="the work queue alone")
    asked = parser.parse_args()
    quick = asked.quick
    if asked.queue:
        _put_queue()
        return 0
    begun = time.perf_counter()
    groups = run(quick)
    header = {
        "version": __version__,
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "load": startup.environment_note(),
        "seconds": round(time.perf_counter() - begun),
        "quick": quick,
    }
    write_json(HERE / "out" / "bench.json", groups, header)
    missed = [f.what for _, figures in groups for f in figures if f.met is False]
    where = f"Version {__version__}, {header['when']}, {machine()}, {header['load']}; {header['seconds']} s."
    page = f"{INTRODUCTION}\n{where}\n{as_table(groups)}\n"
    (HERE / "out" / "bench.md").write_text(page, encoding="utf-8")
    if not quick:
        (HERE.parent / "docs" / "bench.md").write_text(page, encoding="utf-8")
    print(f"\n{header['seconds']} s. Missed: {'; '.join(missed) or 'nothing'}.", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
