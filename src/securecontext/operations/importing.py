"""Puts translated rows of the predecessor into a project's store, beside what stands there, in resumable batches.

Idempotent: a row that was imported before, whatever became of its fact since, is not imported again. One of ours
that has a row's name is never changed; the row is then stored beside it as ``<name> (imported)``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import TypeVar

from sqlalchemy import Connection

from securecontext.boundaries import limits
from securecontext.boundaries.keyring.bodies import Bodies
from securecontext.boundaries.limits import refuse_over_quota
from securecontext.boundaries.policy import Principal
from securecontext.knowledge import archive, indexing
from securecontext.memory import changes, facts
from securecontext.operations import imported_rows as rows
from securecontext.operations.imported_rows import NewDocument, NewFact, Tally, short_digest
from securecontext.operations.memory import capacity_in
from securecontext.storage.port import Store, TextIndex, Transaction
from securecontext.storage.predecessor import Predecessor
from securecontext.types.errors import ZcError
from securecontext.types.ledger import EntryDraft

BATCH_DOCUMENTS = 100
BATCH_CHARACTERS = 1_000_000
"""How much one transaction takes in, so that others wait for it a moment only."""
MARK = "imported"
KEY_ROOM, SOURCE_ROOM = limits.KEY_CHARACTERS - 28, limits.SOURCE_CHARACTERS - 28
"""Characters of a name before what `names` adds to it."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Target:
    """Where rows go.

    Attributes:
        project: id of the project.
        store: its store.
        bodies: opens what is sealed there.
        principal: who imports.
        hash: the predecessor's name for the project.
        moment: timestamp of the import.
        quota_mb: MiB that the project's database may use.
    """

    project: str
    store: Store
    bodies: Bodies
    principal: Principal
    hash: str
    moment: str
    quota_mb: float

    @property
    def session(self) -> str:
        """The session that imported rows name: the file that they come from."""
        return f"predecessor:{self.hash}"


@dataclass(frozen=True, slots=True)
class Translated:
    """All rows of a file, translated lazily: documents first, then what is known when they have all been read."""

    documents: Iterator[NewDocument]
    facts: list[NewFact]


def translate(file: Predecessor, moment: str, tally: Tally) -> Translated:
    """Return a file's rows as drafts; reading on may raise `Unavailable` where the file is damaged."""
    held: list[NewFact] = []
    large: list[NewDocument] = []
    for old in file.facts():
        made = rows.fact(old, moment, tally)
        if isinstance(made, NewFact):
            held.append(made)
        else:
            large += made
    documents = chain.from_iterable(rows.document(each, moment, tally) for each in file.documents())
    broadcasts = chain.from_iterable(rows.broadcast(each, moment, tally) for each in file.broadcasts())
    return Translated(chain(large, documents, broadcasts), held)


def count_only(file: Predecessor, target: Target | None, moment: str, tally: Tally) -> None:
    """Count what an import would do, and write nothing.

    Args:
        file: open for reading.
        target: where it would go; None for a project that is not registered yet.
        moment: timestamp.
        tally: is counted into.
    """
    found = translate(file, moment, tally)
    for batch in _batches(found.documents):
        if target is None:
            for each in batch:
                _count(tally, each, False)
            continue
        with target.store.read() as connection:
            for each in batch:
                _count_document(connection, target, each, tally)
    if target is None:
        tally.facts += len(found.facts)
        return
    with target.store.read() as connection:
        for fact in found.facts:
            key = _free_key(connection, target, fact)
            _count(tally, fact, key != fact.key) if key else _skip(tally)


def bring_in(file: Predecessor, target: Target, tally: Tally) -> None:
    """Import a file's rows; the last transaction also records the import in the project's ledger.

    Raises:
        ZcError: the file is damaged or the store cannot be written; what was counted until then stays imported.
    """
    found = translate(file, target.moment, tally)
    try:
        for batch in _batches(found.documents):
            refuse_over_quota(target.store.used, target.quota_mb)
            tally.add(target.store.write(lambda transaction, batch=batch: _put(transaction, target, batch)))  # type: ignore[misc]
        tally.add(target.store.write(lambda transaction: _remember(transaction, target, found.facts)))
    except ZcError as error:
        _record(target, tally, error.code)
        raise
    _record(target, tally, "ok")


