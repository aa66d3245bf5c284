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

from sqlalchemy import Connection, insert, select, update

from securecontext.app.stores import Stores
from securecontext.knowledge import rewriting as archive
from securecontext.knowledge.archive import FACT
from securecontext.memory import rewriting as memory
from securecontext.pipeline import replay
from securecontext.storage.port import Store, TextIndex, Transaction
from securecontext.storage.tables import meta
from securecontext.types.errors import Expired, Unavailable
from securecontext.types.ledger import EntryDraft
from securecontext.validators.secrets import Finding, JsonValue, engine_sees, redact

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
    caught_up: bool = False


@dataclass(frozen=True, slots=True)
class _Found:
    """What a batch of rows gave: where to go on, what is to be rewritten, and what was found."""

    mark: Mark
    facts: Sequence[tuple[memory.StoredFact, str, str]]
    documents: Sequence[tuple[archive.StoredDocument, str, str]]
    events: Sequence[tuple[memory.StoredEvent, str]]
    findings: Sequence[tuple[str, Finding]]

    @property
    def anything(self) -> bool:
        return bool(self.facts or self.documents or self.events)


class Rescan:
    """Scans what is stored.

    Args:
        stores: whose open projects are looked at.
    """

    def __init__(self, stores: Stores) -> None:
        self._stores = stores

    def turn(self, rules: str, let_pass: Callable[[], None]) -> int:
        """Scan what the open projects hold beyond their marks; return how many secrets were taken out.

        Args:
            rules: names what is scanned with.
            let_pass: is called between two batches; may wait.
        """
        taken = 0
        for project, store in self._stores.open_projects().items():
            with suppress(
                Expired, Unavailable
            ):  # it has just ended, or its file has a trouble that calls tell
                taken += self._project(project, store, rules, let_pass)
        return taken

    def _project(self, project: str, store: Store, rules: str, let_pass: Callable[[], None]) -> int:
        with store.read() as connection:
            mark = read_mark(connection)
        if mark is None or mark.rules != rules:
            mark = Mark(rules)
            store.write(lambda transaction: _forget_answers(transaction.connection))
        taken = 0
        while True:
            let_pass()
            with store.read() as connection:
                found = _batch(connection, project, mark)
            if found.mark == mark:
                if not mark.caught_up:
                    store.write(partial(_catch_up, mark=mark))
                return taken
            store.write(partial(_apply, text=store.text, project=project, found=found))
            taken += len(found.findings)
            mark = found.mark


def read_mark(connection: Connection) -> Mark | None:
    """Return the mark of a project's file; None where there is none."""
    said = connection.execute(select(meta.c.value).where(meta.c.name == MARK)).scalar()
    return None if said is None else Mark(**json.loads(said))


def _put_mark(connection: Connection, mark: Mark) -> None:
    value = json.dumps(asdict(mark))
    if connection.execute(update(meta).where(meta.c.name == MARK).values(value=value)).rowcount == 0:
        connection.execute(insert(meta), {"name": MARK, "value": value})


def _batch(connection: Connection, project: str, mark: Mark) -> _Found:
    """Scan the rows after a mark, `AT_ONCE` of each kind at most."""
    findings: list[tuple[str, Finding]] = []

    def clean(field: str, text: str) -> str:
        if mark.caught_up and not engine_sees(text):
            return text
        done = redact(text)
        findings.extend((field, finding) for finding in done.findings)
        return done.text

    facts = [
        (row, clean("key", row.key), clean("value", row.value))
        for row in memory.facts_after(connection, project, mark.fact, AT_ONCE)
    ]
    documents = [
        (row, clean("source", row.source), clean("content", row.content))
        for row in archive.documents_after(connection, project, mark.document, AT_ONCE)
    ]
    events = [
        (row, _detail(row.detail, clean))
        for row in memory.events_after(connection, project, mark.event, AT_ONCE)
    ]
    return _Found(
        replace(
            mark,
            fact=facts[-1][0].id if facts else mark.fact,
            document=documents[-1][0].id if documents else mark.document,
            event=events[-1][0].id if events else mark.event,
        ),
        [(row, key, value) for row, key, value in facts if (key, value) != (row.key, row.value)],
        [
            (row, source, content)
            for row, source, content in documents
            if (source, content) != (row.source, row.content)
        ],
        [(row, detail) for row, detail in events if detail != row.detail],
        findings,
    )


def _detail(detail: str, clean: Callable[[str, str], str]) -> str:
    """Return an event's detail without secrets: a line, or the JSON of a checkpoint, which has to stay JSON."""
    if not detail.startswith("{"):
        return clean("detail", detail)
    try:
        said: JsonValue = json.loads(detail)
    except ValueError:
        return clean("detail", detail)
    cleaned = _inside(said, clean)
    return detail if cleaned == said else json.dumps(cleaned, ensure_ascii=False)


def _inside(value: JsonValue, clean: Callable[[str, str], str]) -> JsonValue:
    if isinstance(value, str):
        return clean("detail", value)
    if isinstance(value, list):
        return [_inside(each, clean) for each in value]
    if isinstance(value, dict):
        return {name: _inside(each, clean) for name, each in value.items()}
    return value


def _catch_up(transaction: Transaction, mark: Mark) -> None:
    _put_mark(transaction.connection, replace(mark, caught_up=True))


def _apply(transaction: Transaction, text: TextIndex, project: str, found: _Found) -> None:
    """Rewrite what is to be, and move the mark, in one transaction with the entry that says so."""
    connection = transaction.connection
    for fact, wanted, value in found.facts:
        key = memory.rewrite_fact(connection, project, fact, wanted, value)
        archive.index_again(
            connection, text, project, FACT, fact.id, key, value, fact.session, fact.created_at
        )
    for document, source, content in found.documents:
        archive.rewrite(connection, text, project, document, source, content)
    for event, detail in found.events:
        memory.rewrite_event(connection, event, detail)
    _put_mark(connection, found.mark)
    if found.anything:
        text.scrub(connection)  # what was taken out leaves the pages of the index, and then the log
        transaction.scrub_after_commit()
        _forget_answers(connection)
        transaction.record(_entry(found))
        log.warning("%d secrets were taken out of what project %s had stored", len(found.findings), project)


def _forget_answers(connection: Connection) -> None:
    """Take secrets out of the answers that are kept for retries: they repeat names."""
    replay.rewrite(connection, lambda response: _detail(response, lambda _, text: redact(text).text))


def _entry(found: _Found) -> EntryDraft:
    told = [
        {"field": field, "type": each.type, "fingerprint": each.fingerprint} for field, each in found.findings
    ]
    counts = {"facts": len(found.facts), "documents": len(found.documents), "events": len(found.events)}
    body = {"operation": "secrets.rescan", "outcome": "ok", "arguments": counts, "redacted": told}
    return EntryDraft("system", "secrets", "", "call", body)
