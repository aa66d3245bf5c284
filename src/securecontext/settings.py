"""Every setting, and the one reader of the environment on the service's side.

Clients that must start fast (the shim, the hook) read the handful of variables they pass on by themselves; see
``rendezvous``. Each setting is documented in docs/reference/settings.md.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from securecontext import rendezvous
from securecontext.boundaries import limits
from securecontext.types.errors import InvalidInput
from securecontext.validators.upstreams import Upstream, parse_upstreams

DEFAULT_PORT = 3099
DEFAULT_HOST = "127.0.0.1"
MOST_NAMES = 20
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?(:[0-9]{1,5})?", re.ASCII)
DEFAULT_IDLE_MINUTES = 30.0
MOST_SOCKETS = 8
DEFAULT_CONNECTIONS = 20
MOST = 1e9
"""Of any amount: what is larger is a mistake."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The service's settings.

    Attributes:
        home: ``ZC_HOME``: the data folder.
        user_home: ``HOME``: a repository that is the home folder itself is no project.
        http_port: ``ZC_HTTP_PORT``: loopback port of the HTTP door; a free one is taken where it is in use; 0 for
            any free one; ``off`` (None) for no HTTP door.
        http_host: ``ZC_HTTP_HOST``: where the HTTP door listens; beyond loopback only with TLS or a proxy.
        http_names: ``ZC_HTTP_NAMES``: names by which it is called there.
        http_behind_proxy: ``ZC_HTTP_BEHIND_PROXY``: whether a proxy ends TLS before it.
        tls_cert: ``ZC_TLS_CERT``: its certificate chain, a file.
        tls_key: ``ZC_TLS_KEY``: the key of that.
        idle_minutes: ``ZC_IDLE_MINUTES``: the service ends after so long without a client.
        machine_secret: ``ZC_MACHINE_SECRET``: seeds the roots of encryption, tokens and skills.
        log_level: ``ZC_LOG_LEVEL``: debug, info, warning or error.
        witness_file: ``ZC_WITNESS_FILE``: where checkpoints are anchored a second time.
        witness_git: ``ZC_WITNESS_GIT``: a git repository in whose notes they are anchored as well.
        calls_per_second: ``ZC_CALLS_PER_SECOND``: how often one session may call, for long.
        memory_limit_mb: ``ZC_MEMORY_LIMIT_MB``: memory of the service above which no large work begins.
        quota_mb: ``ZC_QUOTA_MB``: how large a project's database may become.
        strict_integrity: ``ZC_STRICT_INTEGRITY``: whether code that is not what was accepted keeps the service from
            starting.
        principals: ``ZC_PRINCIPALS``: the map of users of a system service; None for a user's own.
        passed_sockets: how many sockets were passed to this process for them (``LISTEN_FDS``).
        ledger_days: ``ZC_STALE_DAYS_LEDGER``: days after which bodies of ledger entries are purged; None for never.
        all_secret_rules: ``ZC_SECRET_RULES``: whether a second set of rules is used beside our own.
        postgres_url: ``ZC_POSTGRES_URL``: the database that holds the data; None for files. It holds a password.
        postgres_connections: ``ZC_POSTGRES_CONNECTIONS``: how many connections to it there are at most.
        upstreams: ``ZC_API_URL``: the services that hold the data; none where this one does.
        upstream_ca: ``ZC_API_CA``: the only authorities that may vouch for them; None for the system's.
    """

    home: Path
    user_home: Path
    http_port: int | None = DEFAULT_PORT
    http_host: str = DEFAULT_HOST
    http_names: tuple[str, ...] = ()
    http_behind_proxy: bool = False
    tls_cert: Path | None = None
    tls_key: Path | None = None
    idle_minutes: float = DEFAULT_IDLE_MINUTES
    machine_secret: bytes | None = None
    log_level: str = "info"
    witness_file: Path | None = None
    witness_git: Path | None = None
    calls_per_second: float = limits.CALLS_PER_SECOND
    memory_limit_mb: float = limits.MEMORY_MB
    quota_mb: float = limits.QUOTA_MB
    strict_integrity: bool = False
    principals: Path | None = None
    passed_sockets: int = 0
    ledger_days: float | None = None
    all_secret_rules: bool = True
    postgres_url: str | None = field(default=None, repr=False)
    postgres_connections: int = DEFAULT_CONNECTIONS
    upstreams: tuple[Upstream, ...] = ()
    upstream_ca: Path | None = None

    @property
    def open_to_others(self) -> bool:
        """Whether the HTTP door may be reached from other machines."""
        return self.http_behind_proxy or not ipaddress.ip_address(self.http_host).is_loopback


VARIABLES: dict[str, str] = {
    "ZC_HOME": "data folder; by default zc-ctx under Claude Code's folder (~/.claude, or CLAUDE_CONFIG_DIR)",
    "ZC_HTTP_PORT": f"loopback port of the HTTP door, default {DEFAULT_PORT}; 0 for any free one, off for none",
    "ZC_HTTP_HOST": f"address on which the HTTP door listens, default {DEFAULT_HOST}; one that other hosts reach needs "
    "ZC_TLS_CERT and ZC_TLS_KEY, or ZC_HTTP_BEHIND_PROXY",
    "ZC_HTTP_NAMES": "names, with commas between, by which other hosts call the HTTP door: what their Host header says",
    "ZC_HTTP_BEHIND_PROXY": "1: a proxy ends TLS before the HTTP door, where then only session tokens count",
    "ZC_TLS_CERT": "absolute path of the certificate chain of the HTTP door, PEM",
    "ZC_TLS_KEY": "absolute path of its key, PEM, unencrypted",
    "ZC_IDLE_MINUTES": f"minutes without a client after which the service ends, default {DEFAULT_IDLE_MINUTES:.0f}",
    "ZC_MACHINE_SECRET": "base64 of at least 32 bytes that seed the roots of encryption, tokens and skills",
    "ZC_LOG_LEVEL": "debug, info (default), warning or error",
    "ZC_WITNESS_FILE": "absolute path of a file, best on another disk, in which the ledgers are anchored as well",
    "ZC_WITNESS_GIT": "absolute path of a git repository of yours: the ledgers are anchored in its notes as well "
    "(refs/notes/securecontext, which you push)",
    "ZC_CALLS_PER_SECOND": f"calls a second that one session may go on with, default {limits.CALLS_PER_SECOND:.0f}; "
    f"{limits.BURST_SECONDS} times as many may come at once",
    "ZC_MEMORY_LIMIT_MB": "MiB of the service's memory above which large work is refused, default "
    f"{limits.MEMORY_MB:.0f}",
    "ZC_QUOTA_MB": f"MiB that a project's database may use, default {limits.QUOTA_MB:.0f}; forgetting always works",
    "ZC_STRICT_INTEGRITY": "1: the service does not start with code that nobody accepted; 0 (default): it says so",
    "ZC_STALE_DAYS_LEDGER": "days after which the ledger no longer says what was done; default: never",
    "ZC_PRINCIPALS": "absolute path of the map of users of a system service; see `zc install --system`",
    "ZC_SYSTEM_SOCKET": "socket of a system service, which clients then use instead of the user's own",
    "ZC_SECRET_RULES": "all (default): some five hundred rules against secrets beside our own, which take 45 MiB; own: "
    "ours alone",
    "ZC_POSTGRES_URL": "postgresql://user:password@host:5432/database: the data is kept there instead of in files; the "
    "certificate is checked unless the host is this machine",
    "ZC_POSTGRES_CONNECTIONS": f"connections to it at most, 2 to 500, default {DEFAULT_CONNECTIONS}",
    "ZC_POSTGRES_ADMIN_URL": "the same with the database's administrator, read by `zc db migrate` alone and never "
    "passed on to the service",
    "ZC_API_URL": "https://host:3099 of the service that holds the data, several with commas between them: the user's "
    "own service is then a gateway to it; http:// to this machine alone",
    "ZC_API_CA": "absolute path of a PEM file: the authorities that may vouch for them, instead of the system's",
    "ZC_PROJECT_PATH": "folder of the project; by default CLAUDE_PROJECT_DIR, else the current folder",
    "ZC_PROJECT_SCOPE": "worktree: each git worktree has a memory of its own; by default they share one",
    "ZC_AGENT_ID": "name of the agent: selects its notebook, grants nothing",
    "ZC_AGENT_ROLE": "role of the agent: a label, grants nothing",
    "ZC_SESSION_TOKEN": "session token (zcst.…) that says who the agent is, in which role and project; see `zc token`",
    "ZC_CHANNEL_KEY": "key of the project's channel, which the client shows with the agent's broadcasts",
    "ZC_AGENT_MODEL": "model of the agent: a label",
    "ZC_OWNERSHIP_STRICT": "1: no file is written while the service cannot say whose it is; 0 (default): it is",
    "ZC_CLAUDE": "the claude program; by default the one that `zc install --client` named, else the one on PATH",
}
"""Every variable that SecureContext reads, with what it does."""


def read(environ: Mapping[str, str] | None = None) -> Settings:
    """Return the settings of an environment.

    Raises:
        InvalidInput: a variable has a value that means nothing; unknown is refused, not guessed.
    """
    env = dict(os.environ if environ is None else environ)
    sockets = _passed_sockets(env)
    if sockets and not env.get("ZC_PRINCIPALS"):  # who came there would wait for ever
        raise _refuse("ZC_PRINCIPALS", "set, although sockets were passed to this service")
    upstreams = parse_upstreams(env["ZC_API_URL"]) if env.get("ZC_API_URL") else ()
    for name in ("ZC_POSTGRES_URL", "ZC_PRINCIPALS"):
        if upstreams and env.get(name):  # both say where the data is, or whose
            raise _refuse(name, "unset, although ZC_API_URL makes this service a gateway")
    return Settings(
        home=Path(rendezvous.home(env)),
        user_home=Path(env.get("HOME") or Path.home()),
        http_port=_port(env.get("ZC_HTTP_PORT", "")),
        **_outside(env),
        idle_minutes=_minutes(env.get("ZC_IDLE_MINUTES", "")),
        machine_secret=_secret(env.get("ZC_MACHINE_SECRET", "")),
        log_level=_level(env.get("ZC_LOG_LEVEL", "")),
        witness_file=_file("ZC_WITNESS_FILE", env.get("ZC_WITNESS_FILE", "")),
        witness_git=_file("ZC_WITNESS_GIT", env.get("ZC_WITNESS_GIT", "")),
        calls_per_second=_amount(env, "ZC_CALLS_PER_SECOND", limits.CALLS_PER_SECOND),
        memory_limit_mb=_amount(env, "ZC_MEMORY_LIMIT_MB", limits.MEMORY_MB),
        quota_mb=_amount(env, "ZC_QUOTA_MB", limits.QUOTA_MB),
        strict_integrity=_switch("ZC_STRICT_INTEGRITY", env.get("ZC_STRICT_INTEGRITY", "")),
        principals=_file("ZC_PRINCIPALS", env.get("ZC_PRINCIPALS", "")),
        passed_sockets=sockets,
        ledger_days=_amount(env, "ZC_STALE_DAYS_LEDGER", 0.0) or None,
        all_secret_rules=_all_rules(env.get("ZC_SECRET_RULES", "")),
        postgres_url=env.get("ZC_POSTGRES_URL") or None,
        postgres_connections=_connections(env.get("ZC_POSTGRES_CONNECTIONS", "")),
        upstreams=upstreams,
        upstream_ca=_file("ZC_API_CA", env.get("ZC_API_CA", "")),
    )


def read_admin_url(environ: Mapping[str, str] | None = None) -> str:
    """Return the address with which the database's administrator migrates it.

    Raises:
        InvalidInput: it is not set.
    """
    found = (os.environ if environ is None else environ).get("ZC_POSTGRES_ADMIN_URL", "")
    if not found:
        raise _refuse("ZC_POSTGRES_ADMIN_URL", "set")
    return found


def _passed_sockets(env: Mapping[str, str]) -> int:
    """Return how many sockets the one who started this process passed to it, and to no other."""
    count = env.get("LISTEN_FDS", "")
    if env.get("LISTEN_PID") != str(os.getpid()) or not (count.isascii() and count.isdigit()):
        return 0
    return min(int(count), MOST_SOCKETS)


def _refuse(name: str, wanted: str) -> InvalidInput:
    return InvalidInput(
        "bad_setting",
        f"{name} is not {wanted}.",
        f"Set {name} anew or unset it: {VARIABLES[name]}.",
        field=name,
    )


def _port(text: str) -> int | None:
    if not text:
        return DEFAULT_PORT
    if text.lower() == "off":
        return None
    if text.isascii() and text.isdigit() and int(text) < 65_536:
        return int(text)
    raise _refuse("ZC_HTTP_PORT", "a port or off")


def _outside(env: Mapping[str, str]) -> dict[str, Any]:
    """Return how other hosts reach the HTTP door: never in clear text by oversight."""
    found = {
        "http_host": _host(env.get("ZC_HTTP_HOST", "")),
        "http_names": _names(env.get("ZC_HTTP_NAMES", "")),
        "http_behind_proxy": _switch("ZC_HTTP_BEHIND_PROXY", env.get("ZC_HTTP_BEHIND_PROXY", "")),
        "tls_cert": _file("ZC_TLS_CERT", env.get("ZC_TLS_CERT", "")),
        "tls_key": _file("ZC_TLS_KEY", env.get("ZC_TLS_KEY", "")),
    }
    if (found["tls_cert"] is None) != (found["tls_key"] is None):
        raise _refuse(
            "ZC_TLS_KEY" if found["tls_key"] is None else "ZC_TLS_CERT", "set, although its other half is"
        )
    loopback = ipaddress.ip_address(str(found["http_host"])).is_loopback
    if not loopback and found["tls_cert"] is None and not found["http_behind_proxy"]:
        raise _refuse("ZC_HTTP_HOST", "loopback, and neither TLS nor a proxy that ends it is named")
    if found["http_behind_proxy"] and not found["http_names"]:
        raise _refuse("ZC_HTTP_NAMES", "set, although a proxy stands before the HTTP door")
    return found


def _host(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text or DEFAULT_HOST))
    except ValueError:
        raise _refuse("ZC_HTTP_HOST", "an IP address") from None


def _names(text: str) -> tuple[str, ...]:
    names = tuple(name.strip().lower() for name in text.split(",") if name.strip())
    if len(names) > MOST_NAMES or not all(_NAME.fullmatch(name) for name in names):
        raise _refuse("ZC_HTTP_NAMES", f"at most {MOST_NAMES} host names")
    return names


def _minutes(text: str) -> float:
    if not text:
        return DEFAULT_IDLE_MINUTES
    minutes = _number(text)
    if not 0 < minutes <= 60 * 24 * 365:
        raise _refuse("ZC_IDLE_MINUTES", "a number of minutes above 0")
    return minutes


def _amount(env: Mapping[str, str], name: str, default: float) -> float:
    text = env.get(name, "")
    if not text:
        return default
    amount = _number(text)
    if not 0 < amount <= MOST:
        raise _refuse(name, "a number above 0")
    return amount


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return -1.0


def _connections(text: str) -> int:
    if not text:
        return DEFAULT_CONNECTIONS
    if not (text.isascii() and text.isdigit() and len(text) < 4 and 2 <= int(text) <= 500):
        raise _refuse("ZC_POSTGRES_CONNECTIONS", "a number from 2 to 500")
    return int(text)


def _secret(text: str) -> bytes | None:
    if not text:
        return None
    try:
        secret = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        secret = b""
    if len(secret) < 32:
        raise _refuse("ZC_MACHINE_SECRET", "base64 of at least 32 bytes")
    return secret


def _file(name: str, text: str) -> Path | None:
    if text and not Path(text).is_absolute():
        raise _refuse(name, "an absolute path")
    return Path(text) if text else None


def _switch(name: str, text: str) -> bool:
    if text not in ("", "0", "1"):
        raise _refuse(name, "0 or 1")
    return text == "1"


def _all_rules(text: str) -> bool:
    if text not in ("", "all", "own"):
        raise _refuse("ZC_SECRET_RULES", "all or own")
    return text != "own"


def _level(text: str) -> str:
    level = text.lower() or "info"
    if level not in ("debug", "info", "warning", "error"):
        raise _refuse("ZC_LOG_LEVEL", "debug, info, warning or error")
    return level
