"""Drafts become entries: checked, chained behind a head, under a key. Touches neither the database nor memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from securecontext.boundaries import chain
from securecontext.boundaries.canonical import canonical
from securecontext.boundaries.keys import Keyring
from securecontext.boundaries.ledger.heads import Head
from securecontext.types.errors import InvalidInput
from securecontext.types.ledger import FIELD_LIMITS, EntryDraft


@dataclass(frozen=True, slots=True)
class Appended:
    """An entry's place: stream, number within the stream, time, hex hash."""

    stream: str
    seq: int
    ts: str
    hash: str


class Sealed(NamedTuple):
    """A stream's part of a batch, ready to be written."""

    entries: list[dict[str, Any]]
    bodies: list[dict[str, Any]]
    places: list[Appended]
    head: Head


def seal(
    keyring: Keyring,
    log: str,
    stream: str,
    head: Head | None,
    drafts: Iterable[EntryDraft],
    ts: str,
    new_salt: Callable[[], bytes],
) -> Sealed:
    """Chain the drafts behind a head of their stream.

    Raises:
    InvalidInput: ``not_canonical``: a body cannot be written.
    """
    key, kid = keyring.stream_key(log, stream), keyring.kid
    seq, prev = head or (0, chain.genesis(log, stream))
    entries: list[dict[str, Any]] = []
    bodies: list[dict[str, Any]] = []
    places: list[Appended] = []
    for draft in drafts:
        seq += 1
        salt = new_salt()
        body = canonical(body_of(draft, salt))
        entry = chain.Entry(
            log, stream, seq, kid, ts, draft.kind, draft.principal, draft.claimed_agent,
            chain.body_digest(salt, body), prev,
        )  # fmt: skip
        data = chain.encode(entry)
        mac = chain.mac(key, data)
        entries.append(
            {
                "log": log, "stream": stream, "seq": seq, "canonical": data, "mac": mac, "kid": kid, "ts": ts,
                "kind": entry.kind, "principal": entry.principal, "claimed_agent": entry.claimed_agent,
                "body_digest": entry.body_digest, "prev": prev,
            }
        )  # fmt: skip
        bodies.append({"log": log, "stream": stream, "seq": seq, "salt": salt, "body": body})
        prev = chain.entry_hash(data, mac)
        places.append(Appended(stream, seq, ts, prev))
    return Sealed(entries, bodies, places, Head(seq, prev))


def body_of(draft: EntryDraft, salt: bytes) -> dict[str, Any]:
    """Return the body as it is stored: each secret stands in ``arguments`` as its salted digest alone."""
    body = dict(draft.body)
    if draft.secrets:
        digests = {name: chain.secret_digest(salt, text) for name, text in draft.secrets.items()}
        body["arguments"] = {**body.get("arguments", {}), **digests}
    return body


def check(draft: EntryDraft) -> None:
    """Refuse what the columns of either engine cannot hold as it is."""
    texts = {
        "principal": draft.principal, "session": draft.session, "claimed_agent": draft.claimed_agent,
        "stream": draft.stream,
    }  # fmt: skip
    for name, text in texts.items():
        limit = FIELD_LIMITS[name]
        if len(text) > limit or any(mark < " " or mark == "\x7f" for mark in text):
            raise InvalidInput(
                "ledger_field_invalid",
                f"The {name} of a ledger entry is longer than {limit} characters or holds control characters.",
                f"Use a {name} without control characters, within that length.",
            )
