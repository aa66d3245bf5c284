"""The signed baseline of the installed code: ``<home>/baseline.json``, 0600, replaced as a whole.

One object ``{"baseline": {"v": 1, "version", "files"}, "mac"}``; the MAC is HMAC-SHA-256 over the baseline's RFC 8785
bytes under a key derived from the root of skills, whose file is not part of what is checked. The machine's ledger
file remembers which MAC was accepted last, so that an older baseline, or none, is noticed too. What that is worth
against a program that can read the keys: see `integrity`.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
from pathlib import Path

from securecontext.boundaries.canonical import canonical
from securecontext.boundaries.code.integrity import Baseline
from securecontext.boundaries.keyring import aead
from securecontext.boundaries.keys import Keyring
from securecontext.types.errors import InvalidInput, Tampered, Unavailable, ZcError

FILE = "baseline.json"
"""Not `integrity.json`, which is the predecessor's."""
LABEL = "securecontext/integrity-baseline/v1"
VERSION = 1
MOST_BYTES = 4 * 1024 * 1024


class BaselineFile:
    """The signed baseline in a data folder.

    Args:
        home: the data folder.
        keyring: its keys.
    """

    def __init__(self, home: Path, keyring: Keyring) -> None:
        self.path = home / FILE
        self._key = _key(keyring.root("skills"))

    def load(self, remembered: str) -> Baseline | None:
        """Return the baseline; None where none was ever accepted.

        Args:
            remembered: the MAC that was accepted last, empty for none.

        Raises:
            Tampered: ``baseline_broken``: it is not the one that was accepted last, or was not made by this service.
            OSError: it cannot be read.
        """
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            if remembered:
                raise _broken(f"{self.path} is gone, although a baseline was accepted") from None
            return None
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(file.fileno())
            if status.st_mode & 0o177 or status.st_uid != os.geteuid():
                raise _broken(f"{self.path} is open to others, or belongs to one")
            data = file.read(MOST_BYTES + 1)
        try:
            whole = json.loads(data)
            body, mac = whole["baseline"], whole["mac"]
            signed = hmac.compare_digest(_mac(self._key, body).encode(), str(mac).encode())
            baseline = Baseline(body["version"], dict(body["files"]))
        except (ValueError, KeyError, TypeError, RecursionError, ZcError):
            raise _broken(f"{self.path} is damaged") from None
        if not signed or body["v"] != VERSION:
            raise _broken(f"{self.path} was not signed by this installation")
        if mac != remembered:
            raise _broken(f"{self.path} is not the baseline that was accepted last")
        return baseline

    def save(self, baseline: Baseline) -> str:
        """Put a baseline in the place of the one before, and return its MAC, which is to be remembered.

        Raises:
            OSError: it cannot be written.
        """
        body = {"v": VERSION, "version": baseline.version, "files": dict(baseline.files)}
        mac = _mac(self._key, body)
        _write(self.path, body, mac)
        return mac


def sign_anew(home: Path, old: bytes, new: bytes) -> tuple[str, str] | None:
    """Sign the baseline of a data folder under another root of skills; return its MACs under the old and the new one.

    Returns:
        None where there is no baseline, or it was signed under neither: that is for the check to say.

    Raises:
        Unavailable: ``baseline_unwritable``.
    """
    path = home / FILE
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            whole = json.loads(file.read(MOST_BYTES + 1))
        body, mac = whole["baseline"], str(whole["mac"])
        macs = (_mac(_key(old), body), _mac(_key(new), body))
        if hmac.compare_digest(mac, macs[0]):
            _write(path, body, macs[1])
        return macs if mac in macs else None
    except (FileNotFoundError, ValueError, KeyError, TypeError, RecursionError, InvalidInput):
        return None
    except OSError as error:
        raise Unavailable(
            "baseline_unwritable",
            f"The baseline {path} cannot be signed anew: {error.strerror}.",
            "Let the data folder be written to, then start the service again.",
        ) from error


def _write(path: Path, body: object, mac: str) -> None:
    draft = path.with_name(f".{FILE}.{secrets.token_hex(8)}")
    opened = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(opened, "w", encoding="utf-8") as file:
            json.dump({"baseline": body, "mac": mac}, file, indent=1, sort_keys=True)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _key(root: bytes) -> bytes:
    return aead.derive(root, b"", LABEL.encode())


def _mac(key: bytes, body: object) -> str:
    return hmac.new(key, canonical(body), hashlib.sha256).hexdigest()


def _broken(what: str) -> Tampered:
    return Tampered(
        "baseline_broken",
        f"The baseline of the installed code cannot be trusted: {what}.",
        "Install SecureContext again where you trust it from, then `zc integrity accept --yes`.",
    )
