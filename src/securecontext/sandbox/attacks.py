"""What confined code must not be able to do, tried: a program that runs inside a sandbox and says what worked.

Standard library alone. Its code is given to the sandbox's interpreter behind one line, ``TARGETS = {…}``; it prints a
JSON object, attack to whether it worked. The targets are real and made for the purpose (see `targets`), and what is
called secret is a word made up for this one run.
"""

import ctypes
import json
import os
import signal
import socket
import sys
from typing import Any

TARGETS: dict[str, Any] = globals().get("TARGETS", {})
PTRACE_SEIZE, PTRACE_DETACH = 0x4206, 17
CLONE_NEWUSER = 0x10000000


def holds_canary(path: str) -> bool:
    """Say whether a file can be read and holds the word."""
    with open(path, "rb") as file:
        return str(TARGETS["canary"]).encode() in file.read()


def own_environment() -> bool:
    """Read the word among one's own variables: what the parent has there must not be inherited."""
    return any(TARGETS["canary"] in value for value in os.environ.values())


def credentials_by_path() -> bool:
    """Read a key from the home folder."""
    return holds_canary(TARGETS["credentials"])


def key_file() -> bool:
    """Read a key of the data folder."""
    return holds_canary(TARGETS["key_file"])


def environment_of_another() -> bool:
    """Read the variables of another process of the same user."""
    return holds_canary(f"/proc/{TARGETS['victim']}/environ")


def tcp() -> bool:
    """Reach a server on this machine."""
    with socket.create_connection(("127.0.0.1", TARGETS["tcp"]), timeout=2) as connection:
        return bool(connection.recv(100).decode() == TARGETS["canary"])


def udp() -> bool:
    """Reach a server on this machine without a connection."""
    return _asked(socket.AF_INET, ("127.0.0.1", TARGETS["udp"]))


def unix_socket() -> bool:
    """Reach a server by a path, as a database or a container engine listens."""
    return _asked(socket.AF_UNIX, TARGETS["unix_socket"])


def abstract_socket() -> bool:
    """Reach a server by a name without a path."""
    return _asked(socket.AF_UNIX, "\0" + TARGETS["abstract_socket"])


def _asked(family: int, address: Any) -> bool:
    with socket.socket(family, socket.SOCK_DGRAM) as asking:
        asking.settimeout(2)
        if family == socket.AF_UNIX:
            asking.bind("")  # a name without a path, to be answered at
        asking.sendto(b"?", address)
        return bool(asking.recv(100).decode() == TARGETS["canary"])


def project_write() -> bool:
    """Change a file of the project."""
    with open(os.path.join(TARGETS["project"], "source.py"), "a") as file:
        file.write("changed\n")
    return True


def hook_planted() -> bool:
    """Leave something that git runs later."""
    path = os.path.join(TARGETS["project"], ".git", "hooks", "pre-commit")
    with open(path, "w") as file:
        file.write("#!/bin/sh\n")
    return True


def signal_sent() -> bool:
    """Signal another process of the same user."""
    os.kill(TARGETS["victim"], TARGETS.get("signal", 0))
    return True


def traced() -> bool:
    """Attach to another process of the same user."""
    return int(libc().ptrace(PTRACE_SEIZE, TARGETS["victim"], None, None)) == 0


def processes_listed() -> bool:
    """Read what others run."""
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                if holds_canary(f"/proc/{name}/cmdline"):
                    return True
            except OSError:
                continue
    return False


def memory_taken() -> bool:
    """Take more memory than a run may."""
    return len(bytearray(int(TARGETS["memory"]))) > 0


def file_filled() -> bool:
    """Write a larger file than a run may."""
    path = os.path.join(os.environ.get("TMPDIR", "/tmp"), "large")
    with open(path, "wb") as file:
        file.truncate(TARGETS["file"])
    size = os.stat(path).st_size
    os.unlink(path)
    return size >= int(TARGETS["file"])


def forks() -> bool:
    """Have more processes at once than a run may."""
    made = []
    reading, writing = os.pipe()
    try:
        for _ in range(TARGETS["forks"]):
            pid = os.fork()
            if pid == 0:
                os.close(writing)
                os.read(reading, 1)
                os._exit(0)
            made.append(pid)
        return True
    finally:
        os.close(writing)
        for pid in made:
            os.waitpid(pid, 0)


def user_namespace() -> bool:
    """Become root of a namespace of one's own, where more of the kernel can be reached."""
    pid = os.fork()
    if pid == 0:
        os._exit(0 if libc().unshare(CLONE_NEWUSER) == 0 else 1)
    return os.waitpid(pid, 0)[1] == 0


def libc() -> Any:
    """Return the C library."""
    return ctypes.CDLL(None, use_errno=True)


ATTACKS = (
    own_environment, credentials_by_path, key_file, environment_of_another, tcp, udp, unix_socket, abstract_socket,
    project_write, hook_planted, signal_sent, traced, processes_listed, memory_taken, file_filled, forks,
    user_namespace,
)  # fmt: skip


def main() -> None:
    """Try everything and print what worked."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    worked = {}
    for attack in ATTACKS:
        try:
            worked[attack.__name__] = bool(attack())
        except (OSError, MemoryError, ValueError):
            worked[attack.__name__] = False
    json.dump(worked, sys.stdout)


if __name__ == "__main__":
    main()
