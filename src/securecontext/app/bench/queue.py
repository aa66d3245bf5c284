"""``zc bench queue``: many workers drain a queue, counted by the workers and by the ledger.

Services are processes of their own that share a store, each with some of the workers as threads: claims, completions
and their ledger entries as a service does them, without its doors. With ``kill`` a service is killed (SIGKILL) at every
tenth of the way and another one takes its place.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

from sqlalchemy import select

from securecontext.app.bench.queue_service import ROLE, URL, entry
from securecontext.app.bench.queue_store import PROJECT, opened, own_schema
from securecontext.coordination import queue, tasks
from securecontext.coordination.queue import NewTask
from securecontext.coordination.retries import MOST_ATTEMPTS
from securecontext.coordination.tasks import Origin, State
from securecontext.storage.port import Store, Transaction
from securecontext.storage.tables import ledger_bodies

LEASE_SECONDS: Final = 90.0
LEASE_WHEN_KILLED: Final = 3.0
"""Short, so that what a killed service held is soon offered again."""
AT_ONCE: Final = 100
SERVICES_WHEN_KILLED: Final = 4
BOSS: Final = Origin("agent:boss", "ses_boss")


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured.

    Attributes:
        doubles: completions beyond the first, and claims of a task under a fence that was given before: by what the
            workers told or by the ledger, whichever has more.
        lost: tasks that are not done, or whose completion the ledger does not have.
        longest_wait_ms, median_wait_ms: of the answers to claims that got a task.
        killed: services that were killed.
    """

    engine: str
    workers: int
    tasks: int
    claims_per_s: float
    doubles: int
    lost: int
    longest_wait_ms: float
    median_wait_ms: float
    killed: int


@dataclass(slots=True)
class _Told:
    """What the workers told."""

    claims: Counter[tuple[str, str]] = field(default_factory=Counter)
    done: Counter[str] = field(default_factory=Counter)
    waits: list[float] = field(default_factory=list)
    last: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, line: str) -> None:
        """Note a line; one that a killed service broke off says nothing."""
        match line.split():
            case ["claim", task, fence, took] if line.endswith("\n"):
                with self.lock:
                    self.claims[task, fence] += 1
                    self.waits.append(float(took))
                    self.last = time.perf_counter()
            case ["done", task, _] if line.endswith("\n"):
                with self.lock:
                    self.done[task] += 1
            case _:
                pass


def measure(
    engine: str, workers: int, count: int, *, kill: bool = False, services: int = 0, url: str = ""
) -> Measured:
    """Have so many workers drain a queue of so many tasks.

    Args:
        engine: ``sqlite`` or ``postgres``.
        workers: threads in all services together.
        count: tasks.
        kill: whether services are killed on the way.
        services: processes that share the store; 0 for one, or for four where they are killed.
        url: of the PostgreSQL database; a schema of its own is made in it, and dropped.

    Raises:
        ZcError: the database cannot be used.
    """
    services = min(services or (SERVICES_WHEN_KILLED if kill else 1), workers)
    folder = Path(tempfile.mkdtemp(prefix="zc-bench-"))
    try:
        with own_schema(url) if engine == "postgres" else nullcontext("") as address:
            with opened(folder, address) as store:
                _fill(store, count)
            told = _Told()
            lease = LEASE_WHEN_KILLED if kill else LEASE_SECONDS
            begun, killed = _drain(folder, address, workers, services, lease, count if kill else 0, told)
            with opened(folder, address) as store:
                return _counted(store, engine, workers, count, told, told.last - begun, killed)
    finally:
        shutil.rmtree(folder)


def _fill(store: Store, count: int) -> None:
    def enqueue(transaction: Transaction, first: int) -> None:
        for number in range(first, min(first + AT_ONCE, count)):
            new = NewTask(ROLE, f"t{number}", {"n": number}, max_attempts=MOST_ATTEMPTS)
            queue.enqueue(transaction.connection, PROJECT, new, BOSS, transaction.moment)
            transaction.record(entry(BOSS, "zc_enqueue_task", {"inserted": True}, task_id=new.task_id))

    for first in range(0, count, AT_ONCE):
        store.write(partial(enqueue, first=first))


