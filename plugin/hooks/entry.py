"""Carry one Claude Code hook event to the SecureContext service and its answer back, byte for byte.

Run as ``<python> -I -S entry.py <event>``; standard input is what the client wrote. ``hooks.json`` imports it
instead, because Python keeps what it compiled of a module and not of a program (2 ms). One file, standard
library only, and on the fast path nothing but modules that a bare start has loaded already, plus ``_socket``:
it runs after every tool call of a session, so a millisecond here is a millisecond of the user's patience.

Memory fails open: whatever goes wrong, the session goes on. At most one line says so (at ``session-start``,
where a person can act on it); there is no traceback, no exit code of our own but 0, and every event has a
total deadline. So it is before a write, when another agent may hold the file, unless ``ZC_OWNERSHIP_STRICT=1``
says that what nobody could check is not written. What a session does while the service is away is spooled as a bare
record: never contents, commands or outputs.
"""

import posix
import sys
import time

TYPE_CHECKING = False  # the name that type checkers know, without the import
if TYPE_CHECKING:
    import _socket
    import signal as _signal
    from types import FrameType
    from typing import Any, NoReturn
else:
    import _signal

# `zc install claude-code` replaces these three, each on its line. HOME is where the data is when the
# environment does not say so.
COMMAND: list[str] | None = None
HOME: str | None = None
VERSION = "0.1.0"

DEADLINES = {"session-start": 8.0, "pre-compact": 4.0, "session-end": 1.2}
"""Seconds from start to exit; every other event has `DEADLINE`. The client cancels SessionEnd after 1.5 s."""
DEADLINE = 1.0
GROUP_SIGNALS = (_signal.SIGHUP, _signal.SIGINT)
"""What a closed terminal or Ctrl-C sends to all its processes; the deadline ends this one soon enough."""
GRACE = 0.2
"""Seconds of a deadline kept back to write the spool record or the one line."""
STARTERS = ("session-start", "pre-compact")
"""Events that start the service when it is away; the others are spooled."""
SPOOLED = ("pre-compact", "tool-used", "tool-failed", "stop", "session-end")
SPOOL_FILES = 10_000
PARSED_BYTES = 16 << 20
"""A larger payload is spooled without its details: parsing it would not fit into the deadline."""
ANSWER_BYTES = 16 << 20
BEFORE_WRITING = "pre-write"
UNCHECKED = 3
"""The exit code by which the service says that it could not look whose file it is."""
UNDELIVERED = 9
"""The exit code by which the service says that it could not hand on what happened to where it is kept."""
FILE_TOOLS = ("Read", "Write", "Edit", "MultiEdit", "NotebookEdit", "NotebookRead")
KEPT = (
    b"PATH",
    b"HOME",
    b"USER",
    b"LOGNAME",
    b"LANG",
    b"LC_",
    b"TZ",
    b"TMPDIR",
    b"XDG_",
    b"LD_LIBRARY_PATH",
    b"ZC_",
)
ONE_CALLERS = (b"ZC_AGENT_", b"ZC_PROJECT_", b"ZC_SESSION_")
"""Environment names that the service (it outlives the session) gets, and of those the ones that it must not inherit."""

ENV = posix.environ


class Away(Exception):
    """The service did not answer: not running, not ours, too slow, or gone half-way."""


def late(signum: int, frame: "FrameType | None") -> "NoReturn":
    """Turn the alarm, or the client's cancellation, into `Away`, wherever the program waits."""
    raise Away("too slow")


def env(*names: bytes) -> bytes:
    """Return the first of the named environment variables that is set and not empty."""
    for name in names:
        value = ENV.get(name)
        if value:
            return value
    return b""


def home() -> bytes:
    """Return the data folder: ``$ZC_HOME``, else ``$CLAUDE_CONFIG_DIR/zc-ctx``, else ``~/.claude/zc-ctx``."""
    at = env(b"ZC_HOME") or (HOME or "").encode("utf-8", "surrogateescape")
    if not at:
        config = env(b"CLAUDE_CONFIG_DIR")
        if not config:
            config = env(b"HOME")
            if not config:
                import pwd

                config = pwd.getpwuid(posix.getuid()).pw_dir.encode()
            config += b"/.claude"
        at = config + b"/zc-ctx"
    return at if at.startswith(b"/") else posix.getcwdb() + b"/" + at