def _record(target: Target, tally: Tally, outcome: str) -> None:
    draft = EntryDraft(
        principal=target.principal.name,
        session=target.principal.session,
        claimed_agent=target.principal.claimed_agent,
        kind="call",
        body={
            "operation": "import.predecessor",
            "door": target.principal.door,
            "arguments": {"file": f"{target.hash}.db"},
            "counts": tally.counts(),
            "outcome": outcome,
        },
    )
    target.store.write(lambda transaction: transaction.record(draft))


def _put(transaction: Transaction, target: Target, batch: list[NewDocument]) -> Tally:
    tally = Tally()
    for each in batch:
        source = _count_document(transaction.connection, target, each, tally)
        if source is None:
            continue
        archive.put(
            transaction.connection,
            target.store.text,
            target.bodies,
            target.project,
            archive.Draft(
                kind=each.kind,
                source=source,
                content=each.content,
                created_by=target.principal.name,
                session=target.session,
                trust=each.trust,
                provenance=each.provenance,
            ),
            each.created_at,
        )
    return tally


def _remember(transaction: Transaction, target: Target, held: list[NewFact]) -> Tally:
    tally = Tally()
    room = capacity_in(transaction.connection, target.project)
    for each in held:
        key = _free_key(transaction.connection, target, each)
        if key is None:
            _skip(tally)
            continue
        done = changes.remember(
            transaction.connection,
            target.bodies,
            project=target.project,
            agent=each.agent,
            key=key,
            value=each.value,
            importance=each.importance,
            supersedes=None,
            origin=facts.Origin(target.principal.name, target.session, "imported", each.provenance),
            capacity=room,
            moment=each.created_at,
        )
        _index(transaction.connection, target.store.text, target, done.fact, key, each)
        _count(tally, each, key != each.key)
        tally.archived += len(done.archived)
    return tally


def _index(
    connection: Connection, text: TextIndex, target: Target, fact: int, key: str, made: NewFact
) -> None:
    indexing.index(
        connection,
        text,
        project=target.project,
        parent_kind=indexing.FACT,
        parent=fact,
        pieces=indexing.pieces_of(key, made.value),
        session=target.session,
        moment=made.created_at,
    )


def _count_document(connection: Connection, target: Target, made: NewDocument, tally: Tally) -> str | None:
    """Count a document, and return the source under which it is to be stored; None where it stands already."""
    for source in names(made.source, made.content, MARK, SOURCE_ROOM):
        there = archive.named(connection, target.bodies, target.project, made.kind, source)
        if there is None:
            _count(tally, made, source != made.source)
            return source
        if there.says(made.content):
            break
    _skip(tally)
    return None


def _free_key(connection: Connection, target: Target, made: NewFact) -> str | None:
    """Return the key under which a fact is to be stored; None where it stands, or stood, there already."""
    for key in names(made.key, made.value, MARK, KEY_ROOM):
        rows_there = facts.history(
            connection, target.bodies, project=target.project, agent=made.agent, key=key
        )
        if not rows_there:
            return key
        if any(row.says(made.value) for row in rows_there):
            break
    return None


def names(name: str, text: str, mark: str, room: int) -> Iterator[str]:
    """Yield the names to try for a text: its own, and two beside it, of which the last is for this very text.

    Args:
        name: what it is called.
        text: what it says.
        mark: where it comes from, at most 16 characters.
        room: characters that a name may have before the mark.
    """
    yield name
    short = name if len(name) <= room else f"{name[: room - 9]}…{short_digest(name)}"
    yield f"{short} ({mark})"
    yield f"{short} ({mark} {short_digest(text)})"


def _count(tally: Tally, made: NewFact | NewDocument, renamed: bool) -> None:
    if isinstance(made, NewFact):
        tally.facts += 1
    elif made.kind == "broadcast":
        tally.broadcasts += 1
    else:
        tally.documents += 1
    tally.renamed += renamed


def _skip(tally: Tally) -> None:
    tally.unchanged += 1


def _batches(documents: Iterable[NewDocument]) -> Iterator[list[NewDocument]]:
    batch: list[NewDocument] = []
    size = 0
    for each in documents:
        batch.append(each)
        size += len(each.content)
        if len(batch) >= BATCH_DOCUMENTS or size >= BATCH_CHARACTERS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
