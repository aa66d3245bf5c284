"""The one writer of a store: jobs in a row, a commit for all that wait, an answer only when it is durable.

While one batch is being committed the next one gathers, so under load one fsync serves many calls, and a call alone
waits for nobody. First come, first served. A batch that fails as a whole (a full disk ends SQLite's transaction, a
job has a defect) is answered to nobody: it is rolled back and replayed one job at a time, so that only the guilty
job sees the error.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol, TypeVar

from sqlalchemy import Connection, RootTransaction
from sqlalchemy.exc import DBAPIError

from securecontext.storage import acting
from securecontext.storage.acting import Actor
from securecontext.storage.port import Recorder, Transaction
from securecontext.types.errors import Unavailable, ZcError
from securecontext.types.ledger import EntryDraft

log = logging.getLogger("securecontext.writer")
T = TypeVar("T")
MAX_BATCH = 256
"""Jobs in one commit at most: bounds how long the first of them waits."""


class Backend(Protocol):
    """What the writer needs of an engine."""

    @property
    def keeps_connection(self) -> bool:
        """Whether the writer keeps its connection while nobody writes, for a while."""

    def connect_writer(self) -> Connection:
        """Return a fresh connection for writing."""

    def begun(self, connection: Connection, actor: Actor) -> None:
        """Do what comes first in each transaction, whose first job is somebody's; raise where nobody may write."""

    def committed_after_all(self, error: BaseException) -> bool:
        """Say whether a transaction is durable although its commit failed with this error.

        Raises:
            Undecided: nobody can tell now.
        """

    def alive(self, connection: Connection) -> bool:
        """Say whether the transaction that was begun still stands."""

    def translate(self, error: BaseException) -> BaseException:
        """Return the refusal that a caller should see for a driver's error; other errors come back as they are."""

    def scrub(self, connection: Connection) -> bool:
        """Clean write-ahead copies of removed text, outside a transaction; say whether it could be done now."""

    def moment(self, connection: Connection, own: datetime) -> datetime:
        """Return the moment that all who write to this database go by, given the service's own."""

    def notify(self, connection: Connection, topic: str) -> None:
        """Tell other services that share the database, at the commit."""


class Undecided(Exception):
    """Whether a batch was made durable is not known: it is not done again, and every caller in it is told."""


@dataclass(slots=True)
class _Batch:
    """The state of a batch: satisfies `port.Transaction`."""

    connection: Connection
    backend: Backend
    clock: Callable[[], datetime]
    drafts: list[EntryDraft] = field(default_factory=list)
    scrub: bool = False
    _moment: datetime | None = None

    @property
    def moment(self) -> datetime:
        if self._moment is None:
            self._moment = self.backend.moment(self.connection, self.clock())
        return self._moment

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        kept = len(self.drafts)
        self.connection.exec_driver_sql("SAVEPOINT effect")
        try:
            yield
        except BaseException:
            del self.drafts[kept:]
            # Where the engine ended the whole transaction there is no savepoint left, and the first error is the
            # one to tell; the writer then sees that the transaction is gone.
            with suppress(DBAPIError):
                self.connection.exec_driver_sql("ROLLBACK TO SAVEPOINT effect")
                self.connection.exec_driver_sql("RELEASE SAVEPOINT effect")
            raise
        self.connection.exec_driver_sql("RELEASE SAVEPOINT effect")

    def record(self, draft: EntryDraft) -> None:
        self.drafts.append(draft)

    def notify(self, topic: str) -> None:
        self.backend.notify(self.connection, topic)

    def scrub_after_commit(self) -> None:
        self.scrub = True


class _Item:
    """A job and its outcome, which one thread waits for: a lock is the cheapest thing to wait at."""

    __slots__ = ("_done", "_error", "_result", "actor", "job")

    def __init__(self, job: Callable[[Transaction], Any]) -> None:
        self.job = job
        self.actor = acting.current()
        self._result: Any = None
        self._error: BaseException | None = None
        self._done = threading.Lock()
        self._done.acquire()

    def finish(self, result: Any, error: BaseException | None = None) -> None:
        """Let the waiting thread go on, with a result or an error; once."""
        self._result, self._error = result, error
        self._done.release()

    def outcome(self) -> Any:
        """Wait for the result and return it, or raise the error."""
        self._done.acquire()
        if self._error is not None:
            try:
                raise self._error
            finally:
                self._error = None  # no cycle of error, trace and this
        return self._result


def _stopping() -> ZcError:
    return Unavailable("service_stopping", "The service is stopping.", "Call again: a new one takes over.")


def _undecided() -> ZcError:
    return Unavailable(
        "outcome_unknown",
        "The database went away while this was being made durable; whether it was is not known.",
        "Call again with the same idempotency key: what was done is not done twice.",
    )