def read_all(fd: int) -> bytes:
    """Return what is on ``fd`` until its end."""
    chunks: list[bytes] = []
    while True:
        try:
            chunk = posix.read(fd, 1 << 20)
        except BlockingIOError:
            posix.set_blocking(fd, True)
            continue
        if not chunk:
            return b"".join(chunks)
        chunks.append(chunk)


def write_all(fd: int, data: bytes) -> None:
    """Write all of ``data``; a reader that went away is none of our business."""
    view = memoryview(data)
    while view:
        try:
            view = view[posix.write(fd, view) :]
        except BlockingIOError:
            posix.set_blocking(fd, True)
        except OSError:
            return


def connect(at: bytes) -> "_socket.socket":
    """Return a connection to the service of the folder ``at``, whose process belongs to this user.

    ``$ZC_SYSTEM_SOCKET`` leads to a system service instead, whose socket root has opened.

    Raises:
        Away: no link, nobody listens, or the peer is somebody else.
    """
    import _socket

    shared = env(b"ZC_SYSTEM_SOCKET")
    try:
        sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        sock.connect(shared or posix.readlink(at + b"/service.sock"))
        # struct ucred: pid, uid, gid; four bytes each.
        peer = sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12)
    except OSError:
        raise Away("not running") from None
    if int.from_bytes(peer[4:8], sys.byteorder) != (0 if shared else posix.getuid()):
        raise Away("not ours")
    return sock


def project() -> bytes:
    """Return the folder whose project the session belongs to, absolute; empty where the current one was removed."""
    named = env(b"ZC_PROJECT_PATH", b"CLAUDE_PROJECT_DIR")
    if named.startswith(b"/"):
        return named
    try:
        here = posix.getcwdb()
    except OSError:
        return b""
    return here + b"/" + named if named else here


def identity() -> list[tuple[bytes, bytes]]:
    """Return who reports, by header name: versions, project, agent; without what is not set."""
    values = (
        (b"version", VERSION.encode()),
        (b"plugin", VERSION.encode()),
        (b"project-path", project()),
        (b"agent", env(b"ZC_AGENT_ID")),
        (b"role", env(b"ZC_AGENT_ROLE")),
        (b"model", env(b"ZC_AGENT_MODEL")),
        (b"scope", env(b"ZC_PROJECT_SCOPE")),
    )
    return [(name, value) for name, value in values if value]


def header(event: str) -> bytes:
    """Return the lines that go before the payload: the session token among them, which goes nowhere else."""
    lines = [b"hook/1 " + event.encode("ascii", "replace") + b"\n"]
    token = env(b"ZC_SESSION_TOKEN")
    for name, value in [*identity(), *([(b"token", token)] if token else [])]:
        lines.append(name + b": " + value.replace(b"%", b"%25").replace(b"\n", b"%0A") + b"\n")
    lines.append(b"\n")
    return b"".join(lines)


def ask(sock: "_socket.socket", event: str, payload: bytes) -> tuple[int, bytes, bytes]:
    """Send the event and return the service's answer: exit code, standard output, standard error.

    Raises:
        Away: the answer is missing, cut short or malformed; nothing of it is shown.
    """
    try:
        try:
            sock.sendall(header(event) + payload)
            sock.shutdown(1)  # SHUT_WR
        except OSError:
            pass  # it may have answered before it had read everything; what it said is still there
        answer = b""
        while b"\n" not in answer and len(answer) < 64:
            chunk = sock.recv(65536)
            if not chunk:
                raise Away("no answer")
            answer += chunk
        line, _, body = answer.partition(b"\n")
        word, code, out, err = line.split(b" ")
        numbers = int(code), int(out), int(err)
        if word != b"exit" or min(numbers) < 0 or numbers[0] > 255 or sum(numbers[1:]) > ANSWER_BYTES:
            raise Away("not an answer")
        chunks, missing = [body], numbers[1] + numbers[2] - len(body)
        while missing > 0:
            chunk = sock.recv(min(missing, 1 << 20))
            if not chunk:
                raise Away("half an answer")
            chunks.append(chunk)
            missing -= len(chunk)
    except (OSError, ValueError):
        raise Away("not an answer") from None
    body = b"".join(chunks)
    return numbers[0], body[: numbers[1]], body[numbers[1] : numbers[1] + numbers[2]]


