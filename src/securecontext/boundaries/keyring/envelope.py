"""Data keys wrapped by a key-encryption key: values and what may be done with them, without a file or a clock.

The key-encryption key is ``HKDF(encryption root, salt, canonical([label, its id]))``. Its salt has 256 random bits, so
a new key can be had from a root that never changes, and neither root nor salt alone gives it. A data key is random
and is sealed under the key-encryption key, bound to ``canonical([label, its id, id of the key-encryption key])``.

Rotation takes a new key-encryption key and wraps every data key anew in one step: there is never a second
key-encryption key, and what the data keys protect is not touched. The last data key is the one for writing. A destroyed
data key keeps its id and nothing that could open anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from securecontext.boundaries.canonical import canonical
from securecontext.boundaries.keyring import aead
from securecontext.contracts import ensure, require
from securecontext.types.errors import Expired, LimitReached, NotFound, Tampered, Unavailable
from securecontext.types.ids import new_id
from securecontext.types.security import DecryptionKey

WRAPPING_LABEL = "securecontext/key-encryption-key/v1"
DATA_LABEL = "securecontext/data-key/v1"
USES_LIMIT = 2**32
"""What NIST SP 800-38D allows a key with random nonces."""
KEYS_LIMIT = 2_000
"""Data keys that the file holds, destroyed ones included."""


@dataclass(frozen=True, slots=True)
class DataKey:
    """A data key as it is kept.

    Attributes:
        id: opaque.
        made: timestamp.
        uses: nonces that were drawn for it, or may have been: never too low.
        nonce, wrapped: the key, sealed under the key-encryption key; empty once destroyed.
        destroyed: timestamp; empty where it was not.
    """

    id: str
    made: str
    uses: int
    nonce: bytes = field(repr=False)
    wrapped: bytes = field(repr=False)
    destroyed: str = ""


@dataclass(frozen=True, slots=True)
class Envelope:
    """All keys of stored texts at one moment; every change makes another envelope.

    Attributes:
        wrapping: the key-encryption key.
        made: its timestamp.
        salt: what it was derived with, 32 bytes.
        keys: data keys, oldest first; the last one is for writing and not destroyed.
    """

    wrapping: DecryptionKey
    made: str
    salt: bytes = field(repr=False)
    keys: tuple[DataKey, ...]

    @property
    def writing(self) -> DataKey:
        """The data key under which texts are encrypted now."""
        return self.keys[-1]

    def find(self, key_id: str) -> DataKey:
        """Return a data key by its id.

        Raises:
            NotFound: ``no_such_key``.
        """
        for key in self.keys:
            if key.id == key_id:
                return key
        raise NotFound("no_such_key", "There is no data key of that id.", "List them with `zc keys status`.")

    def opened(self, key_id: str) -> DecryptionKey:
        """Return a data key that can be used.

        Raises:
            Expired: ``key_destroyed``.
            Unavailable: ``data_key_unknown``.
            Tampered: ``key_not_authentic``.
        """
        try:
            key = self.find(key_id)
        except NotFound:
            raise Unavailable(
                "data_key_unknown",
                "A stored text names a data key that this installation does not hold.",
                "Look whether the folder of keys is the one that belongs to this database: `zc keys status`.",
            ) from None
        if key.destroyed:
            raise Expired(
                "key_destroyed",
                f"The data key {key.id} was destroyed on {key.destroyed[:10]}; what it protected cannot be read.",
                "Nothing brings it back. Everything under other keys is as it was.",
                key=key.id,
            )
        secret = aead.unseal(self.wrapping.secret, key.nonce, key.wrapped, _bound(key.id, self.wrapping.id))
        if secret is None:
            raise Tampered(
                "key_not_authentic",
                f"The data key {key.id} is not what was stored.",
                "Restore the folder of keys from your backup.",
                key=key.id,
            )
        return DecryptionKey(key.id, secret)

    @require(lambda count: count > 0, "uses are counted upwards")
    @ensure(lambda result: result.writing.uses <= USES_LIMIT, "no key seals more than its limit")
    def counted(self, count: int) -> Envelope:
        """Count further uses of the key for writing."""
        return replace(self, keys=(*self.keys[:-1], replace(self.writing, uses=self.writing.uses + count)))

    def with_new_key(self, moment: str) -> Envelope:
        """Add a data key, which is for writing from now on.

        Raises:
            LimitReached: ``too_many_keys``.
        """
        if len(self.keys) >= KEYS_LIMIT:
            raise _too_many()
        return replace(self, keys=(*self.keys, _data_key(aead.fresh_key(), self.wrapping, moment)))

    def rotated(self, root: bytes, moment: str) -> Envelope:
        """Wrap every data key under a new key-encryption key, and add a data key for writing."""
        fresh = _empty(root, moment)
        return replace(fresh, keys=tuple(self._rewrapped(fresh.wrapping))).with_new_key(moment)

    @ensure(lambda result, self: result.writing == self.writing, "the key for writing stays")
    def joined(self, other: Envelope) -> Envelope:
        """Add the keys of another envelope, such as a backup's. A key that both have stays as it is here.

        So what was destroyed here stays destroyed, and no count of uses goes back.

        Raises:
            LimitReached: ``too_many_keys``.
            Tampered: ``key_not_authentic``.
        """
        known = {key.id for key in self.keys}
        fresh = replace(other, keys=tuple(key for key in other.keys if key.id not in known))
        if len(self.keys) + len(fresh.keys) > KEYS_LIMIT:
            raise _too_many()
        return replace(self, keys=(*fresh._rewrapped(self.wrapping), *self.keys)) if fresh.keys else self

    def _rewrapped(self, wrapping: DecryptionKey) -> Iterator[DataKey]:
        for key in self.keys:
            if key.destroyed:
                yield key
            else:
                nonce, wrapped = _wrap(self.opened(key.id), wrapping)
                yield replace(key, nonce=nonce, wrapped=wrapped)

    @ensure(lambda result: not result.writing.destroyed, "there is always a key for writing")
    def without(self, key_id: str, moment: str) -> Envelope:
        """Forget a data key for good, keeping its id. Where it was the one for writing, another one takes its place.

        Raises:
            NotFound: ``no_such_key``.
            LimitReached: ``too_many_keys``.
        """
        if self.find(key_id).destroyed:
            return self
        left = tuple(
            replace(key, nonce=b"", wrapped=b"", destroyed=moment) if key.id == key_id else key
            for key in self.keys
        )
        left_over = replace(self, keys=left)
        return left_over.with_new_key(moment) if left_over.writing.destroyed else left_over


def begin(root: bytes, moment: str) -> Envelope:
    """Return a first envelope with one data key."""
    return _empty(root, moment).with_new_key(moment)


def wrapping_key(root: bytes, key_id: str, salt: bytes) -> DecryptionKey:
    """Return a key-encryption key."""
    return DecryptionKey(key_id, aead.derive(root, salt, canonical([WRAPPING_LABEL, key_id])))


def _too_many() -> LimitReached:
    return LimitReached(
        "too_many_keys",
        f"There are {KEYS_LIMIT} data keys, which is the limit.",
        "Rotate less often; nothing was changed.",
        limit=KEYS_LIMIT,
    )


def _empty(root: bytes, moment: str) -> Envelope:
    salt = aead.fresh_key()
    return Envelope(wrapping_key(root, new_id("kek"), salt), moment, salt, ())


def _data_key(secret: bytes, wrapping: DecryptionKey, moment: str) -> DataKey:
    key = DecryptionKey(new_id("dek"), secret)
    nonce, wrapped = _wrap(key, wrapping)
    return DataKey(key.id, moment, 0, nonce, wrapped)


def _wrap(key: DecryptionKey, wrapping: DecryptionKey) -> tuple[bytes, bytes]:
    nonce = aead.fresh_nonce()
    return nonce, aead.seal(wrapping.secret, nonce, key.secret, _bound(key.id, wrapping.id))


def _bound(key_id: str, wrapping_id: str) -> bytes:
    return canonical([DATA_LABEL, key_id, wrapping_id])
