"""The token of the HTTP door: made once, kept in ``<home>/keys/http.token``, compared in constant time.

One line of 64 hex digits in a private file (see ``private_files``). Whoever can read it may do what its owner may do
with this service. To replace the token, remove the file and restart the service.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from securecontext.boundaries import private_files
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

    def refuse(what: str, _hint: str) -> Unavailable:
        return _refused("token_file_unsafe", path, what)

    try:
        with private_files.opened(folder) as descriptor:
            line = private_files.load(descriptor, path, refuse)
            if line is None:
                private_files.make(descriptor, FILE, secrets.token_hex(TOKEN_BYTES).encode() + b"\n")
                line = private_files.load(
                    descriptor, path, refuse
                )  # ours, or that of a process that was first
    except OSError as error:
        raise Unavailable(
            "token_file_unusable",
            f"The HTTP door's token file {path} cannot be used: {error.strerror}.",
            f"Make sure that {folder} is writable and has free space, then `zc service restart`.",
        ) from error
    if line is None or not _FORM.fullmatch(line):
        raise _refused("token_file_malformed", path, "does not hold a token")
    return DoorToken(path, _digest(line[:-1]))


def _refused(code: str, path: Path, what: str) -> Unavailable:
    return Unavailable(
        code,
        f"The HTTP door's token file {path} {what}.",
        f"Move it away (`mv {path} {path}.aside`), then `zc service restart`: a new token is made.",
    )


def _digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()