def spawn(command: list[str], at: bytes) -> int:
    """Start the service in a session of its own and return its process id.

    Raises:
        Away: the command cannot be run.
    """
    from_child, to_parent = posix.pipe()  # closes on exec: what arrives after the id is a failure
    child = posix.fork()
    if child == 0:
        try:
            for number in (_signal.SIGALRM, _signal.SIGTERM, *GROUP_SIGNALS):
                _signal.signal(number, _signal.SIG_DFL)
            posix.setsid()
            grandchild = posix.fork()
            if grandchild:
                posix.write(to_parent, b"%d\n" % grandchild)
                posix._exit(0)
            for fd in (0, 1, 2):
                posix.dup2(posix.open("/dev/null", posix.O_RDWR), fd)
            posix.chdir("/")
            clean = {k: v for k, v in ENV.items() if k.startswith(KEPT) and not k.startswith(ONE_CALLERS)}
            clean[b"ZC_HOME"] = at
            posix.execve(command[0], command, clean)
        except BaseException:
            posix.write(to_parent, b"failed\n")
        finally:
            posix._exit(127)
    posix.close(to_parent)
    posix.waitpid(child, 0)
    said = read_all(from_child)
    posix.close(from_child)
    if not said or b"failed" in said:
        raise Away("cannot be started")
    return int(said)


def start(at: bytes) -> "_socket.socket":
    """Start the service unless another client just did, and return a connection to it.

    Raises:
        Away: there is no command to run, or the service ended instead of listening.
    """
    if COMMAND is None or env(b"ZC_SYSTEM_SOCKET"):
        raise Away("not installed")
    import fcntl

    try:
        folders(at)
        lock = posix.open(at + b"/start.lock", posix.O_RDWR | posix.O_CREAT | posix.O_NOFOLLOW, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)  # bounded by the alarm
    except OSError:
        raise Away("its folder cannot be written") from None
    try:
        return connect(at)
    except Away:
        pass
    try:
        process = spawn(COMMAND, at)
    except OSError:
        raise Away("cannot be started") from None
    while True:
        time.sleep(0.005)
        try:
            posix.kill(process, 0)
            alive = True
        except OSError:
            alive = False
        try:
            return connect(at)
        except Away:
            if not alive:
                raise Away("it ended at once") from None


def folders(*paths: bytes) -> None:
    """Make each folder, and those above it, for this user alone; what exists stays as it is."""
    for path in paths:
        missing = []
        while path and path != b"/":
            try:
                posix.stat(path)
                break
            except FileNotFoundError:
                missing.append(path)
                path = path.rpartition(b"/")[0]
        for each in reversed(missing):
            try:
                posix.mkdir(each, 0o700)
            except FileExistsError:
                continue


def record(event: str, payload: bytes) -> bytes:
    """Return what may be known later of an event that the service did not see: no contents, no commands."""
    import json

    out: dict[str, Any] = {"event": event, "ts": time.time()}
    try:
        told: Any = json.loads(payload) if len(payload) <= PARSED_BYTES else {}
    except (ValueError, RecursionError):
        told = {}
    if isinstance(told, dict):
        for name in ("session_id", "tool_use_id", "tool_name", "cwd", "reason", "trigger"):
            if isinstance(told.get(name), str):
                out[name] = told[name][:4096]
        duration = told.get("duration_ms")
        if isinstance(duration, int):
            out["duration_ms"] = duration
        used = told.get("tool_input")
        if told.get("tool_name") in FILE_TOOLS and isinstance(used, dict):
            path = used.get("file_path") or used.get("notebook_path")
            if isinstance(path, str):
                out["file_path"] = path[:4096]
    if len(out) == 2:
        out["unread_bytes"] = len(payload)
    if env(b"ZC_SESSION_TOKEN"):
        out["with_token"] = True  # never the token itself
    for key, value in identity():
        out[key.decode().replace("-", "_")] = value.decode("utf-8", "replace")
    return json.dumps(out).encode()


