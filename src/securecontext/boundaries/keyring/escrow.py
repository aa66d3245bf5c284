"""An escrow of the ledger root: one epoch's root, encrypted with a passphrase, for whoever is to check MACs later.

Erasing roots is what keeps yesterday's entries from being forged. An escrow gives that up towards whoever holds it
**and** the passphrase: from its epoch on he can check every MAC, and make any. None is ever made unasked. One line::

    securecontext-escrow v1 <kid> scrypt <N> <r> <p> <salt> <nonce> <sealed>

Salt (32 bytes), nonce and what is sealed (AES-256-GCM) are base64; the plain text is the line of ``ledger.root``; the
key is scrypt's 32 bytes; the seal is bound to ``canonical([label, kid])``. Later roots follow by the ratchet.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets

from securecontext.boundaries.canonical import canonical
from securecontext.boundaries.identity.operator import BLOCK, COST, LANES, MOST_BYTES
from securecontext.boundaries.keyring import aead
from securecontext.boundaries.keys import Keyring
from securecontext.types.errors import Denied, InvalidInput

LABEL = "securecontext/ledger/v1/escrow"
HEAD = "securecontext-escrow v1"
SALT_BYTES = 32
CHARACTERS = 4_096
"""No escrow is longer; what is longer is not looked into."""


def make(keyring: Keyring, passphrase: str) -> str:
    """Return the escrow of the epoch that is written in; for the operator alone."""
    salt, nonce = secrets.token_bytes(SALT_BYTES), aead.fresh_nonce()
    kid = keyring.kid
    sealed = aead.seal(_key(passphrase, salt), nonce, keyring.ledger_line(), _bound(kid))
    return f"{HEAD} {kid} scrypt {COST} {BLOCK} {LANES} {_text(salt)} {_text(nonce)} {_text(sealed)}\n"


def recall(keyring: Keyring, escrow: str, passphrase: str) -> Keyring:
    """Return a keyring that holds the erased keys as well, from the escrow's epoch on. It is only for checking.

    Raises:
        InvalidInput: ``escrow_malformed``; ``escrow_foreign``: it is of another installation, or of a later epoch.
        Denied: ``escrow_not_opened``: another passphrase, or it was changed.
    """
    kid, salt, nonce, sealed = _parse(escrow)
    line = aead.unseal(_key(passphrase, salt), nonce, sealed, _bound(kid))
    if line is None:
        raise Denied(
            "escrow_not_opened",
            "The escrow does not open: the passphrase is another one, or the escrow was changed.",
            "Give the operator's passphrase of the time when it was made.",
        )
    return keyring.recalling(line)


def _parse(escrow: str) -> tuple[str, bytes, bytes, bytes]:
    """Return the parts of an escrow; its exact spelling is demanded, and the cost that `make` pays."""
    head = f"{HEAD} "
    try:
        if len(escrow) > CHARACTERS or not escrow.startswith(head) or not escrow.isascii():
            raise ValueError
        kid, kind, cost, block, lanes, *encoded = escrow.removeprefix(head).removesuffix("\n").split(" ")
        salt, nonce, sealed = (base64.b64decode(each, validate=True) for each in encoded)
        if (kind, cost, block, lanes) != ("scrypt", str(COST), str(BLOCK), str(LANES)) or len(
            salt
        ) != SALT_BYTES:
            raise ValueError
        if [_text(each) for each in (salt, nonce, sealed)] != encoded:  # base64 has bits to spare
            raise ValueError
    except (ValueError, binascii.Error):
        raise InvalidInput(
            "escrow_malformed",
            "This is no escrow of a ledger root.",
            "Name the file that `zc audit escrow` made.",
        ) from None
    return kid, salt, nonce, sealed


def _key(passphrase: str, salt: bytes) -> bytes:
    plain = passphrase.encode("utf-8", "surrogatepass")
    room = MOST_BYTES + (1 << 20)  # scrypt wants some more than its table
    return hashlib.scrypt(plain, salt=salt, n=COST, r=BLOCK, p=LANES, maxmem=room, dklen=aead.KEY_BYTES)


def _bound(kid: str) -> bytes:
    return canonical([LABEL, kid])


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
