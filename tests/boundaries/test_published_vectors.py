"""Every vector of Wycheproof is accepted or refused as it says, by our own functions where there are such."""

import hmac
import json
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESGCMSIV

from securecontext.boundaries import chain
from securecontext.boundaries.keyring import aead
from securecontext.boundaries.ledger import notes
from securecontext.boundaries.ledger.notes import PublicKeys
from securecontext.types.errors import ContractBroken

VECTORS = Path(__file__).parents[2].parent / "shared" / "data" / "wycheproof"
BYTES = ("key", "iv", "aad", "msg", "ct", "tag", "ikm", "salt", "info", "okm", "sig")


def vectors(name, count):
    """(group, vector) of a file, bytes decoded; as many as were published."""
    if not VECTORS.is_dir():
        pytest.skip("the Wycheproof vectors are not beside the repository: ../shared/data/wycheproof")
    groups = json.loads((VECTORS / f"{name}_test.json").read_text())["testGroups"]
    found = [
        (group, {k: bytes.fromhex(v) if k in BYTES else v for k, v in vector.items()})
        for group in groups
        for vector in group["tests"]
    ]
    assert len(found) == count
    assert {vector["result"] for _, vector in found} == {"valid", "invalid"}
    return found


def test_aes_gcm_with_our_sizes_is_accepted_or_refused_as_published():
    ours = 0
    for group, v in vectors("aes_gcm", 316):
        if (group["keySize"], group["ivSize"]) != (256, 96):
            continue
        ours += 1
        valid = v["result"] == "valid"
        opened = aead.unseal(v["key"], v["iv"], v["ct"] + v["tag"], v["aad"])
        assert opened == (v["msg"] if valid else None), v["tcId"]
        assert (aead.seal(v["key"], v["iv"], v["msg"], v["aad"]) == v["ct"] + v["tag"]) == valid, v["tcId"]
    assert ours == 66


def test_aes_gcm_with_other_sizes_is_refused_by_us_and_right_in_the_library():
    others = 0
    for group, v in vectors("aes_gcm", 316):
        if (group["keySize"], group["ivSize"]) == (256, 96):
            continue
        others += 1
        if group["keySize"] != 256:
            with pytest.raises(ContractBroken):
                aead.unseal(v["key"], v["iv"], v["ct"] + v["tag"], v["aad"])
        else:
            assert aead.unseal(v["key"], v["iv"], v["ct"] + v["tag"], v["aad"]) is None, v["tcId"]
        with pytest.raises(ContractBroken):
            aead.seal(v["key"], v["iv"], v["msg"], v["aad"])
        if 64 <= group["ivSize"] <= 1024 and v["result"] == "valid":
            assert AESGCM(v["key"]).decrypt(v["iv"], v["ct"] + v["tag"], v["aad"]) == v["msg"], v["tcId"]
        else:  # forged, or a nonce so short or long that the library takes none like it
            with pytest.raises((InvalidTag, ValueError)):
                AESGCM(v["key"]).decrypt(v["iv"], v["ct"] + v["tag"], v["aad"])
    assert others == 250


def test_aes_gcm_siv_of_the_library_is_as_published():
    try:
        AESGCMSIV(bytes(32))
    except UnsupportedAlgorithm:
        pytest.skip("this OpenSSL has no AES-GCM-SIV, which nothing here uses")
    for _, v in vectors("aes_gcm_siv", 202):
        cipher = AESGCMSIV(v["key"])
        if v["result"] == "valid":
            assert cipher.decrypt(v["iv"], v["ct"] + v["tag"], v["aad"]) == v["msg"], v["tcId"]
            assert cipher.encrypt(v["iv"], v["msg"], v["aad"]) == v["ct"] + v["tag"], v["tcId"]
        else:
            with pytest.raises((InvalidTag, ValueError)):
                cipher.decrypt(v["iv"], v["ct"] + v["tag"], v["aad"])


def test_hkdf_gives_what_is_published_and_refuses_what_is_too_long():
    for _, v in vectors("hkdf_sha256", 86):
        if v["result"] == "valid":
            assert aead.derive(v["ikm"], v["salt"], v["info"], v["size"]) == v["okm"], v["tcId"]
        else:
            with pytest.raises(ContractBroken):
                aead.derive(v["ikm"], v["salt"], v["info"], v["size"])


def test_hmac_is_accepted_or_refused_as_published():
    for group, v in vectors("hmac_sha256", 174):
        made = chain.mac(v["key"], v["msg"])
        if group["tagSize"] == 256:
            assert chain.same_mac(v["tag"], made) == (v["result"] == "valid"), v["tcId"]
        else:  # a shortened tag is none of ours, whatever it says
            assert not chain.same_mac(v["tag"], made)
            cut = made[: group["tagSize"] // 8]
            assert hmac.compare_digest(v["tag"], cut) == (v["result"] == "valid"), v["tcId"]


def test_ed25519_signatures_are_accepted_or_refused_as_published():
    for group, v in vectors("ed25519", 151):
        keys = PublicKeys("sig_test.0", bytes.fromhex(group["publicKey"]["pk"]), b"")
        assert notes._holds_ed25519(keys, v["sig"], v["msg"]) == (v["result"] == "valid"), v["tcId"]


def test_ecdsa_signatures_are_accepted_or_refused_as_published():
    for group, v in vectors("ecdsa_secp256r1_sha256", 484):
        keys = PublicKeys("sig_test.0", b"", bytes.fromhex(group["publicKeyDer"]))
        assert notes._holds_p256(keys, v["sig"], v["msg"]) == (v["result"] == "valid"), v["tcId"]
