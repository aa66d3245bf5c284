"""What the composition root has stores do by itself: register projects, drop what has expired."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from securecontext.app.recorders import log_of
from securecontext.boundaries import shared_rate
from securecontext.boundaries.identity import token_register
from securecontext.boundaries.ledger import purge, sequencer
from securecontext.coordination import leases, ownership, reclaiming
from securecontext.knowledge import archive
from securecontext.operations.queue import announce
from securecontext.pipeline import replay
from securecontext.projects import census, predecessor, register
from securecontext.storage import meta_rows
from securecontext.storage.port import TextIndex, Transaction
from securecontext.types.ids import timestamp
from securecontext.types.ledger import EntryDraft
from securecontext.types.places import Place


def keep_file(transaction: Transaction, *, project: str, moment: str) -> None:
    """Note that a project has a file of its own."""
    register.keep_file(transaction.connection, project, moment)


def enter_project(
    transaction: Transaction, *, path: str, place: Place, fresh: str, moment: datetime, imported: bool = True
) -> str:
    """Return the project of a place; a new one is an entry of the machine's ledger.

    Args:
        transaction: of the machine's store.
        path: the folder, as the caller spells it.
        place: what it is.
        fresh: id of a project that is registered now.
        moment: now.
        imported: whether what was imported for such a folder, and has none yet, belongs to it.
    """

    def imported_under() -> list[str]:
        if not imported:
            return []
        return [predecessor.ALIAS + h for h in predecessor.hashes(predecessor.spellings(path, place.top))]

    project = register.enter(transaction.connection, place, fresh, timestamp(moment), imported_under)
    if project == fresh:
        body = {"operation": "project.register", "outcome": "ok", "arguments": {"project": project}}
        transaction.record(EntryDraft("system", "projects", "", "call", body, {"path": place.path_alias}))
    return project


def rebuild(transaction: Transaction, *, found: Sequence[census.Noted], moment: str) -> None:
    """Fill an empty register from what the projects' files say; an entry of the machine's ledger."""
    count = census.rebuild(transaction.connection, found, moment)
    body = {"operation": "project.rebuild", "outcome": "ok", "arguments": {"projects": count}}
    transaction.record(EntryDraft("system", "projects", "", "call", body))


def drop_expired(transaction: Transaction, *, project: str, text: TextIndex, moment: datetime) -> None:
    """Drop documents past their time, and answers and ended reservations that were kept long enough."""
    gone = archive.expired(transaction.connection, project, timestamp(moment))
    archive.drop(transaction.connection, text, gone)
    replay.drop_old(transaction.connection, timestamp(moment - replay.KEPT))
    ownership.drop_ended(transaction.connection, project, timestamp(moment - ownership.KEPT))


def turn_queue(
    transaction: Transaction, *, project: str, present: Collection[tuple[str, str]]
) -> reclaiming.Settled:
    """Renew the leases of who is connected, offer again what is due; what was taken from somebody is an entry."""
    connection, moment = transaction.connection, transaction.moment
    leases.renew(connection, project, present, moment)
    settled = reclaiming.settle(connection, project, moment, whole=True)
    announce(transaction, project, settled.ready)
    if told := settled.told():
        body = {"operation": "queue.settle", "outcome": "ok", "arguments": {}, "noted": told}
        transaction.record(EntryDraft("system", "queue", "", "call", body))
    return settled


def purge_old(
    transaction: Transaction, *, log: str, after: int, before: datetime, moment: datetime
) -> purge.Aged:
    """Purge bodies of old entries of a ledger, some thousands at once; an entry says which."""
    aged = purge.purge_old(transaction.connection, log, after, before, moment)
    if aged.purged.bodies:
        days = {"days": (moment - before).days}
        body = {"operation": "retention", "outcome": "ok", "arguments": days, **aged.purged.told()}
        transaction.record(EntryDraft("system", "retention", "", "purge", body))
        transaction.scrub_after_commit()
    return aged


def recover(
    transaction: Transaction, *, draft: EntryDraft, stays: Mapping[str, str] | None, moment: datetime
) -> None:
    """Let a ledger go on from a backup, which is an entry; no token and no lease of a task counts any more.

    Args:
        transaction: of the copy.
        draft: the entry.
        stays: what the machine's `meta` says of how things are now, empty for nothing; None for a project's.
        moment: now.
    """
    connection = transaction.connection
    sequencer.release(connection, log_of(connection))
    if stays is not None:
        token_register.revoke_all(connection, moment)
        for name, value in stays.items():
            if value:
                meta_rows.put(connection, name, value)
            else:
                meta_rows.drop(connection, name)
    reclaiming.start_over(connection, moment)
    transaction.record(draft)


def drop_tokens(transaction: Transaction, *, moment: datetime) -> None:
    """Drop the rows of session tokens that ended long ago, and of callers that have been silent."""
    token_register.drop_old(transaction.connection, moment)
    shared_rate.drop_old(transaction.connection, moment)
