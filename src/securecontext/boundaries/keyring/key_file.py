"""The bytes of the file of data keys: written from an `Envelope`, and read only if nobody else wrote them.

Two lines; the second one is canonical JSON, bytes in it are base64::

    securecontext-data-keys v1 <mark of the encryption root> <MAC>
    {"keys": [{"destroyed", "id", "made", "nonce", "uses", "wrapped"}, …], "made", "salt", "wrapping"}

The mark tells one root from another and says nothing about it. The MAC (HMAC-SHA-256 under a key derived from the root)
is over the mark, a line end and the second line: whoever has not the root cannot lower a count, exchange keys or add
one.
"""

from __future__ import annotations

import base64
import hmac
import json
from dataclasses import asdict
from pathlib import Path

from securecontext.boundaries.canonical import canonical
from securecontext.boundaries.keyring import aead
from securecontext.boundaries.keyring.envelope import DataKey, Envelope, wrapping_key
from securecontext.types.errors import Tampered, Unavailable

HEAD = "securecontext-data-keys v1"
MARK_LABEL = "securecontext/encryption-root-mark/v1"
FILE_LABEL = "securecontext/data-keys-file/v1"
MARK_BYTES = 8


def written(envelope: Envelope, root: bytes) -> bytes:
    """Return the file's bytes."""
    keys = [
        {**asdict(key), "nonce": _text(key.nonce), "wrapped": _text(key.wrapped)} for key in envelope.keys
    ]
    wrapping = envelope.wrapping.id
    body = canonical(
        {"wrapping": wrapping, "made": envelope.made, "salt": _text(envelope.salt), "keys": keys}
    )
    return f"{HEAD} {_mark(root)} {_mac(root, body)}\n".encode() + body + b"\n"


def read(data: bytes, root: bytes, path: Path) -> Envelope:
    """Return what the file holds.

    Raises:
        Unavailable: ``key_file_malformed`` (or of a newer version), ``encryption_root_other``.
        Tampered: ``key_file_tampered``.
    """
    first, _, rest = data.partition(b"\n")
    mark, _, mac = first.removeprefix(HEAD.encode() + b" ").partition(b" ")
    if not first.startswith(HEAD.encode() + b" ") or not mac:
        raise Unavailable(
            "key_file_malformed",
            f"The file of data keys {path} is damaged, or of a newer version.",
            f"Restore it from your backup, or install the newest version of SecureContext. {_anew(path)}",
        )
    if not hmac.compare_digest(mark, _mark(root).encode()):
        raise Unavailable(
            "encryption_root_other",
            f"The file of data keys {path} was made with another encryption root.",
            f"Put back the ZC_MACHINE_SECRET, or the {path.parent / 'encryption.root'}, that it was made with. "
            f"{_anew(path)}",
        )
    body = rest.removesuffix(b"\n")
    if not hmac.compare_digest(mac, _mac(root, body).encode()) or body + b"\n" != rest:
        raise Tampered(
            "key_file_tampered",
            f"The file of data keys {path} is not what was written.",
            f"Restore it from your backup. {_anew(path)}",
        )
    found = json.loads(body)
    salt = base64.b64decode(found["salt"])
    keys = tuple(
        DataKey(
            key["id"],
            key["made"],
            key["uses"],
            base64.b64decode(key["nonce"]),
            base64.b64decode(key["wrapped"]),
            key["destroyed"],
        )
        for key in found["keys"]
    )
    return Envelope(wrapping_key(root, found["wrapping"], salt), found["made"], salt, keys)


def is_under(data: bytes, root: bytes) -> bool:
    """Say whether a file names this encryption root as its own."""
    return data.startswith(f"{HEAD} {_mark(root)} ".encode())


def _anew(path: Path) -> str:
    return f"To give up what it protects, move it away (`mv {path} {path}.aside`): new keys are made."


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _mark(root: bytes) -> str:
    return aead.derive(root, b"", canonical([MARK_LABEL]), MARK_BYTES).hex()


def _mac(root: bytes, body: bytes) -> str:
    key = aead.derive(root, b"", canonical([FILE_LABEL]))
    return hmac.digest(key, _mark(root).encode() + b"\n" + body, "sha256").hex()
