"""The address of a PostgreSQL database: parsed, held to TLS where it leaves the machine, and turned into a pool.

An address holds a password. It is never repeated in an error, and psycopg's own texts about it are never passed on.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from typing import Final

import sqlalchemy
from sqlalchemy import URL, Engine
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from securecontext.types.errors import InvalidInput, Unavailable

SCHEMA: Final = "securecontext"
"""Where our tables are. What else the database holds is another's; temporary tables never hide ours."""
STATEMENT_TIMEOUT_MS: Final = 30_000
CONNECT_TIMEOUT_S: Final = 10
POOL_SIZE: Final = 20
POOL_TIMEOUT_S: Final = 10
TLS_MODES: Final = ("verify-full", "verify-ca", "require")
_PROBES: Final = {
    "keepalives_idle": 5,
    "keepalives_interval": 3,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
}
"""By which the kernel notices a server that went away without a word; of no meaning at a unix socket."""
_DRIVERS: Final = ("postgresql", "postgres", "postgresql+psycopg")
_SESSION: Final = {
    "statement_timeout": str(STATEMENT_TIMEOUT_MS),
    "synchronous_commit": "on",
    "timezone": "UTC",
}


def parse(url: str) -> URL:
    """Return an address with its parts; whichever of the driver's names it has.

    Raises:
        InvalidInput: ``postgres_url`` when it is not such an address; ``postgres_tls`` when it leaves the machine and
            says that TLS is not needed. The address is not repeated.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        parsed = None
    if parsed is None or parsed.drivername not in _DRIVERS or "service" in parsed.query:
        raise InvalidInput(
            "postgres_url",
            "This is not the address of a PostgreSQL database.",
            "Write it as postgresql://user:password@host:5432/database.",
        )
    return _with_tls(parsed.set(drivername="postgresql+psycopg"))


def hosts(url: URL, environ: Mapping[str, str] | None = None) -> list[str]:
    """Return every host that an address may lead to: names, addresses, folders of sockets; none for the default one."""
    env = os.environ if environ is None else environ
    named = [url.host or "", *(_words(url, "host")), *(_words(url, "hostaddr"))]
    found = [each for name in named for each in name.split(",") if each]
    return found or [
        each for name in ("PGHOST", "PGHOSTADDR") for each in env.get(name, "").split(",") if each
    ]


def is_local(host: str) -> bool:
    """Say whether a host is this machine: the folder of a socket, an abstract socket, or a loopback address."""
    if host.startswith(("/", "@")) or host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def is_socket(url: URL) -> bool:
    """Say whether an address leads to a unix socket alone, at which the kernel says who comes."""
    return all(host.startswith(("/", "@")) for host in hosts(url))


def _with_tls(url: URL) -> URL:
    """Return an address that asks for TLS, and for the server's certificate, unless it stays on this machine."""
    if all(is_local(host) for host in hosts(url)):
        return url
    mode = next(iter(_words(url, "sslmode")), "")
    if mode and mode not in TLS_MODES:
        raise InvalidInput(
            "postgres_tls",
            "The address of the PostgreSQL database leaves this machine without TLS.",
            f"Let sslmode be one of {', '.join(TLS_MODES)}, or leave it out: then the certificate is checked too.",
        )
    if mode:
        return url
    more = {"sslmode": "verify-full"}
    if "sslrootcert" not in url.query and "PGSSLROOTCERT" not in os.environ:
        more["sslrootcert"] = "system"
    return url.update_query_dict(more)


def _words(url: URL, name: str) -> list[str]:
    found = url.query.get(name, ())
    return [found] if isinstance(found, str) else list(found)


def told(url: URL) -> str:
    """Return an address as people may see it: who, where, which database."""
    where = ",".join(hosts(url)) or "the default socket"
    port = f":{url.port}" if url.port else ""
    return f"{url.username or 'the default login'} at {where}{port}, database {url.database}"


def open_postgres(url: str, connections: int = POOL_SIZE, schema: str = SCHEMA) -> Engine:
    """Return an engine for the database at ``url``; nothing is connected yet.

    Args:
        url: ``postgresql://user:password@host/database``, libpq's parameters after the question mark.
        connections: how many there are at most.
        schema: where the tables are.

    Returns:
        An engine with at most so many connections, for which it is waited `POOL_TIMEOUT_S`. A connection that the
        server dropped is replaced unseen, a statement ends after `STATEMENT_TIMEOUT_MS`, and a commit returns once it
        is on the server's disk.

    Raises:
        InvalidInput: as `parse`.
        Unavailable: ``postgres_driver_missing`` when psycopg is not installed.
    """
    parsed = parse(url)
    settings = " ".join(
        f"-c {name}={value}" for name, value in {**_SESSION, "search_path": f"{schema},pg_temp"}.items()
    )
    given = " ".join(_words(parsed, "options"))
    try:
        return sqlalchemy.create_engine(
            parsed,
            pool_size=connections,
            max_overflow=0,
            pool_timeout=POOL_TIMEOUT_S,
            pool_pre_ping=True,
            pool_use_lifo=True,
            hide_parameters=True,
            connect_args={
                "options": f"{given} {settings}".strip(),
                "connect_timeout": CONNECT_TIMEOUT_S,
                **_PROBES,
                "application_name": "securecontext",
            },
        )
    except ModuleNotFoundError as error:
        raise Unavailable(
            "postgres_driver_missing",
            "The driver for PostgreSQL is not installed.",
            "Install it with `pip install 'securecontext[postgres]'`.",
        ) from error
