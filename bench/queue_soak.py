"""``python -m bench.queue_soak``: many workers drain a long queue on both engines while services are killed.

Nothing may be done twice, nothing lost, by what the workers saw and by the ledger; the exit code is 1 if anything was.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys

from tests.engines.postgres_server import running_postgres

from securecontext.app.bench.queue import measure

WORKERS, EACH = 50, 10_000


def main() -> int:
    """Run it; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.queue_soak", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--tasks", type=int, default=WORKERS * EACH, help="tasks in all")
    tasks = parser.parse_args().tasks
    wrong = 0
    with running_postgres() as server:
        for engine, url in (("sqlite", ""), ("postgres", server.create("soak"))):
            found = measure(engine, WORKERS, tasks, kill=True, url=url)
            print(json.dumps(dataclasses.asdict(found)), flush=True)
            wrong += found.doubles + found.lost
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
