"""Signed notes and checkpoints: text that an outsider verifies with public keys alone. Pure.

A note is text, a blank line, and signatures (https://c2sp.org/signed-note)::

    securecontext/log_6wg3…          the origin: which log
    1042                             the tree's size
    CsUYapGGPo4dkMgIAUqom/Xajj7h…=   its root, base64

    — securecontext/sig_1a2b….0 Az3grlgt…=
    — securecontext/sig_1a2b….0 NnugSzTj…=

The three lines are a checkpoint (https://c2sp.org/tlog-checkpoint). Every note of ours carries two signatures under one
name, ``securecontext/<kid>``: Ed25519 (type 1) and ECDSA P-256 over SHA-256 (type 2). Both must hold.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass
from functools import lru_cache

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from securecontext.types.errors import Tampered

NAME = "securecontext/"
MOST_BYTES = 16 * 1024
MOST_SIGNATURES = 16
KEYS_HELD = 64
"""Public keys that are kept as they were read: a log has many checkpoints of few signers."""
_DASH = "— "
_ECDSA = ec.ECDSA(SHA256())
_NO_TEXT = re.compile(r"[\x00-\x09\x0b-\x1f\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class PublicKeys:
    """What a signer of one epoch is known by.

    Attributes:
        kid: ``<signer id>.<epoch>``.
        ed25519: 32 bytes.
        p256: the DER form of the SubjectPublicKeyInfo.
    """

    kid: str
    ed25519: bytes
    p256: bytes

    @property
    def fingerprint(self) -> str:
        """What an auditor pins: hex SHA-256 over both keys."""
        return hashlib.sha256(self.ed25519 + self.p256).hexdigest()

    @property
    def _ids(self) -> tuple[bytes, bytes]:
        named = (NAME + self.kid).encode() + b"\n\x01" + self.ed25519
        return hashlib.sha256(named).digest()[:4], hashlib.sha256(self.p256).digest()[:4]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a checkpoint says.

    Attributes:
        log: the log's id.
        size: leaves.
        root: of the tree, 32 bytes.
    """

    log: str
    size: int
    root: bytes

    def text(self) -> str:
        """Return the note's text."""
        return f"{NAME}{self.log}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"


class SigningKeys:
    """The private halves of one signer's epoch; they never show in a repr and are never serialised.

    Args:
        kid: ``<signer id>.<epoch>``.
        seed: 32 bytes, for Ed25519.
        scalar: of the P-256 key, between 1 and the order less one.
    """

    def __init__(self, kid: str, seed: bytes, scalar: int) -> None:
        self._ed25519 = ed25519.Ed25519PrivateKey.from_private_bytes(seed)
        self._p256 = ec.derive_private_key(scalar, ec.SECP256R1())
        self.public = PublicKeys(
            kid,
            self._ed25519.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw),
            self._p256.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        )

    def sign(self, text: str) -> str:
        """Return the note of a text, which ends with a newline."""
        data = text.encode()
        made = (self._ed25519.sign(data), self._p256.sign(data, _ECDSA))
        lines = [
            f"{_DASH}{NAME}{self.public.kid} {base64.b64encode(ident + signature).decode()}\n"
            for ident, signature in zip(self.public._ids, made, strict=True)
        ]
        return text + "\n" + "".join(lines)

    def __repr__(self) -> str:
        return f"<SigningKeys {self.public.kid}>"

    def __reduce__(self) -> str:
        raise TypeError("a private key is never serialised")


def open_note(note: str, keys: PublicKeys) -> str:
    """Return the text of a note after checking that both signatures of the keys hold.

    Raises:
        Tampered: ``note_malformed``, or ``note_not_signed``: a signature is missing or does not hold.
    """
    text, signatures = _parts(note)
    data = text.encode()
    needed = dict(zip(keys._ids, (_holds_ed25519, _holds_p256), strict=True))
    for name, raw in signatures:
        holds = needed.get(raw[:4]) if name == NAME + keys.kid else None
        if holds is None:
            continue  # of somebody else, such as a witness
        if not holds(keys, raw[4:], data):
            raise _not_signed(keys.kid)
        del needed[raw[:4]]
    if needed:
        raise _not_signed(keys.kid)
    return text


def signer_of(note: str) -> str:
    """Return the kid that the first signature of ours names; nothing is verified.

    Raises:
        Tampered: ``note_malformed``.
    """
    for name, _ in _parts(note)[1]:
        if name.startswith(NAME):
            return name.removeprefix(NAME)
    raise _malformed()


def parse_checkpoint(text: str) -> Checkpoint:
    """Return what a note's text says; its exact spelling is demanded.

    Raises:
        Tampered: ``note_malformed``.
    """
    lines = text.split("\n")
    if len(lines) != 4 or lines[3] or not lines[0].startswith(NAME):
        raise _malformed()
    try:
        found = Checkpoint(
            lines[0].removeprefix(NAME), int(lines[1][:20]), base64.b64decode(lines[2], validate=True)
        )
    except ValueError:
        raise _malformed() from None
    if found.text() != text or found.size < 0 or len(found.root) != 32 or not found.log:
        raise _malformed()
    return found


def _parts(note: str) -> tuple[str, list[tuple[str, bytes]]]:
    """Return the text and its signatures as (name, key id and signature)."""
    if len(note) > MOST_BYTES or _NO_TEXT.search(note):
        raise _malformed()
    text, blank, tail = note.rpartition("\n\n")
    lines = tail.split("\n")
    if not blank or lines.pop() or not 0 < len(lines) <= MOST_SIGNATURES:
        raise _malformed()
    signatures = []
    for line in lines:
        name, space, encoded = line.removeprefix(_DASH).partition(" ")
        if not (line.startswith(_DASH) and name and space):
            raise _malformed()
        try:
            raw = base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError):
            raise _malformed() from None
        if len(raw) < 5 or base64.b64encode(raw).decode() != encoded:
            raise _malformed()
        signatures.append((name, raw))
    return text + "\n", signatures


@lru_cache(maxsize=KEYS_HELD)
def _ed25519_key(raw: bytes) -> ed25519.Ed25519PublicKey:
    return ed25519.Ed25519PublicKey.from_public_bytes(raw)


@lru_cache(maxsize=KEYS_HELD)
def _p256_key(der: bytes) -> ec.EllipticCurvePublicKey:
    key = load_der_public_key(der)
    if not (isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1)):
        raise ValueError("no key of P-256")
    return key


def _holds_ed25519(keys: PublicKeys, signature: bytes, data: bytes) -> bool:
    try:
        _ed25519_key(keys.ed25519).verify(signature, data)
    except (InvalidSignature, ValueError):
        return False
    return True


def _holds_p256(keys: PublicKeys, signature: bytes, data: bytes) -> bool:
    try:
        _p256_key(keys.p256).verify(signature, data, _ECDSA)
    except (InvalidSignature, UnsupportedAlgorithm, ValueError):
        return False
    return True


def _malformed() -> Tampered:
    return Tampered(
        "note_malformed",
        "A signed note does not have the form of one.",
        "Fetch the note or the bundle again from where it comes.",
    )


def _not_signed(kid: str) -> Tampered:
    return Tampered(
        "note_not_signed",
        f"A note is not signed by {kid}, or is not what was signed.",
        "Do not trust what it says; compare it with another copy.",
    )
