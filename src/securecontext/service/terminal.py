"""Which terminal a process sits at, as the kernel knows it.

The device of its controlling terminal, the terminal's session, and when that session's leader began, so that a later
session with the same numbers is another one. A process that has no controlling terminal (a daemon, a shell that an
agent runs in a session of its own) sits at none. Format: https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html
"""

from __future__ import annotations

from pathlib import Path


def terminal_of(pid: int) -> str:
    """Return a name of the terminal of a process; empty where it has none, or it cannot be told."""
    mine = _stat(pid)
    if mine is None:
        return ""
    session, device = mine[3], mine[4]
    leader = _stat(int(session))
    if device == "0" or leader is None or leader[4] != device:
        return ""
    return f"tty{device}.{session}.{leader[19]}"


def _stat(pid: int) -> list[str] | None:
    """Return the fields of ``stat`` from the state on: they follow the command's name, which may hold spaces."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    found = text.rpartition(") ")[2].split()
    return found if len(found) > 19 else None