def spool(event: str, payload: bytes, at: bytes) -> None:
    """Keep a record for the service to read later.

    Beyond `SPOOL_FILES` records nothing is kept, and each lost one adds a byte to the file ``dropped``. A link, or a
    folder of somebody else, gets nothing.
    """
    into = at + b"/spool"
    folders(into)
    found = posix.lstat(into)
    if found.st_mode & 0o170000 != 0o040000 or found.st_uid != posix.getuid():
        return
    if len(posix.listdir(into)) >= SPOOL_FILES:
        how = posix.O_WRONLY | posix.O_CREAT | posix.O_APPEND | posix.O_NOFOLLOW
        posix.write(posix.open(into + b"/dropped", how, 0o600), b".")
        return
    name = b"%d-%d" % (time.time_ns(), posix.getpid())
    draft = into + b"/." + name
    fd = posix.open(draft, posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_NOFOLLOW, 0o600)
    write_all(fd, record(event, payload))
    posix.close(fd)
    posix.rename(draft, into + b"/" + name + b".json")


def unchecked() -> int:
    """Return the exit code of a write that nobody could check: it goes on, unless the user is strict about that."""
    if env(b"ZC_OWNERSHIP_STRICT") != b"1":
        return 0
    said = "SecureContext cannot say whether another agent holds this file (ZC_OWNERSHIP_STRICT=1); run: zc doctor"
    write_all(2, said.encode() + b"\n")
    return 2


def without_service(event: str, payload: bytes, at: bytes) -> int:
    """Do what is left to do when the service did not answer, and return the exit code."""
    if event == "session-start":
        next_step = "zc doctor" if COMMAND else "zc install claude-code"
        line = f"SecureContext is not reachable, so this session starts without its memory; run: {next_step}"
        write_all(1, b'{"systemMessage": "' + line.encode() + b'"}\n')
    elif event == BEFORE_WRITING:
        return unchecked()
    elif event in SPOOLED and not env(b"ZC_SYSTEM_SOCKET"):  # no service of this user's would ever enter it
        spool(event, payload, at)
    return 0


def main(event: str) -> int:
    """Serve one event and return the exit code."""
    for wakened in (_signal.SIGALRM, _signal.SIGTERM):
        _signal.signal(wakened, late)
    for ignored in GROUP_SIGNALS:
        _signal.signal(ignored, _signal.SIG_IGN)
    _signal.setitimer(_signal.ITIMER_REAL, DEADLINES.get(event, DEADLINE) - GRACE)
    payload, at = b"", home()
    try:
        payload = read_all(0)
        try:
            sock = connect(at)
        except Away:
            if event not in STARTERS:
                raise
            sock = start(at)
        code, out, err = ask(sock, event, payload)
    except Away:
        _signal.setitimer(_signal.ITIMER_REAL, GRACE)
        return without_service(event, payload, at)
    if event == BEFORE_WRITING and code == UNCHECKED:
        return unchecked()
    if code == UNDELIVERED:
        _signal.setitimer(_signal.ITIMER_REAL, GRACE)
        return without_service(event, payload, at)
    try:
        write_all(1, out)
        write_all(2, err)
    except Away:
        pass  # the client does not read what it asked for
    return code


def run(event: str) -> "NoReturn":
    """Serve one event and end the process."""
    try:
        status = main(event)
    except BaseException:  # memory fails open: a session never pays for a defect of ours
        status = unchecked() if event == BEFORE_WRITING else 0
    posix._exit(status)


if __name__ == "__main__":
    run(sys.argv[1] if len(sys.argv) > 1 else "")
