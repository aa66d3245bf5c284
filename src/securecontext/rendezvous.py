"""Where the user's service is, and how a client starts it. Standard library only: the shim lives on this.

``<home>/service.sock`` is a symbolic link to the socket that the running service listens on, so a client needs one
``readlink`` to find it, whatever ``XDG_RUNTIME_DIR`` says in its own environment. The socket itself lies in a
directory of the user's own, because a data folder's path may be longer than the 107 bytes a socket may have.
"""

from __future__ import annotations

import fcntl
import os
import re
import socket
import struct
import sys
import time

LINK = "service.sock"
START_LOCK = "start.lock"
SERVICE_LOCK = "service.lock"
START_ERROR = "start.error"
SOCKET_PATH_BYTES = 107
LINE_BYTES = 16 * 1024 * 1024
"""The longest line on the socket.

Parsing one holds up all other clients, so it is no larger than it must be: the largest call of all imports 2,000 facts
of 4,000 characters, which are 8 MB in plain letters.
"""
LINE_VALUES = 100_000
"""The most values on a line; no call has nearly as many."""
STARTS = 5
"""Processes that one client starts at most before it gives up."""
SERVED = "zc serve: another process serves this data folder already."
"""What a service says that ends because another one serves."""
DOORS = ("mcp/1", "hook/1", "rpc/1", "operator/1", "control/1")


_TEXT = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)


class ServiceAway(Exception):
    """No service answers and none could be started. The text says why and what to do next."""


def crowded(line: bytes) -> bool:
    """Say whether a line of JSON holds too many values, without parsing it, which would take seconds."""
    if len(line) <= LINE_VALUES:
        return False
    bare = _TEXT.sub(b"", line)
    return bare.count(b",") + bare.count(b"[") + bare.count(b"{") > LINE_VALUES


def home(environ: dict[str, str] | None = None) -> str:
    """Return the data folder: ``ZC_HOME``, else ``zc-ctx`` under Claude Code's folder."""
    env = os.environ if environ is None else environ
    if env.get("ZC_HOME"):
        return os.path.abspath(os.path.expanduser(env["ZC_HOME"]))
    config = env.get("CLAUDE_CONFIG_DIR") or os.path.join(os.path.expanduser("~"), ".claude")
    return os.path.join(os.path.abspath(os.path.expanduser(config)), "zc-ctx")


def socket_path(home_folder: str, environ: dict[str, str] | None = None) -> str:
    """Return where the service of this data folder listens: a path of at most 107 bytes.

    ``$XDG_RUNTIME_DIR/securecontext/<hash>.sock``, else the same under a folder of the user's own in the system's
    temporary folder. The folder is made if it is absent; its owner and mode are checked.

    Raises:
        ServiceAway: the folder is not the user's own, or no short enough path exists.
    """
    import hashlib
    import tempfile

    env = os.environ if environ is None else environ
    name = (
        hashlib.sha256(os.path.realpath(home_folder).encode("utf-8", "surrogateescape")).hexdigest()[:16]
        + ".sock"
    )
    candidates = [os.path.join(tempfile.gettempdir(), f"securecontext-{os.getuid()}")]
    runtime = env.get("XDG_RUNTIME_DIR")
    if runtime and os.path.isdir(runtime) and os.access(runtime, os.W_OK):
        candidates.insert(0, os.path.join(runtime, "securecontext"))
    candidates.append(f"/tmp/securecontext-{os.getuid()}")  # noqa: S108 - owner and mode are checked below
    for folder in candidates:
        path = os.path.join(folder, name)
        if len(os.fsencode(path)) <= SOCKET_PATH_BYTES:
            _own_folder(folder)
            return path
    raise ServiceAway(
        "No folder for the service's socket has a path short enough. Set XDG_RUNTIME_DIR to a short one."
    )


def _own_folder(folder: str) -> None:
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
    except FileExistsError:
        pass  # a file, or a link to nothing: told below
    except OSError as error:
        raise ServiceAway(
            f"The folder {folder} for the service's socket cannot be made ({error.strerror}). "
            "Set XDG_RUNTIME_DIR to a folder of your own."
        ) from error
    found = os.lstat(folder)
    if found.st_uid != os.getuid() or (found.st_mode & 0o170000) != 0o040000:
        raise ServiceAway(f"{folder} is not a folder of your own. Remove it, or set XDG_RUNTIME_DIR.")
    if found.st_mode & 0o077:
        os.chmod(folder, 0o700)


