"""Row-level security: in a transaction one sees and writes what is for who acts there, and nothing without a context.

Forced on every table, for the owner too. Who acts is what `postgres_context` makes of the signed context
(`boundaries.database_context`); its function alone reads the keys, which the administrator enters (`zc db migrate`).
A table of which nothing here says whose its rows are makes the migration fail.

Policies name who they are for: ``agent`` and ``person`` for the calls of such, an agent's role, a duty of a call, or a
part of the service (``system:…``, see `storage.acting`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sqlalchemy import Connection, Table, text

from securecontext.storage import tables
from securecontext.storage.acting import (
    AUDITOR,
    KEEP,
    PROJECTS,
    PURGE,
    QUEUE,
    RESCAN,
    RETENTION,
    SEQUENCER,
    SERVICE,
    SURVEY,
    TOKENS,
    WRITER,
)  # fmt: skip
from securecontext.storage.postgres_context import FUNCTIONS, OUTDATED
from securecontext.types.errors import ContractBroken

_CALLS: Final = ("agent", "person")
_ALWAYS: Final = (SERVICE.duty, PROJECTS.duty)
_PARTS: Final = (
    *_ALWAYS, WRITER.duty, SEQUENCER.duty, AUDITOR.duty, RETENTION.duty, RESCAN.duty, QUEUE.duty, TOKENS.duty,
)  # fmt: skip


def _place(*who: str) -> str:
    """Return the project, or ``machine``, in which one of these acts; null for anybody else."""
    return f"(SELECT acting_in('{{{','.join(dict.fromkeys(who))}}}'))"


def _here(*who: str) -> str:
    return f"project = {_place(*who)}"


def _machine(*who: str) -> str:
    return f"{_place(*who)} = 'machine'"


def _all(condition: str) -> Mapping[str, str]:
    return dict.fromkeys(("SELECT", "INSERT", "UPDATE", "DELETE"), condition)


def _signed_by(author: str) -> str:
    """Return the condition of rows that say of themselves that they are of who acts; a person may say otherwise."""
    return f"ARRAY[{author}, '*']::text[] && (SELECT acting_as())::text[]"


_NOTEBOOK: Final = "project || '/' || agent"
_FACTS: Final = {
    "SELECT": f"ARRAY[{_NOTEBOOK} || '/' || classification, project || '/*/' || classification,"
    f" {_NOTEBOOK} || '/' || classification || '/' || created_by] && (SELECT seen_facts())::text[]",
    "INSERT": f"ARRAY[{_NOTEBOOK} || '/' || created_by, {_NOTEBOOK} || '/*', project || '/*/*']"
    " && (SELECT kept_facts())::text[]",
    **dict.fromkeys(
        ("UPDATE", "DELETE"), f"ARRAY[{_NOTEBOOK}, project || '/*'] && (SELECT kept_facts())::text[]"
    ),
}
_KEEPING: Final = (KEEP, PURGE, *_ALWAYS, RESCAN.duty, RETENTION.duty)
_DOCUMENTS: Final = {
    **_all(_here(*_KEEPING)),
    "SELECT": "ARRAY[project || '/' || classification, project || '/' || classification || '/' || created_by]"
    " && (SELECT seen_texts())::text[]",
    "INSERT": f"{_here(*_KEEPING)} AND {_signed_by('created_by')}",
}
_CHUNKS: Final = {
    **_all(_here(*_KEEPING)),
    "SELECT": f"{_here(*_CALLS, *_KEEPING, SURVEY)} AND (parent_kind = 'document'"
    f" OR EXISTS (SELECT FROM facts f WHERE f.fact = parent) OR {_here(*_KEEPING)})",
}
_WORK: Final = _all(_here(*_CALLS, *_ALWAYS, QUEUE.duty, RESCAN.duty))
_OWN: Final = {**_WORK, "INSERT": f"{_WORK['INSERT']} AND {_signed_by('created_by')}"}
_AS_AGENT: Final = "'agent:' || agent"
_BY_AGENT: Final = {**_WORK, "INSERT": f"{_WORK['INSERT']} AND {_signed_by(_AS_AGENT)}"}


def _logs(*who: str) -> str:
    return f"log = ANY((SELECT acting_logs('{{{','.join(who)}}}'))::text[])"


def _own_log(*who: str) -> str:
    return f"log = (SELECT acting_log('{{{','.join(who)}}}'))"


_LEDGER: Final = {**_all(_own_log(WRITER.duty, SEQUENCER.duty, *_ALWAYS)), "SELECT": _logs(*_CALLS, *_PARTS)}
_BODIES: Final = {
    **_LEDGER,
    "UPDATE": _logs(PURGE, RETENTION.duty, RESCAN.duty, *_ALWAYS),
}
_SUBJECT: Final = (
    "CASE WHEN starts_with(name, 'ends/') THEN substr(name, 6) ELSE split_part(name, '@', 1) END"
)
_META: Final = (
    f"ARRAY[{_SUBJECT}, CASE WHEN starts_with(name, 'ends/') THEN 'machine' END]"
    f" && ARRAY[{_place(*_CALLS, *_PARTS)}]"
)
_AUTHOR: Final = "split_part(scope, '/', 1)"
_SCOPE: Final = (
    f"{_signed_by(_AUTHOR)} AND"
    f" ARRAY[split_part(scope, '/', 2), 'machine'] && ARRAY[{_place(*_CALLS, *_ALWAYS, RETENTION.duty, RESCAN.duty)}]"
)
_RULES: Final[Mapping[str, Mapping[str, str]]] = {
    "meta": _all(_META),
    "projects": _all(_machine(*_CALLS, *_PARTS)),
    "project_aliases": _all(_machine(*_CALLS, *_PARTS)),
    "tokens": _all(_machine("person", "orchestrator", TOKENS.duty, RETENTION.duty, *_ALWAYS)),
    "rates": _all(_machine(RETENTION.duty, *_ALWAYS)),
    "idempotency": _all(_SCOPE),
    "facts": _FACTS,
    "documents": _DOCUMENTS,
    "chunks": _CHUNKS,
    "events": _all(_here(*_CALLS, *_ALWAYS, RESCAN.duty)),
    "tasks": _OWN,
    "task_needs": _WORK,
    "task_results": _OWN,
    "broadcasts": _OWN,
    "broadcast_recipients": _WORK,
    "broadcast_acks": _BY_AGENT,
    "broadcast_attempts": _BY_AGENT,
    "channel_keys": {**_all(_here("person", *_ALWAYS)), "SELECT": _here(*_CALLS, *_ALWAYS)},
    "reservations": _WORK,
    "ledger_entries": _LEDGER,
    "ledger_bodies": _BODIES,
    "ledger_heads": _LEDGER,
    "ledger_tiles": _LEDGER,
    "ledger_checkpoints": _LEDGER,
    "ledger_sequencers": _LEDGER,
}
"""For each table and command the rows that it is about: those that are there, and those that it leaves."""


def lift(connection: Connection) -> None:
    """Let the owner migrate rows: under forced policies a statement of the owner would silently touch none."""
    forced = text(
        "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname = 'securecontext' AND c.relkind = 'r' AND c.relforcerowsecurity"
    )
    for name in connection.execute(forced).scalars().all():
        connection.exec_driver_sql(f"ALTER TABLE {name} NO FORCE ROW LEVEL SECURITY")


def force(connection: Connection) -> None:
    """Put every table under its policies.

    Raises:
        ContractBroken: nothing says whose the rows of a table are.
    """
    for statement in FUNCTIONS:
        connection.exec_driver_sql(statement)
    for table in tables.metadata.sorted_tables:
        rules = _rules(table)
        name = table.name
        for policy in ("own_rows", *(f"own_rows_{command.lower()}" for command in rules)):
            connection.exec_driver_sql(f"DROP POLICY IF EXISTS {policy} ON {name}")
        for command, rows in rules.items():
            using = "" if command == "INSERT" else f" USING ({rows})"
            check = f" WITH CHECK ({rows})" if command in ("INSERT", "UPDATE") else ""
            connection.exec_driver_sql(
                f"CREATE POLICY own_rows_{command.lower()} ON {name} FOR {command}{using}{check}"
            )
        connection.exec_driver_sql(f"ALTER TABLE {name} ENABLE ROW LEVEL SECURITY")
        connection.exec_driver_sql(f"ALTER TABLE {name} FORCE ROW LEVEL SECURITY")
    connection.exec_driver_sql("ALTER TABLE context_keys ENABLE ROW LEVEL SECURITY")
    for function in OUTDATED:
        connection.exec_driver_sql(f"DROP FUNCTION IF EXISTS {function}")


def _rules(table: Table) -> Mapping[str, str]:
    if table.name not in _RULES:
        raise ContractBroken(
            "table_without_policy",
            f"Nothing says whose the rows of {table.name} are.",
            "Name it in storage/postgres_policies.py.",
        )
    return _RULES[table.name]


_ENTER = text(
    "INSERT INTO context_keys (signer, inner_pad, outer_pad) VALUES (:signer, :inner_pad, :outer_pad)"
    " ON CONFLICT (signer) DO UPDATE SET inner_pad = excluded.inner_pad, outer_pad = excluded.outer_pad"
)


def enter_key(connection: Connection, signer: str, pads: tuple[bytes, bytes]) -> None:
    """Let a service's contexts count."""
    connection.execute(_ENTER, {"signer": signer, "inner_pad": pads[0], "outer_pad": pads[1]})
