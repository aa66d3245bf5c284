"""Which login the service may work with, looked at before anything else is done with a database.

A superuser and a role with BYPASSRLS see past every policy, an owner can drop them, a member of other roles can become
these, and a server that asks nobody for a password believes whoever reaches it.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import Connection, text

from securecontext.storage.postgres_address import SCHEMA, is_socket
from securecontext.types.errors import Conflict, Denied, Unavailable

LEAST_VERSION: Final = 150_000
"""PostgreSQL 15."""
HOW: Final = "See docs/how-to/postgres.md for the logins that it needs."

_WHO = text(
    "SELECT r.rolsuper, r.rolbypassrls, r.rolcreaterole, r.rolreplication,"
    " (SELECT count(*) FROM pg_auth_members m WHERE m.member = r.oid) AS memberships,"
    " (SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
    "   WHERE c.relowner = r.oid AND n.nspname NOT LIKE 'pg~_temp%' ESCAPE '~') AS owned,"
    " (SELECT count(*) FROM pg_namespace n"
    "   WHERE n.nspowner = r.oid AND n.nspname NOT LIKE 'pg~_%' ESCAPE '~') AS schemas,"
    " (SELECT count(*) FROM pg_database d WHERE d.datdba = r.oid AND d.datname = current_database()) AS databases"
    " FROM pg_roles r WHERE r.rolname = session_user"
)
_TLS_NAME = text("SELECT client_dn FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
_TICKET = text("SELECT gss_authenticated FROM pg_stat_gssapi WHERE pid = pg_backend_pid()")


def refuse_unsafe(connection: Connection) -> None:
    """Refuse a login that could undo what the database is to keep, and a server that believes anybody.

    Raises:
        Conflict: ``postgres_too_old``.
        Denied: ``postgres_login_unsafe``, ``postgres_trust``.
        Unavailable: ``schema_missing``: `zc db migrate` never ran here.
    """
    driver: Any = connection.connection.dbapi_connection
    if driver.info.server_version < LEAST_VERSION:
        raise Conflict(
            "postgres_too_old",
            "This PostgreSQL is older than 15.",
            "Update the server, or keep the data in files: unset ZC_POSTGRES_URL.",
        )
    who = connection.execute(_WHO).one()
    for wrong, what in (
        (who.rolsuper, "is a superuser, who sees past every policy"),
        (who.rolbypassrls, "has BYPASSRLS and sees past every policy"),
        (who.rolcreaterole or who.rolreplication, "may make roles or copy the whole server"),
        (
            who.owned or who.schemas or who.databases,
            "owns what it is to use, and could undo what protects it",
        ),
        (who.memberships, "is a member of another role, and could become it"),
    ):
        if wrong:
            raise Denied(
                "postgres_login_unsafe",
                f"The login of ZC_POSTGRES_URL {what}.",
                f"Use one that only serves. {HOW}",
            )
    if not is_socket(connection.engine.url) and not _was_asked(connection, driver):
        raise Denied(
            "postgres_trust",
            "The PostgreSQL server believes whoever reaches it over the network: it asked for no password.",
            f"Let pg_hba.conf say scram-sha-256 instead of trust. {HOW}",
        )
    if connection.execute(text("SELECT to_regnamespace(:name)"), {"name": SCHEMA}).scalar() is None:
        raise _no_schema()


def refuse_unknown(connection: Connection, store: str) -> None:
    """Refuse to go on where the database does not believe what this service says it is.

    Raises:
        Unavailable: ``schema_missing``: the tables are not there yet.
        Denied: ``context_unknown``: nobody let this service in, or its tokens root was rotated since.
    """
    if connection.scalar(text("SELECT to_regproc('current_store')")) is None:
        raise _no_schema()
    if connection.scalar(text("SELECT current_store()")) != store:
        raise Denied(
            "context_unknown",
            "The database does not know the keys of this service, and shows it nothing.",
            "Let it in as the database's administrator, with this ZC_HOME: `zc db migrate`.",
        )


def _no_schema() -> Unavailable:
    return Unavailable(
        "schema_missing",
        "This database has no tables of SecureContext yet.",
        "Make them as its administrator: `zc db migrate`.",
    )


def _was_asked(connection: Connection, driver: Any) -> bool:
    """Say whether the server asked who comes: for a password, a certificate, or a ticket."""
    if driver.pgconn.used_password:
        return True
    if connection.execute(_TLS_NAME).scalar():
        return True
    return bool(connection.execute(_TICKET).scalar())
