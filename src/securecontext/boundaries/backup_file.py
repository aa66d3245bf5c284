"""The form of a backup: one file that says what is in it, signed before anything of it is used.

Three lines, then the bytes of the files one after another, in the order in which the manifest names them::

    securecontext-backup v1
    {"data_keys": [id, …], "files": [{"bytes", "name", "note", "sha256"}, …], "made", "v": 1, "version"}
    {"note": a signed note of "securecontext/backup", and the hex SHA-256 of the line above, a line each}

The second and third line are canonical JSON. ``note`` of a database is the checkpoint that its ledger had; it is empty
for other files. Nothing is compressed and no name is a path of somebody's choice: what may be in a backup is a closed
list (`NAME`), each once, the list of signers first, and the file ends where the manifest says.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from securecontext.boundaries.canonical import canonical
from securecontext.boundaries.ledger.notes import SigningKeys, open_note, signer_of
from securecontext.boundaries.ledger.signers import Signers
from securecontext.types.errors import Conflict, InvalidInput, Tampered

MAGIC = b"securecontext-backup v"
VERSION = 1
MACHINE, SIGNERS, DATA_KEYS, ANCHORS = "machine.db", "keys/signers.log", "keys/data.keys", "logs/anchors.log"
NAME = re.compile(
    r"machine\.db|projects/prj_[0-9a-hjkmnp-tv-z]{16}\.db|keys/(signers\.log|data\.keys)|logs/anchors\.log"
)
"""Every file that a backup may hold."""
LINE_BYTES = 32 * 1024 * 1024
NOTE_BYTES = 64 * 1024
AT_ONCE = 1 << 20
_MEMBER = frozenset({"name", "bytes", "sha256", "note"})
_MANIFEST = frozenset({"v", "made", "version", "data_keys", "files"})


@dataclass(frozen=True, slots=True)
class Member:
    """One file of a backup.

    Attributes:
        name: relative to the data folder, one that `NAME` allows.
        size: bytes.
        sha256: hex.
        note: of a database the newest checkpoint of its ledger; else empty.
    """

    name: str
    size: int
    sha256: str
    note: str = ""

    @property
    def project(self) -> str:
        """The id of the project whose database this is; empty for another file."""
        return (
            self.name.removeprefix("projects/").removesuffix(".db")
            if self.name.startswith("projects/")
            else ""
        )

    @property
    def is_database(self) -> bool:
        """Whether it is a database."""
        return self.name.endswith(".db")


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup says is in it.

    Attributes:
        made: timestamp.
        version: of the program that made it.
        files: in their order.
        data_keys: ids of the keys that encrypted texts in it need.
    """

    made: str
    version: str
    files: tuple[Member, ...]
    data_keys: tuple[str, ...] = ()

    def line(self) -> bytes:
        """Return the canonical form."""
        files = [{"name": f.name, "bytes": f.size, "sha256": f.sha256, "note": f.note} for f in self.files]
        about = {"made": self.made, "version": self.version, "data_keys": list(self.data_keys)}
        return canonical({"v": VERSION, **about, "files": files})

    @property
    def digest(self) -> str:
        """What names this backup: hex SHA-256."""
        return hashlib.sha256(self.line()).hexdigest()

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(each.size for each in self.files)

    def member(self, name: str) -> Member | None:
        """Return a file by its name."""
        return next((each for each in self.files if each.name == name), None)


def head(manifest: Manifest, keys: SigningKeys) -> bytes:
    """Return the three lines before the files."""
    note = canonical({"note": keys.sign(_signed(manifest))})
    return MAGIC + str(VERSION).encode() + b"\n" + manifest.line() + b"\n" + note + b"\n"


