"""What was stored is scanned again: before all rules were there, our own set alone had looked at it.

Each project's file says up to which row it was scanned, and with which rules. What lies above, or was scanned with
others, is read again in the background, and what is found is taken out of its row, the index and the disk. Rows that
arrive later pass here once more, since a call may have been cleaned before the rules came and commit after.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import partial

from sqlalchemy import Connection

from securecontext.app.rescan_tasks import inside, rescan_tasks
from securecontext.app.stores import Stores
from securecontext.boundaries.keyring.bodies import Bodies, Body
from securecontext.coordination import keeping
from securecontext.knowledge import rewriting as archive
from securecontext.knowledge.indexing import FACT
from securecontext.memory import rewriting as memory
from securecontext.pipeline import replay
from securecontext.storage import meta_rows
from securecontext.storage.acting import RESCAN, acting
from securecontext.storage.port import Store, TextIndex, Transaction
from securecontext.types.errors import Expired, Unavailable
from securecontext.types.ledger import EntryDraft
from securecontext.validators.secrets import Finding, JsonValue, engine_sees, redact, scan

log = logging.getLogger("securecontext.rescan")
MARK = "secrets_scanned"
"""The name of the row in ``meta``."""
AT_ONCE = 100
"""Rows of each kind that are read between two looks whether somebody waits."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Up to which rows a file was scanned, and with which rules.

    Attributes:
        rules: names them.
        caught_up: whether all that was there with other rules was scanned with these; since then our own set had
            looked at every row before it came, and the second engine alone has to.
    """

    rules: str
    fact: int = 0
    document: int = 0
    event: int = 0
    broadcast: int = 0
    caught_up: bool = False


@dataclass(frozen=True, slots=True)
class _Batch:
    """What a batch of rows gave: the mark behind it, and the rows in which something was found."""

    mark: Mark
    facts: Sequence[int]
    documents: Sequence[int]
    events: Sequence[int]
    broadcasts: Sequence[int]


class Rescan:
    """Scans what is stored.

    Args:
        stores: whose open projects are looked at.
        bodies: opens and seals what is stored sealed.
    """

    def __init__(self, stores: Stores, bodies: Bodies) -> None:
        self._stores = stores
        self._bodies = bodies

    def turn(self, rules: str, let_pass: Callable[[], None]) -> int:
        """Scan what the open projects hold beyond their marks; return how many secrets were taken out.

        Args:
            rules: names what is scanned with.
            let_pass: is called between two batches; may wait.
        """
        taken = 0
        for project, store in self._stores.open_projects().items():
            with (
                acting(RESCAN),
                suppress(Expired, Unavailable),
            ):  # it has just ended, or its file has a trouble that calls tell
                taken += self._project(project, store, rules, let_pass)
        return taken

    def _project(self, project: str, store: Store, rules: str, let_pass: Callable[[], None]) -> int:
        with store.read() as connection:
            mark = read_mark(connection)
        if mark is None or mark.rules != rules:
            mark = Mark(rules)
            store.write(lambda transaction: _clean_answers(transaction.connection))
        taken = 0
        while True:
            let_pass()
            with store.read() as connection:
                batch = _batch(connection, self._bodies, project, mark)
            if batch.mark == mark:
                if not mark.caught_up:
                    taken += rescan_tasks(project, store, let_pass)
                    store.write(partial(_catch_up, mark=mark))
                return taken
            taken += store.write(
                partial(_apply, text=store.text, bodies=self._bodies, project=project, batch=batch)
            )
            mark = batch.mark


def read_mark(connection: Connection) -> Mark | None:
    """Return the mark of a project's file; None where there is none."""
    said = meta_rows.read(connection, MARK)
    return None if said is None else Mark(**json.loads(said))


def _put_mark(connection: Connection, mark: Mark) -> None:
    meta_rows.put(connection, MARK, json.dumps(asdict(mark)))


def _batch(connection: Connection, bodies: Bodies, project: str, mark: Mark) -> _Batch:
    """Scan the rows after a mark, `AT_ONCE` of each kind at most."""
    looks = _engine_sees if mark.caught_up else _anything
    facts = memory.facts_after(connection, bodies, project, mark.fact, AT_ONCE)
    documents = archive.documents_after(connection, bodies, project, mark.document, AT_ONCE)
    events = memory.events_after(connection, project, mark.event, AT_ONCE)
    said = keeping.broadcasts_after(connection, project, mark.broadcast, AT_ONCE)
    return _Batch(
        replace(
            mark,
            fact=facts[-1].fact.id if facts else mark.fact,
            document=documents[-1].id if documents else mark.document,
            event=events[-1].id if events else mark.event,
            broadcast=said[-1].id if said else mark.broadcast,
        ),
        [row.fact.id for row in facts if looks(row.fact.key, row.fact.body)],
        [row.id for row in documents if looks(row.source, row.body)],
        [row.id for row in events if looks(row.detail)],
        [row.id for row in said if looks(row.message)],
    )


