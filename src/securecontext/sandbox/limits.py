"""What a run may use, as data."""

from __future__ import annotations

from dataclasses import dataclass

KIB = 1 << 10
MIB = 1 << 20
CODE_CHARACTERS = 1_000_000
COMMANDS = 20
AT_ONCE = 4
"""Commands of one batch that run beside each other."""
RUNS_AT_ONCE = 8
"""Runs of this service that go on beside each other; more wait for their turn."""
TURN_SECONDS = 120.0
"""So long a run waits for its turn."""
FLOOD_BYTES = 64 * MIB
"""Output after which a run is ended: what is beyond the limit of what is shown is read, counted and dropped."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one run.

    Attributes:
        wall_seconds: from start to end.
        cpu_seconds: of processor, for each process.
        memory_bytes: of address space, for each process; for all of them together where a control group can be made.
        file_bytes: of one file.
        scratch_bytes: of the private ``/tmp``, where it is a file system of its own.
        processes: and threads, of the whole run.
        open_files: for each process.
        stdout_bytes: that are shown.
        stderr_bytes: that are shown.
    """

    wall_seconds: float = 30.0
    cpu_seconds: int = 30
    memory_bytes: int = 1024 * MIB
    file_bytes: int = 128 * MIB
    scratch_bytes: int = 256 * MIB
    processes: int = 64
    open_files: int = 256
    stdout_bytes: int = 512 * KIB
    stderr_bytes: int = 64 * KIB
