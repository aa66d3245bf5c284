"""Tasks are scanned again once when there are new rules: what is said of a task changes as long as it is in work.

So no mark says up to which row they were scanned, as one does for what is only added to; see ``rescan``.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial

from securecontext.coordination.rewriting import StoredTask, rewrite_task, tasks_after
from securecontext.storage.port import Store, Transaction
from securecontext.types.ledger import EntryDraft
from securecontext.validators.secrets import Finding, JsonValue, redact

AT_ONCE = 100
"""Tasks that are read between two looks whether somebody waits."""

Clean = Callable[[str], str]


def rescan_tasks(project: str, store: Store, let_pass: Callable[[], None]) -> int:
    """Take secrets out of the tasks of a project; return how many.

    Args:
        project: the project.
        store: holds it.
        let_pass: is called between two batches; may wait.
    """
    after, taken = 0, 0
    while True:
        let_pass()
        with store.read() as connection:
            batch = tasks_after(connection, project, after, AT_ONCE)
        if not batch:
            return taken
        after = batch[-1].id
        found = [task.id for task in batch if _cleaned(task)[1]]
        if found:
            taken += store.write(partial(_apply, project=project, found=found))


def _apply(transaction: Transaction, project: str, found: list[int]) -> int:
    """Rewrite tasks in one transaction with the entry that says so; they are read anew."""
    told: list[dict[str, str]] = []
    for which in found:
        for task in tasks_after(transaction.connection, project, which - 1, 1):
            cleaned, findings = _cleaned(task)
            if task.id == which and findings:
                rewrite_task(transaction.connection, cleaned)
                told += [{"field": "task", "type": f.type, "fingerprint": f.fingerprint} for f in findings]
    if told:
        body = {
            "operation": "secrets.rescan",
            "outcome": "ok",
            "arguments": {"tasks": len(found)},
            "redacted": told,
        }
        transaction.record(EntryDraft("system", "secrets", "", "call", body))
        transaction.scrub_after_commit()
    return len(told)


def _cleaned(task: StoredTask) -> tuple[StoredTask, list[Finding]]:
    """Return a task without secrets, and what was found."""
    findings: list[Finding] = []

    def clean(text: str) -> str:
        done = redact(text)
        findings.extend(done.findings)
        return done.text

    return (
        StoredTask(
            task.id,
            _json(task.payload, clean),
            None if task.progress is None else clean(task.progress),
            None if task.reason is None else clean(task.reason),
            None if task.result is None else _json(task.result, clean),
            None if task.artefacts is None else _json(task.artefacts, clean),
        ),
        findings,
    )


def _json(text: str, clean: Clean) -> str:
    value: JsonValue = json.loads(text)
    cleaned = inside(value, clean)
    return text if cleaned == value else json.dumps(cleaned, ensure_ascii=False, separators=(",", ":"))


def inside(value: JsonValue, clean: Clean) -> JsonValue:
    """Return a JSON value with each text in it, names included, replaced by what a function makes of it."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, list):
        return [inside(each, clean) for each in value]
    if isinstance(value, dict):
        return {clean(name): inside(each, clean) for name, each in value.items()}
    return value