def connect(home_folder: str, timeout: float | None = None) -> socket.socket:
    """Return a connection to the running service.

    Args:
        home_folder: the data folder.
        timeout: seconds for the connection attempt; afterwards the socket blocks.

    Raises:
        OSError: nobody listens there.
        ServiceAway: somebody else listens there.
    """
    target = os.readlink(os.path.join(home_folder, LINK))
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _await_connection(connection, target, timeout)
        if peer_uid(connection) not in (os.getuid(), 0):
            raise ServiceAway(f"{target} belongs to another user. Remove {os.path.join(home_folder, LINK)}.")
        connection.settimeout(None)
    except BaseException:
        connection.close()
        raise
    return connection


def system_socket(environ: dict[str, str] | None = None) -> str:
    """Return the socket of a system service that clients use instead of the user's own; empty for none."""
    return (os.environ if environ is None else environ).get("ZC_SYSTEM_SOCKET", "")


def _connect_shared(target: str, timeout: float) -> socket.socket:
    """Return a connection to a system service, whose socket root opened: nobody else is taken for it.

    Raises:
        ServiceAway: it cannot be reached, or is not root's.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _await_connection(connection, target, timeout)
        if peer_uid(connection) != 0:
            raise ServiceAway(f"{target} was not opened by root. Correct ZC_SYSTEM_SOCKET, or unset it.")
        connection.settimeout(None)
    except OSError as error:
        connection.close()
        raise ServiceAway(
            f"The system service at {target} cannot be reached ({error.strerror or error}). Ask the administrator "
            "(`systemctl status securecontext.socket`), or unset ZC_SYSTEM_SOCKET."
        ) from error
    except BaseException:
        connection.close()
        raise
    return connection


def _await_connection(connection: socket.socket, target: str, timeout: float | None) -> None:
    """Connect; a listener whose queue is full is busy, not away."""
    until = None if timeout is None else time.monotonic() + timeout
    while True:
        connection.settimeout(timeout)
        try:
            return connection.connect(target)
        except BlockingIOError:
            if until is not None and time.monotonic() > until:
                raise
            time.sleep(0.005)


def peer_uid(connection: socket.socket) -> int:
    """Return the user id of the process at the other end, as the kernel knows it."""
    return _peer(connection)[1]


def peer_pid(connection: socket.socket) -> int:
    """Return the id of the process at the other end, as the kernel knew it when that process connected."""
    return _peer(connection)[0]


def _peer(connection: socket.socket) -> tuple[int, int]:
    packed = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid, uid, _gid = struct.unpack("3i", packed)
    return int(pid), int(uid)


def connect_or_start(
    home_folder: str, deadline: float = 15.0, command: list[str] | None = None
) -> socket.socket:
    """Return a connection to the service, starting it if nobody answers; a system service is not started.

    Of many clients that come at once one starts the service and the others wait for it.

    Args:
        home_folder: the data folder; made with mode 0700 if it is absent.
        deadline: seconds until it gives up.
        command: what to run; by default this interpreter's ``-I -m securecontext serve``.

    Raises:
        ServiceAway: it did not come up in time; the text names the reason that the service left behind.
    """
    shared = system_socket()
    if shared:
        return _connect_shared(shared, deadline)
    try:
        return connect(home_folder, timeout=deadline)
    except OSError:
        pass
    until = time.monotonic() + deadline
    try:
        os.makedirs(home_folder, mode=0o700, exist_ok=True)
        lock = os.open(os.path.join(home_folder, START_LOCK), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ServiceAway(
            f"The data folder {home_folder} cannot be written ({error.strerror}). "
            "Make it writable, or set ZC_HOME to another folder."
        ) from error
    try:
        while True:  # somebody else may be starting it: whoever holds the lock does
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if time.monotonic() > until:
                    raise ServiceAway(
                        _why(home_folder, "Another client has been starting it for too long")
                    ) from None
                try:
                    return connect(home_folder, timeout=deadline)
                except OSError:
                    time.sleep(0.01)
        try:
            return connect(home_folder, timeout=deadline)
        except OSError:
            pass
        return _start(home_folder, until, command or [sys.executable, "-I", "-m", "securecontext", "serve"])
    finally:
        os.close(lock)


def _start(home_folder: str, until: float, command: list[str]) -> socket.socket:
    """Start a service and return a connection to it. The caller holds the lock of starting."""
    said = b""
    for _ in range(STARTS):
        _forget_reason(home_folder)
        ear = spawn(command, service_environment(home_folder))
        try:
            ended = False
            while not ended and time.monotonic() < until:
                heard = _heard(ear)
                ended = heard == b""
                said = (said + (heard or b""))[-4000:]
                try:
                    return connect(home_folder, timeout=max(0.1, until - time.monotonic()))
                except OSError:
                    time.sleep(0.004)
        finally:
            os.close(ear)
        # A process that ended without a reason was killed, or found another one that was just about to end.
        said = said.replace(SERVED.encode(), b"").strip()
        if not ended or said or reason(home_folder):
            break
    raise ServiceAway(_why(home_folder, "The service did not start", said.decode("utf-8", "replace")))


def _forget_reason(home_folder: str) -> None:
    try:
        os.unlink(os.path.join(home_folder, START_ERROR))
    except OSError:
        return  # there is none, or the folder cannot be written, which the service will say


def _heard(ear: int) -> bytes | None:
    """Return what the starting process has said; nothing at all once it has ended or is ready; None if it is silent."""
    try:
        return os.read(ear, 4096)
    except BlockingIOError:
        return None


def reason(home_folder: str) -> str:
    """Return the reason why the last service did not start, as it left it; empty if there is none."""
    try:
        with open(os.path.join(home_folder, START_ERROR), encoding="utf-8", errors="replace") as file:
            return file.read(2000).strip()
    except OSError:
        return ""


def _why(home_folder: str, what: str, said: str = "") -> str:
    """Return ``what`` with the reason that the service itself gave, if it did."""
    lines = said.strip().splitlines()
    why = reason(home_folder) or (lines[-1][:1000] if lines else "")
    return f"{what}: {why}" if why else f"{what}. See `zc service logs`."


KEPT = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_", "TZ", "TMPDIR", "XDG_", "LD_LIBRARY_PATH", "ZC_")
ONE_CALLERS = ("ZC_AGENT_", "ZC_PROJECT_", "ZC_SESSION_", "ZC_POSTGRES_ADMIN_")


def service_environment(home_folder: str, environ: dict[str, str] | None = None) -> dict[str, str]:
    """Return the environment of a service: built from what it needs, so that it outlives a session without its secrets.

    Of a caller's environment it keeps the names in `KEPT`, without those that describe that caller alone.
    """
    env = dict(os.environ) if environ is None else environ
    kept = {n: v for n, v in env.items() if n.startswith(KEPT) and not n.startswith(ONE_CALLERS)}
    return {**kept, "ZC_HOME": home_folder}


def spawn(command: list[str], environment: dict[str, str]) -> int:
    """Run ``command`` as a process that outlives this one and belongs to no terminal.

    A double fork: a long-lived client has no child to wait for, and the service never gets a terminal.

    Returns:
        A descriptor that reads, without blocking, what the process says on its standard error; at its end the
        process has ended, or has turned its standard error elsewhere because it serves.
    """
    ear, mouth = os.pipe()
    child = os.fork()
    if child:
        os.close(mouth)
        os.set_blocking(ear, False)
        os.waitpid(child, 0)
        return ear
    try:  # pragma: no cover - runs in the child
        os.setsid()
        if os.fork():
            os._exit(0)
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor, source in ((0, null), (1, null), (2, mouth)):
            os.dup2(source, descriptor)
        os.closerange(3, 4096)
        os.chdir("/")
        os.execve(command[0], command, environment)  # noqa: S606 - the interpreter and arguments are our own
    except OSError as error:
        os.write(2, f"{command[0]} cannot be run ({error.strerror}).".encode())
    finally:
        os._exit(127)


def preamble(door: str, headers: dict[str, str]) -> bytes:
    """Return the lines that open a connection: the door, then ``name: value`` headers, then an empty line.

    ``%`` and line ends in values are percent-encoded, so a header is always one line.
    """
    lines = [door]
    for name, value in headers.items():
        lines.append(f"{name}: " + value.replace("%", "%25").replace("\n", "%0A").replace("\r", "%0D"))
    return ("\n".join(lines) + "\n\n").encode("utf-8", "surrogateescape")


def _project_folder(env: dict[str, str]) -> str:
    """Return the folder whose project a client means, absolute: the service has a folder of its own.

    Empty where the current folder was removed and nothing else is named.
    """
    named = env.get("ZC_PROJECT_PATH") or env.get("CLAUDE_PROJECT_DIR") or ""
    try:
        return named if os.path.isabs(named) else os.path.join(os.getcwd(), named).rstrip("/") or "/"
    except OSError:
        return ""


def caller_headers(environ: dict[str, str] | None = None, version: str = "") -> dict[str, str]:
    """Return the headers by which a client describes itself.

    All of it is a claim, and rights come from the peer's uid; but for the session token, which says who the client is,
    and the channel's key, which its broadcasts show.
    """
    env = dict(os.environ) if environ is None else environ
    shown = {"token": env.get("ZC_SESSION_TOKEN", ""), "channel-key": env.get("ZC_CHANNEL_KEY", "")}
    return {
        **{name: value for name, value in shown.items() if value},
        "version": version,
        "project-path": _project_folder(env),
        "agent": env.get("ZC_AGENT_ID", ""),
        "role": env.get("ZC_AGENT_ROLE", ""),
        "model": env.get("ZC_AGENT_MODEL", ""),
        "scope": env.get("ZC_PROJECT_SCOPE", ""),
        "client-session": env.get("CLAUDE_CODE_SESSION_ID", ""),
    }
