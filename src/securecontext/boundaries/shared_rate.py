"""Buckets that services on one database share: a caller has one limit, however many services it calls.

A service draws a second's worth of calls at a time, so that a call costs no transaction; it may let through what it
has drawn and not more. So all services together let at most one draft of each beyond the limit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from securecontext.storage.acting import SERVICE, acting
from securecontext.storage.locks import alone
from securecontext.storage.port import Store, Transaction
from securecontext.storage.tables import rates
from securecontext.types.ids import parse_timestamp, timestamp

KEPT: Final = timedelta(hours=1)
"""A bucket that nobody drew from for so long is full; its row is dropped."""
_OF_CALLER = rates.c.caller == bindparam("of_caller")
_READ = select(rates.c.calls, rates.c.at).where(_OF_CALLER)
_MAKE = insert(rates)
_KEEP = update(rates).where(_OF_CALLER).values(calls=bindparam("left"), at=bindparam("now"))
_DROP = delete(rates).where(rates.c.at < bindparam("before"))


@dataclass(frozen=True, slots=True)
class SharedBuckets:
    """The buckets of all callers in the machine's store. Satisfies `rate.Shared`; safe to share by threads."""

    machine: Callable[[], Store]

    def draw(self, caller: str, wanted: float, per_second: float, burst: float) -> float:
        """Take so many calls out of a caller's bucket, or what is in it; less than one takes nothing.

        Args:
            caller: whose.
            wanted: calls.
            per_second: how fast the bucket fills.
            burst: what it holds.

        Raises:
            Unavailable: the store cannot be written.
        """
        job = partial(_draw, caller=caller, wanted=wanted, per_second=per_second, burst=burst)
        with acting(SERVICE):  # a bucket is no part of what its caller may see
            return self.machine().write(job)


def _draw(transaction: Transaction, *, caller: str, wanted: float, per_second: float, burst: float) -> float:
    connection, moment = transaction.connection, transaction.moment
    alone(connection, f"rates:{caller}")
    found = connection.execute(_READ, {"of_caller": caller}).first()
    calls = burst
    if found is not None:
        passed = max(0.0, (moment - parse_timestamp(found.at)).total_seconds())
        calls = min(burst, found.calls + passed * per_second)
    taken = min(calls, wanted) if calls >= 1 else 0.0
    now = timestamp(moment)
    if found is None:
        connection.execute(_MAKE, {"caller": caller, "calls": calls - taken, "at": now})
    else:
        connection.execute(_KEEP, {"of_caller": caller, "left": calls - taken, "now": now})
    return taken


def drop_old(connection: Connection, moment: datetime) -> None:
    """Drop buckets that are full again."""
    connection.execute(_DROP, {"before": timestamp(moment - KEPT)})