class _Service:
    """A service process, and the thread that reads what it tells."""

    def __init__(
        self, folder: Path, address: str, name: str, threads: int, lease: float, told: _Told
    ) -> None:
        command = [
            sys.executable, "-m", "securecontext.app.bench.queue_service", str(folder), name, str(threads), str(lease),
        ]  # fmt: skip
        self.threads = threads
        self.process = subprocess.Popen(  # noqa: S603 - our own program
            command, stdout=subprocess.PIPE, text=True, bufsize=1, env={**os.environ, URL: address}
        )
        self._reader = threading.Thread(target=self._read, args=(told,))
        self._reader.start()

    def _read(self, told: _Told) -> None:
        assert self.process.stdout is not None  # noqa: S101 - for the type checker
        for line in self.process.stdout:
            told.take(line)

    def end(self) -> int:
        """Wait until it has ended and all that it told was taken; return its exit code."""
        code = self.process.wait()
        self._reader.join()
        return code


def _drain(
    folder: Path, address: str, workers: int, services: int, lease: float, kill_within: int, told: _Told
) -> tuple[float, int]:
    """Run the services until no task is open; return when they began and how many were killed."""
    share = [workers // services + (number < workers % services) for number in range(services)]
    running = [
        _Service(folder, address, f"s{number}", threads, lease, told) for number, threads in enumerate(share)
    ]
    with _ended(running):
        while not told.claims and all(service.process.poll() is None for service in running):
            time.sleep(0.001)
        begun = time.perf_counter()
        killed = 0
        for tenth in range(1, 10) if kill_within else ():
            while (
                len(told.done) * 10 < tenth * kill_within
                and None in [service.process.poll() for service in running]
            ):  # fmt: skip
                time.sleep(0.001)
            victim = running.pop(0)
            victim.process.kill()
            victim.end()
            killed += 1
            running.append(_Service(folder, address, f"r{tenth}", victim.threads, lease, told))
        codes = [service.end() for service in running]
    if any(codes):
        raise RuntimeError(f"a service of the bench ended with {codes}")
    return begun, killed


@contextmanager
def _ended(running: list[_Service]) -> Iterator[None]:
    """Leave no service behind, whatever happens."""
    try:
        yield
    finally:
        for service in running:
            if service.process.poll() is None:
                service.process.kill()
            service.end()


def _counted(
    store: Store, engine: str, workers: int, count: int, told: _Told, seconds: float, killed: int
) -> Measured:
    claimed: Counter[tuple[str, str]] = Counter()
    done: Counter[str] = Counter()
    with store.read() as connection:
        for body in connection.execute(select(ledger_bodies.c.body)).scalars():
            said: dict[str, Any] = json.loads(body)
            noted = said.get("noted", {})
            claimed.update((task, str(fence)) for _, task, fence in noted.get("claimed", ()))
            if said.get("operation") == "zc_complete_task":
                done[noted["done"][1]] += 1
        finished = sum(each.tasks for each in tasks.counts(connection, PROJECT) if each.state is State.DONE)
    doubles = max(_beyond(told.claims) + _beyond(told.done), _beyond(claimed) + _beyond(done))
    unknown = len(set(told.done) - set(done)) + len(set(told.claims) - set(claimed))
    return Measured(
        engine=engine,
        workers=workers,
        tasks=count,
        claims_per_s=round(len(told.waits) / seconds, 1) if seconds > 0 else 0.0,
        doubles=doubles,
        lost=max(count - finished, count - len(done)) + unknown,
        longest_wait_ms=round(max(told.waits, default=0.0), 1),
        median_wait_ms=round(statistics.median(told.waits), 1) if told.waits else 0.0,
        killed=killed,
    )


def _beyond(counter: Counter[Any]) -> int:
    return sum(number - 1 for number in counter.values())
