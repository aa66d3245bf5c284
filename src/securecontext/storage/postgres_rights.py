"""Who may do what in the database: one role owns the tables and cannot log in, services may use them and own nothing.

Run by the administrator's login, in the transaction of the migrations, and again after each of them: what is granted
is what stands here, of every table that there is. The ledger is append-only by these grants: of an entry a service may
fill in the place in its tree, and of a body it may blank what it said.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, text
from sqlalchemy.dialects import postgresql

from securecontext.storage import postgres_policies, tables
from securecontext.storage.postgres_address import SCHEMA
from securecontext.storage.postgres_guards import GUARDS
from securecontext.storage.search_postgres import BESIDE_THE_TABLES
from securecontext.types.errors import Denied, InvalidInput, NotFound

OWNER: Final = "securecontext_owner"
_LEDGER: Final[dict[str, str]] = {
    "ledger_entries": "SELECT, INSERT, UPDATE (leaf_index)",
    "ledger_bodies": "SELECT, INSERT, UPDATE (salt, body, purged_at)",
    "ledger_heads": "SELECT, INSERT, UPDATE (seq, head, mac)",
    "ledger_checkpoints": "SELECT, INSERT",
    "alembic_version": "SELECT",
}
"""All that a service may do with these; with every other table it may do what rows are for."""
_ROWS: Final = "SELECT, INSERT, UPDATE, DELETE"
_LOGIN = text(
    "SELECT rolsuper OR rolbypassrls OR rolcreaterole OR rolreplication AS mighty, rolcanlogin,"
    " EXISTS (SELECT FROM pg_auth_members m WHERE m.member = r.oid) AS member FROM pg_roles r WHERE rolname = :name"
)
_quoted = postgresql.dialect().identifier_preparer.quote  # type: ignore[no-untyped-call]


def prepare(connection: Connection) -> None:
    """Make the owner and the schema where they are not there, and become the owner until the transaction ends.

    Raises:
        Denied: ``admin_login_weak``: this login may not make roles or schemas, nor become the owner.
    """
    if connection.scalar(text("SELECT 1 FROM pg_roles WHERE rolname = :name"), {"name": OWNER}) is None:
        connection.exec_driver_sql(f"CREATE ROLE {OWNER} NOLOGIN")
    becomes = "SET" if int(connection.scalar(text("SHOW server_version_num")) or 0) >= 160_000 else "MEMBER"
    may = text("SELECT pg_has_role(current_user, :name, :becomes)")
    if not connection.scalar(may, {"name": OWNER, "becomes": becomes}):
        connection.exec_driver_sql(f"GRANT {OWNER} TO CURRENT_USER")
    if connection.scalar(text("SELECT to_regnamespace(:name)"), {"name": SCHEMA}) is None:
        connection.exec_driver_sql(f"CREATE SCHEMA {SCHEMA} AUTHORIZATION {OWNER}")
    owner = connection.scalar(
        text("SELECT pg_get_userbyid(nspowner) FROM pg_namespace WHERE nspname = :name"), {"name": SCHEMA}
    )
    if owner != OWNER:
        raise Denied(
            "schema_of_another",
            f"The schema {SCHEMA} of this database belongs to {owner}, not to {OWNER}.",
            "Nothing was changed. Use another database, or give the schema to that role.",
        )
    connection.exec_driver_sql(f"SET LOCAL ROLE {OWNER}")
    connection.exec_driver_sql(
        "SET LOCAL row_security = off"
    )  # what a policy would hide from a migration is an error
    postgres_policies.lift(connection)


def finish(connection: Connection, logins: list[str]) -> None:
    """Make what lies beside the tables, and grant what services need. The owner's role is on.

    Args:
        connection: after `prepare` and the migrations, in their transaction.
        logins: of the services; each is a member of nothing.

    Raises:
        NotFound: ``no_such_login``.
        Denied: ``login_too_mighty``: a service must not have it.
    """
    for statement in (*BESIDE_THE_TABLES, *GUARDS):
        connection.exec_driver_sql(statement)
    postgres_policies.force(connection)
    connection.exec_driver_sql(f"REVOKE ALL ON SCHEMA {SCHEMA} FROM PUBLIC")
    for login in logins:
        _refuse_mighty(connection, login)
        _grant(connection, login)


def _refuse_mighty(connection: Connection, login: str) -> None:
    found = connection.execute(_LOGIN, {"name": login}).first()
    if found is None or not found.rolcanlogin:
        raise NotFound(
            "no_such_login",
            "The server has no login of that name for the service.",
            "Make it: CREATE ROLE zc_service LOGIN PASSWORD '…'; then run `zc db migrate` again.",
            login=login,
        )
    if found.mighty or found.member:
        raise Denied(
            "login_too_mighty",
            "That login may do more than a service should, or is a member of another role.",
            "Make one that is a member of nothing: CREATE ROLE zc_service LOGIN PASSWORD '…'.",
            login=login,
        )


def _grant(connection: Connection, login: str) -> None:
    to = _quoted(login)
    connection.exec_driver_sql(f"GRANT USAGE ON SCHEMA {SCHEMA} TO {to}")
    for name in (*sorted(tables.metadata.tables), "alembic_version"):
        connection.exec_driver_sql(f"REVOKE ALL ON {SCHEMA}.{name} FROM {to}")
        for right in _rights(name):
            connection.exec_driver_sql(f"GRANT {right} ON {SCHEMA}.{name} TO {to}")
    connection.exec_driver_sql(f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA {SCHEMA} TO {to}")


def _rights(table: str) -> list[str]:
    return [_LEDGER.get(table, _ROWS)]


def login_of(username: str | None) -> str:
    """Return the login that a service's address names.

    Raises:
        InvalidInput: it names none.
    """
    if not username:
        raise InvalidInput(
            "postgres_url",
            "The address in ZC_POSTGRES_URL names no login.",
            "Write it as postgresql://user:password@host:5432/database, or name logins with --login.",
        )
    return username
