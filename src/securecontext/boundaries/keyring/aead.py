"""AES-256-GCM and HKDF-SHA-256 in the one way that stored texts and their keys use them.

Keys have 256 bits, nonces 96 random bits, tags 128 bits (NIST SP 800-38D). With random nonces a key may seal 2^32
messages at most (section 8.3): whoever holds a key counts.
"""

from __future__ import annotations

import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from securecontext.contracts import require

KEY_BYTES, NONCE_BYTES, TAG_BYTES = 32, 12, 16


def fresh_key() -> bytes:
    """Return a new random key."""
    return secrets.token_bytes(KEY_BYTES)


def fresh_nonce() -> bytes:
    """Return a new random nonce."""
    return secrets.token_bytes(NONCE_BYTES)


@require(lambda key: len(key) == KEY_BYTES, "a key has 256 bits")
@require(lambda nonce: len(nonce) == NONCE_BYTES, "a nonce has 96 bits")
def seal(key: bytes, nonce: bytes, plain: bytes, bound: bytes) -> bytes:
    """Return ciphertext and tag.

    Args:
        key: 32 bytes.
        nonce: 12 bytes, used once with this key: see `fresh_nonce`.
        plain: what is encrypted.
        bound: what it is bound to without being in it; `unseal` must be given the same.
    """
    return AESGCM(key).encrypt(nonce, plain, bound)


@require(lambda key: len(key) == KEY_BYTES, "a key has 256 bits")
def unseal(key: bytes, nonce: bytes, sealed: bytes, bound: bytes) -> bytes | None:
    """Return what was sealed, or None when key, nonce, ciphertext, tag or what it is bound to is another one.

    Nonce and ciphertext are what somebody stored, so a wrong length is an answer and no defect.
    """
    if len(nonce) != NONCE_BYTES or len(sealed) < TAG_BYTES:
        return None
    try:
        return AESGCM(key).decrypt(nonce, sealed, bound)
    except InvalidTag:
        return None


@require(lambda length: 0 < length <= 255 * 32, "HKDF gives 255 blocks at most")
def derive(secret: bytes, salt: bytes, info: bytes, length: int = KEY_BYTES) -> bytes:
    """Return key material by HKDF-SHA-256 (RFC 5869).

    Args:
        secret: input keying material.
        salt: random bytes that are no secret by themselves; empty for none.
        info: label of the use, so that no two uses share a key.
        length: bytes, at most 8,160.
    """
    return HKDF(algorithm=SHA256(), length=length, salt=salt, info=info).derive(secret)
