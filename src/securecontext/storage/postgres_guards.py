"""Triggers that keep the ledger append-only beside the grants, for the owner of the tables as well.

Of an entry its place in the tree may be filled in, once; of a body what it said may be blanked, for good; nothing else
changes, nothing goes. A superuser can take a trigger away: what then becomes of an entry, MACs and anchors tell.
"""

from __future__ import annotations

from typing import Final

_REFUSE: Final = "RAISE EXCEPTION 'the ledger is append-only' USING ERRCODE = 'insufficient_privilege'; "


def _guard(table: str, allowed: str) -> tuple[str, ...]:
    """Return what lets a table's rows change only as a condition over OLD and NEW says, and never go."""
    return (
        f"CREATE OR REPLACE FUNCTION guard_{table}() RETURNS trigger LANGUAGE plpgsql"
        " SET search_path = pg_catalog, pg_temp"
        f" AS $$ BEGIN IF TG_OP = 'UPDATE' THEN IF {allowed} THEN RETURN NEW; END IF; END IF; {_REFUSE}END $$",
        f"CREATE OR REPLACE TRIGGER guard_rows BEFORE UPDATE OR DELETE ON {table}"
        f" FOR EACH ROW EXECUTE FUNCTION guard_{table}()",
        f"CREATE OR REPLACE TRIGGER guard_all BEFORE TRUNCATE ON {table}"
        f" FOR EACH STATEMENT EXECUTE FUNCTION guard_{table}()",
    )


GUARDS: Final = (
    *_guard(
        "ledger_entries",
        "OLD.leaf_index IS NULL AND to_jsonb(NEW) - 'leaf_index' = to_jsonb(OLD) - 'leaf_index'",
    ),
    *_guard(
        "ledger_bodies",
        "NEW.body IS NULL AND NEW.salt IS NULL AND NEW.purged_at IS NOT NULL"
        " AND (NEW.log, NEW.stream, NEW.seq) = (OLD.log, OLD.stream, OLD.seq)",
    ),
    *_guard("ledger_checkpoints", "FALSE"),
)
"""Made after each migration; `postgres_rights.finish`."""
