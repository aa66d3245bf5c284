"""What pgqueuer does with the same number of tasks and workers: https://pypi.org/project/pgqueuer/ over psycopg."""

from __future__ import annotations

import asyncio
import time
import uuid
from datetime import timedelta

import psycopg
from pgqueuer.db import PsycopgDriver
from pgqueuer.ports.repository import EntrypointExecutionParameter
from pgqueuer.queries import Queries
from pgqueuer.types import QueueEntrypoint, QueueManagerId


def drained_a_second(url: str, workers: int, tasks: int) -> float:
    """Return how many jobs a second so many workers dequeue and log as successful, one at a time, until none is left.

    Args:
        url: of an empty database.
        workers: each with a connection of its own, all in one event loop.
        tasks: how many.
    """
    return asyncio.run(_drained(url, workers, tasks))


async def _connected(url: str) -> Queries:
    return Queries(PsycopgDriver(await psycopg.AsyncConnection.connect(url, autocommit=True)))


async def _drained(url: str, workers: int, tasks: int) -> float:
    first = await _connected(url)
    await first.install()
    await first.enqueue(["work"] * tasks, [b'{"n":1}'] * tasks, [0] * tasks)
    others = [await _connected(url) for _ in range(workers - 1)]
    begun = time.perf_counter()
    done = await asyncio.gather(*(_work(each) for each in (first, *others)))
    took = time.perf_counter() - begun
    if sum(done) != tasks:
        raise RuntimeError(f"pgqueuer did {sum(done)} of {tasks} jobs")
    return tasks / took


async def _work(queries: Queries) -> int:
    own, done = QueueManagerId(uuid.uuid4()), 0
    entrypoints = {QueueEntrypoint("work"): EntrypointExecutionParameter(0)}
    while jobs := await queries.dequeue(1, entrypoints, own, None, timedelta(seconds=90)):
        await queries.log_jobs([(job, "successful", None) for job in jobs])
        done += len(jobs)
    return done
