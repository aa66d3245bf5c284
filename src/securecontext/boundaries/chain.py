"""The ledger's entry format, version 1. Pure: no I/O, no clock, no randomness. Frozen by golden test vectors.

Everything an outsider needs to check a ledger, given the roots:

* ``canonical(x)`` is RFC 8785 JSON in UTF-8; ``‖`` joins bytes; every digest is written in lower-case hex.
* **Stream key**: 32 bytes, ``HKDF-SHA-256(R[epoch], salt = none,
  info = canonical(["securecontext/ledger/v1/stream-key", log, stream]))``. ``R[0]`` is the 64-byte ledger root.
* **Body**: any JSON object, kept apart from its entry with a random salt of 16 bytes.
  ``body_digest = SHA-256(salt ‖ canonical(body))``. A value that must not be stored stands in the body as
  ``{"digest": HMAC-SHA-256(salt, UTF-8 of the value), "length": its characters}``.
* **Entry**: ``canonical`` of an object with exactly these eleven members, all text but ``v`` and ``seq``:

  ========================= =====================================================================
  ``v``                     1
  ``log``, ``stream``       where the entry stands
  ``seq``                   1, 2, 3 … within the stream, without a gap
  ``kid``                   ``<signer id>.<epoch>``: which root made the stream key
  ``ts``                    RFC 3339, UTC, microseconds, ``Z``
  ``kind``                  what the entry is, e.g. ``call``
  ``principal``             who was authenticated
  ``claimed_agent``         what the caller calls itself, unverified; may be empty
  ``body_digest``           as above
  ``prev``                  hash of the stream's entry before; for ``seq`` 1 the genesis hash
  ========================= =====================================================================

* ``mac = HMAC-SHA-256(stream key, canonical entry)``, 32 bytes, stored beside the entry.
* ``hash = SHA-256(canonical entry ‖ mac)``.
* ``genesis = SHA-256(canonical(["securecontext/ledger/v1/genesis", log, stream]))``.
* **Head** of a stream: ``seq`` and ``hash`` of its newest entry, with ``head mac = HMAC-SHA-256(stream key,
  canonical(["securecontext/ledger/v1/head", log, stream, seq, hash]))`` under the ``kid`` of that newest entry.
  An entry is an object and a head a list, so a MAC of the one never passes for the other.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import dataclass
from typing import Any

from securecontext.boundaries.canonical import SAFE_INTEGER, canonical, quote
from securecontext.contracts import require
from securecontext.types.errors import InvalidInput, Tampered

VERSION = 1
SALT_BYTES = 16
KEY_BYTES = 32
LOG_STREAM = "system/log"
"""The stream whose first entry, of kind ``created``, opens every log: a log without it was emptied."""
STREAM_KEY_LABEL = "securecontext/ledger/v1/stream-key"
GENESIS_LABEL = "securecontext/ledger/v1/genesis"
HEAD_LABEL = "securecontext/ledger/v1/head"


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry's members but ``v``; see the module for each."""

    log: str
    stream: str
    seq: int
    kid: str
    ts: str
    kind: str
    principal: str
    claimed_agent: str
    body_digest: str
    prev: str


TEXT_FIELDS = ("log", "stream", "kid", "ts", "kind", "principal", "claimed_agent", "body_digest", "prev")
FIELDS = frozenset(("v", "seq", *TEXT_FIELDS))


def encode(entry: Entry) -> bytes:
    """Return the entry's canonical bytes.

    Raises:
        InvalidInput: a text holds a lone surrogate, or ``seq`` is beyond 2^53-1.
    """
    return written(
        entry.log, entry.stream, entry.seq, entry.kid, entry.ts, entry.kind, entry.principal, entry.claimed_agent,
        entry.body_digest, entry.prev,
    )  # fmt: skip


