"""Who signs the checkpoints: one pair of keys an epoch, each endorsed by the pair before it.

The private halves are derived from the ledger root of their epoch, so they are erased with it::

    Ed25519 seed = HKDF-SHA-256(R[i], info = canonical(["securecontext/ledger/v1/sign/ed25519"])), 32 bytes
    P-256 scalar = HKDF-SHA-256(R[i], info = canonical(["securecontext/ledger/v1/sign/p256"])), 48 bytes,
                   modulo the order less one, plus one

The public halves stand in ``<key folder>/signers.log``, a line of canonical JSON for each epoch, oldest first: ``kid``,
``ed25519`` (base64), ``p256`` (base64 of DER), ``since`` (timestamp) and ``endorsement``: a note (see ``notes``) of the
text ``securecontext/endorsement``, kid, fingerprint and since, a line each, by the keys of the line before. The first
line has none: its fingerprint is what an auditor pins.

After a restore from a backup nobody holds the private halves of before. The first line of the new signer then has no
endorsement and names in ``recovers`` the kid of the line before: everybody sees that the signatures of before and after
are held together by the operator's word alone. Its fingerprint is to be pinned as well.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import lru_cache

from securecontext.boundaries import private_files
from securecontext.boundaries.canonical import canonical
from securecontext.boundaries.keys import Keyring
from securecontext.boundaries.ledger.notes import PublicKeys, SigningKeys, open_note
from securecontext.types.errors import InvalidInput, Tampered, Unavailable
from securecontext.types.ids import parse_timestamp, timestamp

FILE = "signers.log"
MOST_BYTES = 64 * 1024 * 1024
ED25519_LABEL = "securecontext/ledger/v1/sign/ed25519"
P256_LABEL = "securecontext/ledger/v1/sign/p256"
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
"""Of the curve's group: FIPS 186-5, SP 800-186."""
_FIELDS = frozenset({"kid", "ed25519", "p256", "since", "endorsement"})


def signing_keys(keyring: Keyring, kid: str | None = None) -> SigningKeys:
    """Return the private keys of an epoch, by default of the one that is written in.

    Raises:
        Unavailable: its root is erased, or never was ours.
    """
    wide = int.from_bytes(keyring.derive(P256_LABEL, 48, kid), "big")  # 128 bits more than the order: no bias
    return SigningKeys(
        kid or keyring.kid, keyring.derive(ED25519_LABEL, 32, kid), wide % (P256_ORDER - 1) + 1
    )


class Signers:
    """The public keys of all epochs, after checking that each was endorsed by the one before.

    Args:
        lines: as they stand in the file.

    Raises:
        Tampered: ``signers_malformed``, or ``note_malformed`` and ``note_not_signed`` of an endorsement.
    """

    def __init__(self, lines: Iterable[bytes]) -> None:
        self.lines: list[bytes] = []
        self._keys: dict[str, PublicKeys] = {}
        self._newest: PublicKeys | None = None
        self._given_up: set[str] = set()
        self.begins: list[PublicKeys] = []
        """Keys that nobody endorsed: the first, and the first after each restore."""
        self.since: datetime | None = None
        """When the newest epoch began."""
        for line in lines:
            self._add(line)

    def _add(self, line: bytes) -> None:
        keys, since, endorsement, recovers = _parse(line)
        newest = self._newest
        if keys.kid in self._keys or (recovers or None) not in (None, newest.kid if newest else None):
            raise _malformed()
        if newest is None or recovers:
            if endorsement:
                raise _malformed()
            self._given_up |= set(self._keys)
            self.begins.append(keys)
        elif open_note(endorsement, newest) != _endorsed(keys, since):
            raise _malformed()
        self._keys[keys.kid] = self._newest = keys
        self.since = parse_timestamp(since)
        self.lines.append(line)

    @property
    def pinned(self) -> str:
        """The fingerprint of the first keys; empty when there are none."""
        return next(iter(self._keys.values())).fingerprint if self._keys else ""

    @property
    def kids(self) -> tuple[str, ...]:
        """Key ids of all epochs, oldest first."""
        return tuple(self._keys)

    @property
    def fingerprints(self) -> tuple[str, ...]:
        """What an auditor pins: the first fingerprint, and one more for each restore."""
        return tuple(keys.fingerprint for keys in self.begins)

    def given_up(self, kid: str) -> bool:
        """Say whether the private half of a key was left behind when the ledgers were restored from a backup."""
        return kid in self._given_up

    def keys(self, kid: str) -> PublicKeys:
        """Return the public keys of an epoch.

        Raises:
            Tampered: ``signer_unknown``.
        """
        found = self._keys.get(kid)
        if found is None:
            raise Tampered(
                "signer_unknown",
                "A checkpoint is signed by keys that nobody endorsed.",
                "Compare it with another copy; the keys are listed by `zc audit key`.",
            )
        return found

    def __contains__(self, kid: str) -> bool:
        return kid in self._keys