def _engine_sees(*texts: Body) -> bool:
    return any(isinstance(text, str) and engine_sees(text) for text in texts)


def _anything(*texts: Body) -> bool:
    return any(isinstance(text, str) and scan(text) for text in texts)


class _Cleaner:
    """Takes secrets out of texts, and keeps what was found."""

    def __init__(self) -> None:
        self.findings: list[tuple[str, Finding]] = []

    def clean(self, field: str, text: str) -> str:
        """Return the text without its secrets."""
        done = redact(text)
        self.findings.extend((field, finding) for finding in done.findings)
        return done.text


def _detail(detail: str, clean: Callable[[str, str], str]) -> str:
    """Return an event's detail without secrets: a line, or the JSON of a checkpoint, which has to stay JSON."""
    if not detail.startswith("{"):
        return clean("detail", detail)
    try:
        said: JsonValue = json.loads(detail)
    except ValueError:
        return clean("detail", detail)
    cleaned = inside(said, partial(clean, "detail"))
    return detail if cleaned == said else json.dumps(cleaned, ensure_ascii=False)


def _catch_up(transaction: Transaction, mark: Mark) -> None:
    _put_mark(transaction.connection, replace(mark, caught_up=True))


def _apply(transaction: Transaction, text: TextIndex, bodies: Bodies, project: str, batch: _Batch) -> int:
    """Rewrite what holds a secret, and move the mark, in one transaction with the entry that says so.

    Rows are read anew: since the batch was read, one may have been deleted, or sealed. One that cannot be opened stays.

    Returns:
        How many secrets were taken out.
    """
    connection, cleaner = transaction.connection, _Cleaner()
    for which in batch.facts:
        for fact, session in memory.facts_after(connection, bodies, project, which - 1, 1):
            if fact.id == which and isinstance(fact.body, str):
                key, value = cleaner.clean("key", fact.key), cleaner.clean("value", fact.body)
                key = memory.rewrite_fact(connection, bodies, project, fact, key, value)
                archive.index_again(
                    connection,
                    text,
                    project,
                    FACT,
                    which,
                    key,
                    value,
                    fact.classification,
                    session,
                    fact.created_at,
                )
    for which in batch.documents:
        for old in archive.documents_after(connection, bodies, project, which - 1, 1):
            if old.id == which and isinstance(old.body, str):
                source, content = cleaner.clean("source", old.source), cleaner.clean("content", old.body)
                archive.rewrite(connection, text, bodies, project, old, source, content)
    for which in batch.events:
        for event in memory.events_after(connection, project, which - 1, 1):
            if event.id == which:
                memory.rewrite_event(connection, event, _detail(event.detail, cleaner.clean))
    for which in batch.broadcasts:
        for said in keeping.broadcasts_after(connection, project, which - 1, 1):
            if said.id == which:
                message = _detail(said.message, cleaner.clean)
                keeping.rewrite(connection, project, which, message, redact(said.task).text)
    _put_mark(connection, batch.mark)
    if cleaner.findings:
        text.scrub(connection)  # what was taken out leaves the pages of the index, and then the log
        transaction.scrub_after_commit()
        _clean_answers(connection)
        transaction.record(_entry(batch, cleaner.findings))
        log.warning("%d secrets were taken out of what project %s had stored", len(cleaner.findings), project)
    return len(cleaner.findings)


def _clean_answers(connection: Connection) -> None:
    """Take secrets out of the answers that are kept for retries: they repeat names."""
    replay.rewrite(connection, lambda response: _detail(response, _Cleaner().clean))


def _entry(batch: _Batch, findings: Sequence[tuple[str, Finding]]) -> EntryDraft:
    told = [{"field": field, "type": each.type, "fingerprint": each.fingerprint} for field, each in findings]
    counts = {
        "facts": len(batch.facts), "documents": len(batch.documents), "events": len(batch.events),
        "broadcasts": len(batch.broadcasts),
    }  # fmt: skip
    body = {"operation": "secrets.rescan", "outcome": "ok", "arguments": counts, "redacted": told}
    return EntryDraft("system", "secrets", "", "call", body)
