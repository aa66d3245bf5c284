"""Whether a data folder may be used: the user's own, private, local, and no other kernel's."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from dataclasses import dataclass
from pathlib import Path

from securecontext import rendezvous
from securecontext.types.errors import Conflict, Unavailable

NETWORK_FILE_SYSTEMS = frozenset(
    (
        *(
            "nfs",
            "nfs4",
            "cifs",
            "smb3",
            "smbfs",
            "9p",
            "afs",
            "ceph",
            "glusterfs",
            "lustre",
            "beegfs",
            "gpfs",
        ),
        *("ocfs2", "gfs2", "davfs", "ncpfs", "coda", "virtiofs", "vboxsf"),
        *(
            "fuse.sshfs",
            "fuse.glusterfs",
            "fuse.s3fs",
            "fuse.rclone",
            "fuse.gcsfuse",
            "fuse.davfs",
            "fuse.vmhgfs-fuse",
        ),
    )
)
OWNER = "owner"
BEAT_SECONDS = 30.0
STALE_SECONDS = 3 * BEAT_SECONDS


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to serve a data folder, held until the process ends."""

    home: Path
    lock: int
    boot_id: str

    def held(self) -> bool:
        """Say whether the folder is still the claimed one: it may have been removed, and made anew by another."""
        try:
            there = (self.home / rendezvous.SERVICE_LOCK).stat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:  # a disk that fails for a while is told by the calls that need it
            return True
        return os.path.samestat(there, os.fstat(self.lock))

    def beat(self) -> bool:
        """Tell other kernels that this one is alive; False when the folder was taken away under the service."""
        if not self.held():
            return False
        try:
            os.utime(self.home / OWNER)
        except FileNotFoundError:
            with contextlib.suppress(Unavailable):
                write_own(self.home / OWNER, self.boot_id)
        except OSError:  # as above
            pass
        return True

    def release(self) -> None:
        """Give the folder back; what another service has made of it meanwhile stays."""
        with contextlib.suppress(OSError):
            if self.held():
                (self.home / OWNER).unlink()
        os.close(self.lock)


def claim(home: Path, *, boot_id: str, mounts: str, now: float) -> Claim | None:
    """Return the claim to a data folder, or None if another service of this machine serves it.

    Args:
        home: the folder; made with mode 0700 if it is absent.
        boot_id: identity of the running kernel.
        mounts: content of ``/proc/self/mountinfo``.
        now: seconds since the epoch, to tell how old another kernel's sign of life is.

    Raises:
        Unavailable: it cannot be written, is somebody else's, or lies on a network file system.
        Conflict: another kernel serves it.
    """
    _private(home)
    kind = file_system(home, mounts)
    if kind in NETWORK_FILE_SYSTEMS:
        raise Unavailable(
            "network_file_system",
            f"The data folder {home} lies on a network file system ({kind}), where locks and syncs cannot be trusted.",
            "Set ZC_HOME to a folder on a local disk.",
        )
    try:
        lock = os.open(home / rendezvous.SERVICE_LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _unusable(home, error) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        return None
    try:
        _sole_kernel(home / OWNER, boot_id, now)
    except OSError as error:
        os.close(lock)
        raise _unusable(home, error) from error
    except BaseException:
        os.close(lock)
        raise
    return Claim(home, lock, boot_id)


def _private(home: Path) -> None:
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = home.stat()
        if found.st_uid != os.getuid():
            raise Unavailable(
                "foreign_folder",
                f"The data folder {home} belongs to another user.",
                "Set ZC_HOME to a folder of your own.",
            )
        if found.st_mode & 0o077:
            home.chmod(0o700)
        probe = home / f".writable.{os.getpid()}"  # a name of its own: others may look at the same time
        os.close(os.open(probe, os.O_CREAT | os.O_WRONLY, 0o600))
        probe.unlink(missing_ok=True)
    except OSError as error:
        raise _unusable(home, error) from error


def _unusable(home: Path, error: OSError) -> Unavailable:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Unavailable("disk_full", f"The disk of {home} is full.", "Free room, then call again.")
    return Unavailable(
        "storage_read_only",
        f"The data folder {home} cannot be written ({error.strerror}).",
        "Check its owner and mode, or set ZC_HOME to a folder that you can write.",
    )


def blocked(path: Path, error: OSError) -> Unavailable:
    """Return the refusal of a file of ours that cannot be made where it belongs."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return _unusable(path.parent, error)
    return Unavailable(
        "file_blocked",
        f"{path} cannot be written ({error.strerror}).",
        "Move away what lies there, or make its folder writable; then call again.",
    )


def write_own(file: Path, text: str) -> None:
    """Write a small file for its owner alone, in one step: a service that dies here leaves no half of it.

    Raises:
        Unavailable: something else lies in its place, or the disk does not take it.
    """
    fresh = file.with_name(f".{file.name}")
    try:
        fresh.unlink(missing_ok=True)
        descriptor = os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as out:
            out.write(text)
        fresh.replace(file)
    except OSError as error:
        raise blocked(file, error) from error


def _sole_kernel(owner: Path, boot_id: str, now: float) -> None:
    try:
        known, alive = (
            owner.read_text("utf-8", "replace").strip(),
            abs(now - owner.stat().st_mtime)
            < STALE_SECONDS,  # a clock that was set back makes old signs look new
        )
    except OSError:
        known, alive = "", False
    if known not in ("", boot_id) and alive:
        raise Conflict(
            "folder_shared",
            f"The data folder {owner.parent} is served on another machine.",
            "Set ZC_HOME to a folder of this machine; two kernels cannot share one. After a restart, wait two minutes.",
        )
    write_own(owner, boot_id)


def file_system(path: Path, mounts: str) -> str:
    """Return the type of the file system that holds a path, from ``mountinfo``; empty if it cannot be told.

    Format: https://man7.org/linux/man-pages/man5/proc_pid_mountinfo.5.html
    """
    best, kind = "", ""
    real = str(path.resolve())
    for line in mounts.splitlines():
        left, _, right = line.partition(" - ")
        parts = left.split()
        if len(parts) < 5 or not right:
            continue
        mount = (
            parts[4]
            .replace("\\040", " ")
            .replace("\\011", "\t")
            .replace("\\012", "\n")
            .replace("\\134", "\\")
        )
        inside = real == mount or real.startswith(mount.rstrip("/") + "/")
        if inside and len(mount) >= len(best):
            best, kind = mount, right.split()[0]
    return kind


def boot_id() -> str:
    """Return the identity of the running kernel."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return "unknown"


def mounts() -> str:
    """Return ``/proc/self/mountinfo``."""
    try:
        return Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return ""


def wall_clock() -> float:
    """Return seconds since the epoch, which file times are compared with."""
    return time.time()