def line_of(
    keys: PublicKeys, moment: datetime, endorser: SigningKeys | None, recovers: str | None = None
) -> bytes:
    """Return the line of an epoch's keys; the first one has no endorser, nor has the first after a restore."""
    since = timestamp(moment)
    endorsement = endorser.sign(_endorsed(keys, since)) if endorser is not None else ""
    return canonical(
        {
            "kid": keys.kid,
            "ed25519": base64.b64encode(keys.ed25519).decode(),
            "p256": base64.b64encode(keys.p256).decode(),
            "since": since,
            "endorsement": endorsement,
            **({} if recovers is None else {"recovers": recovers}),
        }
    )


def read(keyring: Keyring) -> Signers:
    """Return the signers of this installation as they are listed.

    Raises:
        Tampered: the file was changed.
        Unavailable: ``signers_file_unsafe``, ``key_folder_unsafe``, ``key_folder_unusable``.
    """
    with _opened(keyring) as (_, signers):
        return signers


def enlist(keyring: Keyring, moment: datetime) -> Signers:
    """Return the signers, the epoch that is written in among them: it is listed before it signs anything.

    Args:
        keyring: whose folder holds the file.
        moment: since when a new epoch counts.

    Raises:
        Tampered, Unavailable: as `read`.
    """
    with _opened(keyring) as (descriptor, signers):
        if keyring.kid in signers:
            return signers
        lines = [*signers.lines, _next_line(keyring, signers, moment)]
        private_files.replace(descriptor, FILE, b"".join(line + b"\n" for line in lines))
        return Signers(lines)


def recover(keyring: Keyring, moment: datetime) -> Signers:
    """List the keys of a new signer behind those of a backup, whose private halves nobody has.

    Args:
        keyring: the new signer's; its folder holds the backup's list.
        moment: since when the new signer counts.

    Raises:
        Tampered, Unavailable: as `read`; ``signers_malformed`` also where the list is empty.
    """
    with _opened(keyring) as (descriptor, signers):
        if not signers.lines or keyring.kid in signers:
            raise _malformed()
        last = json.loads(signers.lines[-1])["kid"]
        lines = [*signers.lines, line_of(signing_keys(keyring).public, moment, None, last)]
        private_files.replace(descriptor, FILE, b"".join(line + b"\n" for line in lines))
        return Signers(lines)


@lru_cache(maxsize=2)
def _listed(data: bytes) -> Signers:
    """Return the signers of a file; the same bytes are not judged twice, for there is an endorsement a day."""
    return Signers(data.splitlines())


@contextmanager
def _opened(keyring: Keyring) -> Iterator[tuple[int, Signers]]:
    path = keyring.folder / FILE

    def refuse(what: str, hint: str) -> Unavailable:
        return Unavailable("signers_file_unsafe", f"The file {path} {what}.", hint)

    try:
        with private_files.opened(keyring.folder) as descriptor:
            data = private_files.load(descriptor, path, refuse, MOST_BYTES) or b""
            yield descriptor, _listed(data)
    except OSError as error:
        raise Unavailable(
            "key_folder_unusable",
            f"The key folder {keyring.folder} cannot be used: {error.strerror}.",
            "Make sure that it is writable and has free space, then start again.",
        ) from error


def _next_line(keyring: Keyring, signers: Signers, moment: datetime) -> bytes:
    """Return the line of the epoch that is written in, endorsed by the newest keys that are listed."""
    newest = json.loads(signers.lines[-1])["kid"] if signers.lines else None
    endorser = None if newest is None else signing_keys(keyring, newest)
    return line_of(signing_keys(keyring).public, moment, endorser)


def _endorsed(keys: PublicKeys, since: str) -> str:
    return f"securecontext/endorsement\n{keys.kid}\n{keys.fingerprint}\n{since}\n"


def _parse(line: bytes) -> tuple[PublicKeys, str, str, str]:
    try:
        found = json.loads(line)
        if found.keys() - {"recovers"} != _FIELDS or canonical(found) != line:
            raise _malformed()
        raw: Sequence[bytes] = [base64.b64decode(found[name], validate=True) for name in ("ed25519", "p256")]
        keys = PublicKeys(found["kid"], raw[0], raw[1])
        parse_timestamp(found["since"])
        if not (
            isinstance(found["kid"], str)
            and isinstance(found["endorsement"], str)
            and (isinstance(found.get("recovers", ""), str) and found.get("recovers") != "")
            and len(raw[0]) == 32
        ):
            raise _malformed()
    except (ValueError, TypeError, AttributeError, RecursionError, InvalidInput):
        raise _malformed() from None
    return keys, found["since"], found["endorsement"], found.get("recovers", "")


def _malformed() -> Tampered:
    return Tampered(
        "signers_malformed",
        "The list of signing keys is not what was written.",
        "Put the file signers.log of the key folder back from a backup.",
    )