def written(
    log: str, stream: str, seq: int, kid: str, ts: str, kind: str, principal: str, claimed_agent: str, body_digest: str,
    prev: str,
) -> bytes:  # fmt: skip
    """Return the canonical bytes of an entry's members, in the order of `Entry`, without making one.

    Raises:
        InvalidInput: as `encode`.
        TypeError: a member is of another type.
    """
    if not 0 <= seq <= SAFE_INTEGER:
        raise InvalidInput("not_canonical", "A sequence number is out of range.", "Start a new session.")
    # Written out in RFC 8785's order of members: one entry is encoded or checked in a third of the time.
    text = (
        f'{{"body_digest":{quote(body_digest)},"claimed_agent":{quote(claimed_agent)},'
        f'"kid":{quote(kid)},"kind":{quote(kind)},"log":{quote(log)},'
        f'"prev":{quote(prev)},"principal":{quote(principal)},"seq":{seq},'
        f'"stream":{quote(stream)},"ts":{quote(ts)},"v":{VERSION}}}'
    )
    try:
        return text.encode()
    except UnicodeEncodeError:
        return canonical(text)  # refuses, with the one sentence there is for this


def decode(data: bytes) -> Entry:
    """Return the entry that canonical bytes hold.

    Raises:
        Tampered: ``ledger_malformed_entry``: not JSON, not exactly the known members and types, another version,
            or not the canonical spelling.
    """
    try:
        found: Any = json.loads(data)
    except (ValueError, RecursionError):
        raise malformed() from None
    if (
        type(found) is not dict
        or found.keys() != FIELDS
        or type(found["v"]) is not int
        or found["v"] != VERSION
    ):
        raise malformed()
    if type(found["seq"]) is not int or not all(type(found[name]) is str for name in TEXT_FIELDS):
        raise malformed()
    del found["v"]
    entry = Entry(**found)
    try:
        again = encode(entry)
    except InvalidInput:
        raise malformed() from None
    if again != data:
        raise malformed()
    return entry


def malformed() -> Tampered:
    """Return the refusal of an entry without the canonical form."""
    return Tampered(
        "ledger_malformed_entry",
        "A ledger entry does not have the canonical form of version 1.",
        "Run `zc audit verify` to see where the ledger breaks.",
    )


def mac(key: bytes, data: bytes) -> bytes:
    """Return HMAC-SHA-256 of canonical bytes under a stream's key, 32 bytes."""
    return hmac.digest(key, data, "sha256")


def entry_hash(data: bytes, entry_mac: bytes) -> str:
    """Return the hex hash of an entry: ``SHA-256(canonical ‖ mac)``, the next entry's ``prev``."""
    return hashlib.sha256(data + entry_mac).hexdigest()


def body_digest(salt: bytes, body: bytes) -> str:
    """Return the hex digest that binds a body of canonical bytes to its entry."""
    return hashlib.sha256(salt + body).hexdigest()


@require(lambda salt: len(salt) == SALT_BYTES, "a digest has a whole salt")
def secret_digest(salt: bytes, text: str) -> dict[str, Any]:
    """Return what stands in a body for a value that must not be stored: ``{"digest", "length"}``.

    Raises:
        InvalidInput: ``not_canonical``: the text holds a lone surrogate.
    """
    try:
        raw = text.encode()
    except UnicodeEncodeError:
        raw = canonical(text)  # refuses, with the one sentence there is for this
    return {"digest": hmac.digest(salt, raw, "sha256").hex(), "length": len(text)}


def genesis(log: str, stream: str) -> str:
    """Return the ``prev`` of a stream's first entry."""
    return hashlib.sha256(canonical([GENESIS_LABEL, log, stream])).hexdigest()


@require(lambda key: len(key) == KEY_BYTES, "a stream's key is whole")
def head_mac(key: bytes, log: str, stream: str, seq: int, head: str) -> bytes:
    """Return the MAC of a stream's head, 32 bytes, under the key of the newest entry's ``kid``."""
    return mac(key, canonical([HEAD_LABEL, log, stream, seq, head]))


def same_mac(left: object, right: bytes) -> bool:
    """Tell in constant time whether a stored value is that MAC; text, NULL or another length never is."""
    return type(left) is bytes and hmac.compare_digest(left, right)