class Writer:
    """Runs write jobs of one store, one after another.

    A job that finds nobody writing and nobody waiting runs on its caller's own thread: handing it over and waking
    twice would cost as much as the commit. All others queue for the writer's thread, which commits them together.

    Args:
        name: for the thread, so that a stack dump can be read.
        backend: the engine.
        recorder: the ledger; None for a store without one.
        clock: the moment that ledger entries carry.
        idle_seconds: after so long without a job the connection is closed and the thread ends; the next job starts
            both again.
    """

    def __init__(
        self,
        name: str,
        backend: Backend,
        recorder: Recorder | None,
        clock: Callable[[], datetime],
        idle_seconds: float = 60.0,
    ) -> None:
        self._name = name
        self._backend = backend
        self._recorder = recorder
        self._clock = clock
        self._idle = idle_seconds
        self._queue: queue.SimpleQueue[_Item | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closed = False
        self._refusal = _stopping
        self._turn = threading.Lock()
        """Held by whoever writes; guards the three below."""
        self._connection: Connection | None = None
        self._used = 0.0
        self._waiting = 0
        self._owed = False
        """Whether removed text may still lie in the log."""

    def run(self, job: Callable[[Transaction], T]) -> T:
        """Queue a job and wait for its durable result."""
        item = _Item(job)
        with self._lock:
            if self._closed:
                raise self._refusal()
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name=f"writer-{self._name}", daemon=True)
                self._thread.start()
            at_once = self._waiting == 0 and self._turn.acquire(blocking=False)
            if not at_once:
                self._waiting += 1
                self._queue.put(item)
        if at_once:
            try:
                self._serve([item])
            finally:
                self._turn.release()
        result: T = item.outcome()
        return result

    def close(self, refusal: Callable[[], ZcError] = _stopping) -> None:
        """Finish what is queued, then end the thread; what comes later is refused so."""
        with self._lock:
            if not self._closed:
                self._closed, self._refusal = True, refusal
            thread = self._thread
            if thread is not None:
                self._queue.put(None)
        if thread is not None:
            thread.join()

    def _work(self) -> None:
        while True:
            try:
                first = self._queue.get(timeout=self._idle)
            except queue.Empty:
                if self._leave():
                    return
                continue
            with self._turn:
                batch, ended = self._gather(first)  # only now: what came while somebody else wrote is in it
                if batch:
                    self._serve(batch)
                if ended:
                    self._rest()
            with self._lock:
                self._waiting -= len(batch)
            if ended:
                return

    def _rest(self) -> None:
        """Do what is best done while nobody waits, and close the connection. The turn is held."""
        if self._connection is not None:
            self._tidy(self._scrub, self._connection)
            self._tidy(lambda done: done.close(), self._connection)
            self._connection = None

    def _gather(self, item: _Item | None) -> tuple[list[_Item], bool]:
        """Return the jobs that wait, the given one first, and whether the writer is to end."""
        batch: list[_Item] = []
        while item is not None:
            batch.append(item)
            if len(batch) == MAX_BATCH:
                return batch, False
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                return batch, False
        return batch, True

    def _leave(self) -> bool:
        """Rest after an idle while, and say whether the thread may end: nobody has written or queued in it."""
        with self._lock, self._turn:
            if not self._queue.empty() or time.monotonic() - self._used < self._idle:
                return False
            self._rest()
            self._thread = None
            return True

    def _serve(self, batch: list[_Item]) -> None:
        """Do a batch and answer every caller in it. The turn is held."""
        self._used = time.monotonic()
        try:
            if self._connection is None:
                self._connection = self._backend.connect_writer()
            done = self._attempt(self._connection, batch)
        except Undecided:
            self._give_back()
            for item in batch:
                item.finish(None, _undecided())
            return
        except BaseException as error:  # noqa: BLE001 - every waiting caller must get an answer
            self._give_back()
            if len(batch) == 1:
                batch[0].finish(None, self._told(error))
                return
            for item in batch:
                self._serve([item])
            return
        if not self._backend.keeps_connection:
            self._tidy(lambda used: used.close(), self._connection)
            self._connection = None
        for item, result in done:
            item.finish(result)

    def _attempt(self, connection: Connection, batch: list[_Item]) -> list[tuple[_Item, Any]]:
        """Run a batch to its durable end, or raise with nothing done."""
        with connection.begin() as transaction:
            self._backend.begun(connection, batch[0].actor)
            state = _Batch(connection, self._backend, self._clock)
            done = []
            for item in batch:
                acting.say(connection, item.actor)
                with acting.acting(item.actor):
                    done.append((item, item.job(state)))
            if not self._backend.alive(connection):
                raise Unavailable("transaction_lost", "The database ended the transaction.", "Call again.")
            if state.drafts and self._recorder is not None:
                acting.say(connection, acting.WRITER)
                self._recorder.append(connection, state.drafts, self._clock())
            self._commit(transaction)
        # The commit is durable. Whatever fails from here on must not undo an answer, or the batch would be done again.
        if self._recorder is not None:
            self._recorder.committed()
        if state.scrub or self._owed:
            self._tidy(self._scrub, connection)
        return done

    def _commit(self, transaction: RootTransaction) -> None:
        """Make a batch durable; where the answer to that was lost, find out whether it is."""
        try:
            transaction.commit()
        except Exception as error:
            if not self._backend.committed_after_all(error):
                raise
            log.warning("the connection of %s was lost at a commit, which is durable", self._name)

    def _scrub(self, connection: Connection) -> None:
        """Clean the log, or try again with the next write."""
        owed, self._owed = self._owed, not self._backend.scrub(connection)
        if self._owed and not owed:
            log.warning("the log of %s is held by another program; removed text leaves it later", self._name)

    def _told(self, error: BaseException) -> BaseException:
        """Return what the caller sees; a failure on the way to it must not leave the caller waiting."""
        try:
            return self._backend.translate(error)
        except Exception as second:
            log.exception("a storage error could not be told in our words", exc_info=error)
            return second

    def _give_back(self) -> None:
        """After an error: forget what was cached, and start over with a fresh connection."""
        if self._recorder is not None:
            self._recorder.rolled_back()
        connection, self._connection = self._connection, None
        if connection is not None:
            self._tidy(lambda broken: broken.invalidate(), connection)
            self._tidy(lambda broken: broken.close(), connection)

    def _tidy(self, work: Callable[[Connection], None], connection: Connection) -> None:
        """Run housekeeping whose failure must not undo an answer, nor end the thread that all callers wait for."""
        try:
            work(connection)
        except Exception as error:  # noqa: BLE001 - whatever it is, callers wait for this thread
            log.warning("housekeeping of %s failed: %s", self._name, type(error).__name__)
