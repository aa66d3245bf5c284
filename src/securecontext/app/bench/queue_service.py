"""One service of ``zc bench queue``: threads that claim and complete until no task is open, telling each step.

A line a step on standard output: ``claim TASK FENCE MILLISECONDS`` or ``done TASK FENCE``. What a killed service did
not tell any more, the ledger has. The address of a database comes by the environment, because a list of processes shows
arguments.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from securecontext.app.bench.queue_store import PROJECT, opened
from securecontext.coordination import leases, queue, reclaiming, tasks
from securecontext.coordination.leases import Held
from securecontext.coordination.queue import Claimed
from securecontext.coordination.tasks import Origin
from securecontext.storage.port import Store, Transaction
from securecontext.types.errors import LeaseLost
from securecontext.types.ledger import EntryDraft

ROLE = "worker"
URL = "SECURECONTEXT_BENCH_URL"
"""Set by whoever starts this process, and by nobody else."""
PAUSE_SECONDS = 0.05


def entry(who: Origin, operation: str, noted: dict[str, Any], **arguments: Any) -> EntryDraft:
    """Return the entry of a call, as the corridor makes it."""
    body = {"operation": operation, "outcome": "ok", "arguments": arguments, "noted": noted}
    return EntryDraft(who.created_by, who.session, "", "call", body)


class _Worker:
    def __init__(self, store: Store, name: str, lease: timedelta, together: threading.Barrier) -> None:
        self._store = store
        self._together = together
        self._who = Origin(f"agent:{name}", f"ses_{name}")
        self._lease = lease

    def run(self) -> None:
        """Claim and complete until no task is open; begin when all others of this service are there.

        Each has made a call before, as a session has that claims: its stream in the ledger is there.
        """
        self._store.write(lambda t: t.record(entry(self._who, "zc_queue_stats", {})))
        self._together.wait()
        while True:
            begun = time.perf_counter()
            claimed = self._store.write(self._claim)
            took = (time.perf_counter() - begun) * 1000
            for each in claimed:
                _tell(f"claim {each.task_id} {each.fence} {took:.3f}")
                self._complete(each)
            if not claimed:
                with self._store.read() as connection:
                    if not tasks.any_open(connection, PROJECT):
                        return
                time.sleep(PAUSE_SECONDS)

    def _claim(self, transaction: Transaction) -> list[Claimed]:
        connection, moment = transaction.connection, transaction.moment
        settled = reclaiming.settle(connection, PROJECT, moment)
        claimed = queue.claim(connection, PROJECT, ROLE, self._who, moment, lease=self._lease)
        if claimed or settled.told():
            told = {**settled.told(), "claimed": [[each.role, each.task_id, each.fence] for each in claimed]}
            transaction.record(entry(self._who, "zc_claim_task", told, role=ROLE))
        return claimed

    def _complete(self, claimed: Claimed) -> None:
        held = Held(ROLE, claimed.task_id, claimed.fence, self._who.created_by)

        def job(transaction: Transaction) -> None:
            with transaction.savepoint():
                leases.complete(
                    transaction.connection,
                    PROJECT,
                    held,
                    transaction.moment,
                    self._who,
                    result={"n": claimed.fence},
                )
            told = {"done": [ROLE, claimed.task_id, claimed.fence]}
            transaction.record(
                entry(self._who, "zc_complete_task", told, task_id=claimed.task_id, fence=claimed.fence)
            )

        try:
            self._store.write(job)
        except LeaseLost:  # it took longer than its lease, and another has the task
            return
        _tell(f"done {claimed.task_id} {claimed.fence}")


def _tell(line: str) -> None:
    os.write(1, line.encode() + b"\n")  # one write: lines of threads do not mix


def main(folder: str, name: str, threads: str, lease: str) -> int:
    """Run the service; return the exit code."""
    with opened(Path(folder), os.environ.get(URL, "")) as store:
        together = threading.Barrier(int(threads))
        workers = [
            _Worker(store, f"{name}-{number}", timedelta(seconds=float(lease)), together)
            for number in range(int(threads))
        ]
        running = [threading.Thread(target=worker.run) for worker in workers]
        for thread in running:
            thread.start()
        for thread in running:
            thread.join()
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
