"""Row-level security: in a transaction, a service sees and writes the rows of the store that its context names.

Forced on every table, for the owner too. Who acts is what `current_store` makes of the signed context
(`boundaries.database_context`); without one there is no row. The function alone reads the keys, which the
administrator enters (`zc db migrate`). What a table's rows belong to is read off its columns: a project, or a log;
a table without either has to be named here, or the migration fails.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, Table, text

from securecontext.storage import tables
from securecontext.types.errors import ContractBroken

PROJECT: Final = "(SELECT current_project())"
_MACHINE: Final = f"{PROJECT} = 'machine'"
_OWN_META: Final = (
    f"starts_with(name, {PROJECT} || '@') OR name = 'ends/' || {PROJECT}"
    f" OR ({_MACHINE} AND starts_with(name, 'ends/'))"
)
_LISTED: Final[dict[str, str]] = {
    "meta": _OWN_META,
    "projects": _MACHINE,
    "project_aliases": _MACHINE,
    "tokens": _MACHINE,
    "rates": _MACHINE,
    "idempotency": f"{_MACHINE} OR strpos(scope, '/' || {PROJECT} || '/') > 0",
    **dict.fromkeys((table.name for table in (tables.chunks, *tables.HELD)), f"project = {PROJECT}"),
}
"""Whose rows are whose, where the columns do not say it, or not strictly enough."""
FUNCTIONS: Final = (
    "CREATE TABLE IF NOT EXISTS context_keys"
    " (signer varchar(64) PRIMARY KEY, inner_pad bytea NOT NULL, outer_pad bytea NOT NULL)",
    "REVOKE ALL ON context_keys FROM PUBLIC",
    """
    CREATE OR REPLACE FUNCTION current_store() RETURNS text LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path = securecontext, pg_temp AS $$
    DECLARE
      said CONSTANT text := pg_catalog.current_setting('zc.context', true);
      parts text[];
      pads context_keys;
    BEGIN
      IF said IS NULL OR said !~ '^v1[|][a-z0-9_]+@[a-z0-9_]+[|][0-9]{1,9}[|][0-9]{1,18}[|][0-9a-f]{64}$' THEN
        RETURN NULL;
      END IF;
      parts := pg_catalog.string_to_array(said, '|');
      IF parts[3]::int <> pg_catalog.pg_backend_pid() OR parts[4]::bigint <> transaction_began() THEN
        RETURN NULL;
      END IF;
      SELECT * INTO pads FROM context_keys WHERE signer = pg_catalog.split_part(parts[2], '@', 2);
      IF NOT FOUND OR pg_catalog.encode(pg_catalog.sha256(pads.outer_pad || pg_catalog.sha256(pads.inner_pad ||
          pg_catalog.convert_to(pg_catalog.array_to_string(parts[1:4], '|'), 'UTF8'))), 'hex') <> parts[5] THEN
        RETURN NULL;
      END IF;
      RETURN parts[2];
    END $$
    """,
    # Their bodies are bound when they are made, so that no search path of a caller's changes what they call.
    "CREATE OR REPLACE FUNCTION current_project() RETURNS text LANGUAGE sql STABLE"
    " RETURN pg_catalog.split_part(current_store(), '@', 1)",
    "CREATE OR REPLACE FUNCTION current_logs() RETURNS text[] LANGUAGE sql STABLE"
    " RETURN (SELECT pg_catalog.array_agg(m.value::text) FROM meta m"
    " WHERE pg_catalog.starts_with(m.name, (SELECT current_project()) || '@')"
    " AND pg_catalog.right(m.name, 4) = '/log')",
    "CREATE OR REPLACE FUNCTION current_log() RETURNS text LANGUAGE sql STABLE"
    " RETURN (SELECT m.value FROM meta m WHERE m.name = (SELECT current_store()) || '/log')",
)
"""Made before the policies that call them; `transaction_began` before all, see `BEGAN`."""
BEGAN: Final = (
    "CREATE OR REPLACE FUNCTION transaction_began() RETURNS bigint LANGUAGE sql STABLE AS"
    " $$ SELECT (extract(epoch FROM pg_catalog.transaction_timestamp()) * 1000000)::bigint $$"
)
_ENTER = text(
    "INSERT INTO context_keys (signer, inner_pad, outer_pad) VALUES (:signer, :inner_pad, :outer_pad)"
    " ON CONFLICT (signer) DO UPDATE SET inner_pad = excluded.inner_pad, outer_pad = excluded.outer_pad"
)


def lift(connection: Connection) -> None:
    """Let the owner migrate rows: under forced policies a statement of the owner would silently touch none."""
    forced = text(
        "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname = 'securecontext' AND c.relkind = 'r' AND c.relforcerowsecurity"
    )
    for name in connection.execute(forced).scalars().all():
        connection.exec_driver_sql(f"ALTER TABLE {name} NO FORCE ROW LEVEL SECURITY")


def force(connection: Connection) -> None:
    """Put every table under its policy.

    Raises:
        ContractBroken: a table of ours says neither by its columns nor here whose its rows are.
    """
    for statement in (BEGAN, *FUNCTIONS):
        connection.exec_driver_sql(statement)
    for table in tables.metadata.sorted_tables:
        using, check = _conditions(table)
        name = table.name
        connection.exec_driver_sql(f"DROP POLICY IF EXISTS own_rows ON {name}")
        connection.exec_driver_sql(f"CREATE POLICY own_rows ON {name} USING ({using}) WITH CHECK ({check})")
        connection.exec_driver_sql(f"ALTER TABLE {name} ENABLE ROW LEVEL SECURITY")
        connection.exec_driver_sql(f"ALTER TABLE {name} FORCE ROW LEVEL SECURITY")
    connection.exec_driver_sql("ALTER TABLE context_keys ENABLE ROW LEVEL SECURITY")


def _conditions(table: Table) -> tuple[str, str]:
    """Return which rows are seen, and which may be written."""
    if table.name in _LISTED:
        return (_LISTED[table.name],) * 2
    if (
        "log" in table.c
    ):  # other services' ledgers of a project are read; of one that is deleted bodies are blanked
        seen = "log = ANY ((SELECT current_logs())::text[])"
        return seen, seen if table is tables.ledger_bodies else "log = (SELECT current_log())"
    if "project" in table.c:
        return (f"project = {PROJECT} OR {_MACHINE}",) * 2
    raise ContractBroken(
        "table_without_policy",
        f"Nothing says whose the rows of {table.name} are.",
        "Name it in storage/postgres_policies.py.",
    )


def enter_key(connection: Connection, signer: str, pads: tuple[bytes, bytes]) -> None:
    """Let a service's contexts count."""
    connection.execute(_ENTER, {"signer": signer, "inner_pad": pads[0], "outer_pad": pads[1]})
