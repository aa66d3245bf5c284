"""`zc db migrate`: the tables of a PostgreSQL database, made and brought up to date by its administrator.

One transaction: it does all of it or nothing. Two that run at once wait for each other, and the second finds nothing
to do but the grants, which it repeats.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError, TimeoutError

from securecontext.boundaries.database_context import ContextKey
from securecontext.boundaries.keys import Keyring
from securecontext.settings import Settings
from securecontext.storage import postgres_errors, postgres_login, postgres_policies, postgres_rights, schema
from securecontext.storage.postgres_address import open_postgres, parse, told
from securecontext.types.errors import Conflict, Denied

_MIGRATION_LOCK: Final = 0x5EC0_0001
"""Advisory lock key: those who migrate at once do it one after another."""


@dataclass(frozen=True, slots=True)
class Migrated:
    """What was done.

    Attributes:
        where: the database, as people may see it.
        before: the schema's revision; None where there was none.
        after: what it is now.
        logins: of services that may use it.
    """

    where: str
    before: str | None
    after: str
    logins: Sequence[str]


def migrate(
    admin_url: str, service_url: str | None, logins: Sequence[str], keyring: Keyring | None = None
) -> Migrated:
    """Bring a database to the present schema, and grant services what they need.

    Args:
        admin_url: with a login that may make roles and schemas.
        service_url: names the login of a service that has no name in `logins`.
        logins: of further services.
        keyring: of the service whose contexts are to count from now on; see `boundaries.database_context`.

    Raises:
        ZcError: nothing was changed.
    """
    wanted = list(logins)
    if service_url and not wanted:
        wanted = [postgres_rights.login_of(parse(service_url).username)]
    engine = open_postgres(admin_url, 1)
    try:
        with engine.begin() as connection:
            _refuse_old(connection)
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
            postgres_rights.prepare(connection)
            before = schema.current_revision(connection)
            schema.upgrade(connection)
            postgres_rights.finish(connection, wanted)
            if keyring is not None:
                postgres_policies.enter_key(connection, keyring.signer, ContextKey(keyring).pads())
        return Migrated(told(engine.url), before, schema.CURRENT, wanted)
    except (DBAPIError, TimeoutError) as error:
        if getattr(getattr(error, "orig", None), "sqlstate", None) == "42501":
            raise Denied(
                "admin_login_weak",
                "The login of ZC_POSTGRES_ADMIN_URL may not make roles, schemas and tables here.",
                f"Use the database's administrator. {postgres_login.HOW}",
            ) from error
        raise postgres_errors.translated(error) from error
    finally:
        engine.dispose()


def keyring_of(settings: Settings) -> Keyring:
    """Return the keys of a data folder; they are made where there are none."""
    settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    return Keyring.open(settings.home / "keys", settings.machine_secret)


def _refuse_old(connection: Connection) -> None:
    version = int(connection.execute(text("SHOW server_version_num")).scalar_one())
    if version < postgres_login.LEAST_VERSION:
        raise Conflict(
            "postgres_too_old",
            "This PostgreSQL is older than 15.",
            "Update the server, or keep the data in files: unset ZC_POSTGRES_URL.",
        )