@dataclass(frozen=True, slots=True)
class Opened:
    """A backup whose head was read; nothing of it is believed yet.

    Attributes:
        manifest: what it says.
        note: the signature over it.
        offset: where the first file begins.
    """

    manifest: Manifest
    note: str
    offset: int

    def verify(self, signers: Signers, trusted: Sequence[str]) -> None:
        """Check that a signer whom the reader trusts made the backup.

        Args:
            signers: as the backup itself lists them.
            trusted: fingerprints that the reader has from elsewhere.

        Raises:
            Tampered: ``backup_altered``.
            InvalidInput: ``backup_signer_unknown``: nobody here knows one of the signers.
        """
        unknown = [each for each in signers.fingerprints if each not in trusted]
        if unknown or not signers.fingerprints:
            raise InvalidInput(
                "backup_signer_unknown",
                "This data folder does not know who signed the backup.",
                "Say whom you trust with --key: the fingerprint that `zc backup` or `zc audit key` showed there.",
                fingerprints=unknown,
            )
        try:
            said = open_note(self.note, signers.keys(signer_of(self.note)))
        except Tampered:
            raise altered("its signature does not hold") from None
        if said != _signed(self.manifest):
            raise altered("its manifest is not the one that was signed")


def read_head(file: BinaryIO, length: int) -> Opened:
    """Return what a backup says of itself, if its form is right.

    Args:
        file: at its beginning.
        length: bytes of the whole file.

    Raises:
        InvalidInput: ``not_a_backup``.
        Conflict: ``backup_newer``: a newer version of the program made it.
        Tampered: ``backup_altered``.
    """
    magic = _line(file, 64)
    version = magic.removeprefix(MAGIC)
    if not magic.startswith(MAGIC) or not version.isdigit():
        raise InvalidInput("not_a_backup", "The file is no backup.", "Name a file that `zc backup` made.")
    if int(version) != VERSION:
        raise Conflict(
            "backup_newer",
            "A newer version of SecureContext made this backup.",
            "Nothing was changed. Update SecureContext, then try again.",
        )
    manifest = _manifest(_line(file, LINE_BYTES))
    try:
        note = json.loads(_line(file, NOTE_BYTES))["note"]
        if not isinstance(note, str):
            raise TypeError
    except (ValueError, KeyError, TypeError, RecursionError):
        raise altered("its signature is missing") from None
    if file.tell() + manifest.size != length:
        raise altered("it is not as long as it says")
    return Opened(manifest, note, file.tell())


def pieces(file: BinaryIO, member: Member) -> Iterator[bytes]:
    """Yield the bytes of the next file of a backup; raises at the end when they are not those that were stored.

    Raises:
        Tampered: ``backup_altered``.
    """
    digest, left = hashlib.sha256(), member.size
    while left:
        data = file.read(min(left, AT_ONCE))
        if not data:
            raise altered("it ends too early")
        left -= len(data)
        digest.update(data)
        yield data
    if digest.hexdigest() != member.sha256:
        raise altered(f"{member.name} is not what was stored")


def altered(what: str) -> Tampered:
    """Return the refusal of a backup that is not what was made."""
    return Tampered(
        "backup_altered",
        f"The backup is not what was made: {what}.",
        "Nothing was changed. Use another copy of it, or another backup.",
    )


def _signed(manifest: Manifest) -> str:
    return f"securecontext/backup\n{manifest.digest}\n"


def _line(file: BinaryIO, limit: int) -> bytes:
    line = file.readline(limit + 1)
    return line.removesuffix(b"\n") if line.endswith(b"\n") else b""


def _manifest(line: bytes) -> Manifest:
    malformed = altered("its manifest is malformed")
    try:
        found = json.loads(line)
        if found.keys() != _MANIFEST or found["v"] != VERSION:
            raise malformed
        files = tuple(_member(each) for each in found["files"])
        needed = tuple(str(each) for each in found["data_keys"])
        manifest = Manifest(str(found["made"]), str(found["version"]), files, needed)
        if manifest.line() != line:
            raise malformed
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, InvalidInput):
        raise malformed from None
    names = [each.name for each in files]
    if len(set(names)) != len(names) or names[:1] != [SIGNERS] or MACHINE not in names:
        raise malformed
    return manifest


def _member(found: dict[str, object]) -> Member:
    name, size, digest, note = (found[part] for part in ("name", "bytes", "sha256", "note"))
    if found.keys() != _MEMBER or not (
        isinstance(name, str)
        and isinstance(digest, str)
        and isinstance(note, str)
        and type(size) is int
        and size >= 0
        and NAME.fullmatch(name)
    ):
        raise ValueError
    return Member(name, size, digest, note)
