"""The token of the HTTP door: made once, kept in ``<home>/keys/http.token``, compared in constant time.

One line of 64 hex digits, mode 0600. Whoever can read the file may do what its owner may do with this service. A file
that others could read is refused, not repaired: what was exposed may have been copied. To replace the token, remove
the file and restart the service.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import stat
from dataclasses import dataclass, field
from pathlib import Path

from securecontext.types.errors import Unavailable

FILE = "http.token"
TOKEN_BYTES = 32
_FORM = re.compile(rb"[0-9a-f]{64}\n")


@dataclass(frozen=True, slots=True)
class DoorToken:
    """The token as the door holds it; the secret never shows in a repr.

    Attributes:
        path: the file that clients read it from.
    """

    path: Path
    _digest: bytes = field(repr=False)

    def matches(self, shown: str) -> bool:
        """Say whether the text is the token. Takes the same time wherever it differs."""
        return hmac.compare_digest(_digest(shown.encode("utf-8", "surrogateescape")), self._digest)

    @property
    def short(self) -> str:
        """Eight hex digits that tell one token from another and say nothing about it."""
        return hashlib.sha256(b"securecontext/door-token/v1" + self._digest).hexdigest()[:8]


def open_token(folder: Path) -> DoorToken:
    """Return the token in the key folder, making it at the first use.

    Args:
        folder: the key folder, which `keys.Keyring.open` has made and checked.

    Raises:
        Unavailable: ``token_file_unsafe`` (open to others, not the user's own, no regular file),
            ``token_file_malformed``, ``token_file_unusable``.
    """
    path = folder / FILE
    try:
        if not os.path.lexists(path):
            _make(path)
        return DoorToken(path, _digest(_load(path)))
    except OSError as error:
        raise Unavailable(
            "token_file_unusable",
            f"The HTTP door's token file {path} cannot be used: {error.strerror}.",
            f"Make sure that {folder} is writable and has free space, then `zc service restart`.",
        ) from error


def _load(path: Path) -> bytes:
    """Return the 64 hex digits of a private file."""
    if not stat.S_ISREG(os.lstat(path).st_mode):
        raise _refused("token_file_unsafe", path, "is not a regular file")
    # Should the name be exchanged after the look: no link is followed, no pipe is waited on.
    opened = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(opened, "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise _refused("token_file_unsafe", path, "is not a regular file")
        if status.st_uid != os.geteuid():
            raise _refused("token_file_unsafe", path, "belongs to another user")
        if status.st_mode & 0o177:
            raise _refused("token_file_unsafe", path, "is open to others, so the token may be known")
        line = file.read(256)
    if not _FORM.fullmatch(line):
        raise _refused("token_file_malformed", path, "does not hold a token")
    return line[:-1]


def _refused(code: str, path: Path, what: str) -> Unavailable:
    return Unavailable(
        code,
        f"The HTTP door's token file {path} {what}.",
        f"Move it away (`mv {path} {path}.aside`), then `zc service restart`: a new token is made.",
    )


def _make(path: Path) -> None:
    """Put a complete token file in place, unless one is there: the name appears with its content or not at all."""
    draft = path.with_name(f".{FILE}.{secrets.token_hex(8)}")
    opened = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(opened, "wb") as file:
            file.write(secrets.token_hex(TOKEN_BYTES).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path, follow_symlinks=False)
        except FileExistsError:
            return
    finally:
        draft.unlink()
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()
