"""The format, frozen: the golden vectors are recomputed here with the standard library alone."""

import hashlib
import hmac
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from securecontext.boundaries import chain
from securecontext.boundaries.audit import Ledger
from securecontext.boundaries.canonical import canonical
from securecontext.boundaries.keys import Keyring
from securecontext.types.errors import InvalidInput, Tampered
from securecontext.types.ids import parse_timestamp
from securecontext.types.ledger import EntryDraft
from tests.ledger_case import salts

GOLDEN = json.loads((Path(__file__).parent / "golden_ledger_v1.json").read_bytes())
text = st.text(st.characters(exclude_categories=["Cs"]))
entries = st.builds(
    chain.Entry, text, text, st.integers(1, 2**53 - 1), text, text, text, text, text, text, text
)
ENTRY = chain.Entry("log", "p/s", 1, "sig.0", "t", "call", "p", "", "d", "e")


def outsider_json(value):
    """RFC 8785 for what the vectors hold: text, integers and ASCII keys."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()


def outsider_hkdf(secret, info):
    """RFC 5869 with SHA-256, no salt, one block."""
    extracted = hmac.new(bytes(32), secret, hashlib.sha256).digest()
    return hmac.new(extracted, info + b"\x01", hashlib.sha256).digest()


def test_the_golden_vectors_hold_for_an_outsider():
    root, log, heads = bytes.fromhex(GOLDEN["root"]), GOLDEN["log"], {}
    for vector in GOLDEN["entries"]:
        stream, salt = vector["stream"], bytes.fromhex(vector["salt"])
        key = outsider_hkdf(root, outsider_json(["securecontext/ledger/v1/stream-key", log, stream]))
        genesis = hashlib.sha256(outsider_json(["securecontext/ledger/v1/genesis", log, stream])).hexdigest()
        body = dict(vector["draft"]["body"])
        if vector["draft"]["secrets"]:
            body["arguments"] = {
                **body["arguments"],
                **{
                    name: {
                        "digest": hmac.new(salt, value.encode(), hashlib.sha256).hexdigest(),
                        "length": len(value),
                    }
                    for name, value in vector["draft"]["secrets"].items()
                },
            }
        assert outsider_json(body) == vector["body"].encode()
        seq, prev = heads.get(stream, (0, genesis))
        data = outsider_json(
            {
                "v": 1,
                "log": log,
                "stream": stream,
                "seq": seq + 1,
                "kid": GOLDEN["kid"],
                "ts": GOLDEN["ts"],
                "kind": vector["draft"]["kind"],
                "principal": vector["draft"]["principal"],
                "claimed_agent": vector["draft"]["claimed_agent"],
                "body_digest": hashlib.sha256(salt + outsider_json(body)).hexdigest(),
                "prev": prev,
            }
        )
        assert data == vector["canonical"].encode()
        mac = hmac.new(key, data, hashlib.sha256).digest()
        digest = hashlib.sha256(data + mac).hexdigest()
        assert (mac.hex(), digest, prev) == (vector["mac"], vector["hash"], vector["prev"])
        head = outsider_json(["securecontext/ledger/v1/head", log, stream, seq + 1, digest])
        assert hmac.new(key, head, hashlib.sha256).hexdigest() == vector["head_mac"]
        heads[stream] = (seq + 1, digest)
    assert len(heads) == 3


def test_the_ledger_writes_the_golden_vectors(tmp_path, ledger_connection):
    """RT-S3-06: the same bytes on both engines."""
    (tmp_path / "keys").mkdir(mode=0o700)
    (tmp_path / "keys" / "ledger.root").write_text(GOLDEN["root_file"])
    (tmp_path / "keys" / "ledger.root").chmod(0o600)
    keyring = Keyring.open(tmp_path / "keys")
    assert keyring.root("ledger").hex() == GOLDEN["root"]
    ledger = Ledger(GOLDEN["log"], keyring, salts())
    drafts = [EntryDraft(**vector["draft"]) for vector in GOLDEN["entries"]]
    with ledger_connection.begin():
        # One by one, so that the salts come in the order of the vectors.
        places = [ledger.append(ledger_connection, [one], parse_timestamp(GOLDEN["ts"]))[0] for one in drafts]
        rows = ledger_connection.exec_driver_sql(
            "SELECT e.canonical, e.mac, b.salt, b.body FROM ledger_entries e "
            "JOIN ledger_bodies b USING (log, stream, seq) ORDER BY e.entry"
        ).all()
    for vector, place, row in zip(GOLDEN["entries"], places, rows, strict=True):
        assert (place.stream, place.hash) == (vector["stream"], vector["hash"])
        assert (row[0], row[3]) == (vector["canonical"].encode(), vector["body"].encode())
        assert (row[1].hex(), row[2].hex()) == (vector["mac"], vector["salt"])


@given(entries)
def test_the_written_out_form_is_rfc_8785(entry):
    members = {name: getattr(entry, name) for name in (*chain.TEXT_FIELDS, "seq")}
    assert chain.encode(entry) == canonical({**members, "v": 1})


@given(entries)
def test_an_entry_reads_back(entry):
    assert chain.decode(chain.encode(entry)) == entry


@given(entries, entries)
def test_two_entries_never_share_their_bytes(one, other):
    assert (chain.encode(one) == chain.encode(other)) == (one == other)


@given(entries, st.integers(0), st.integers(0, 255))
def test_no_other_spelling_is_an_entry(entry, where, byte):
    data = bytearray(chain.encode(entry))
    data[where % len(data)] = byte
    try:
        read = chain.decode(bytes(data))
    except Tampered:
        return
    assert chain.encode(read) == bytes(data)


@pytest.mark.parametrize(
    "change",
    [
        lambda data: b" " + data,
        lambda data: data[:-1] + b',"x":1}',
        lambda data: data.replace(b',"v":1', b""),
        lambda data: data.replace(b'"v":1', b'"v":2'),
        lambda data: data.replace(b'"v":1', b'"v":true'),
        lambda data: data.replace(b'"v":1', b'"v":1.0'),
        lambda data: data.replace(b'"seq":1', b'"seq":"1"'),
        lambda data: data.replace(b'"seq":1', b'"seq":-1'),
        lambda data: data.replace(b'"seq":1', b'"seq":1e0'),
        lambda data: data.replace(b'"log":"log"', b'"log":null'),
        lambda data: data.replace(b'"log":"log"', b'"log":"l\\u006fg"'),
        lambda data: data.replace(b'"log":"log"', b'"log":"\\ud800"'),
        lambda data: data.replace(b'"v":1', b'"v":1,"v":1'),
        lambda data: b"[" * 100_000,
        lambda data: b"\xff",
        lambda data: b"",
        lambda data: b"[]",
    ],
)
def test_what_is_not_exactly_an_entry_is_refused(change):
    data = chain.encode(ENTRY)
    assert change(data) != data
    with pytest.raises(Tampered) as refused:
        chain.decode(change(data))
    assert refused.value.code == "ledger_malformed_entry"


def test_genesis_and_heads_are_bound_to_log_and_stream():
    places = [("a", "b"), ("b", "a"), ("ab", ""), ("", "ab")]
    assert len({chain.genesis(*place) for place in places}) == len(places)
    assert len({chain.head_mac(b"k" * 32, *place, 1, "h") for place in places}) == len(places)
    assert chain.head_mac(b"k" * 32, "a", "b", 1, "h") != chain.head_mac(b"k" * 32, "a", "b", 2, "h")


def test_a_secret_stands_as_its_digest_and_length():
    found = chain.secret_digest(b"s" * 16, "pässword")
    assert found == {
        "digest": hmac.new(b"s" * 16, "pässword".encode(), hashlib.sha256).hexdigest(),
        "length": 8,
    }
    with pytest.raises(InvalidInput):
        chain.secret_digest(b"s" * 16, "\ud800")


@pytest.mark.parametrize("stored", [None, "", b"", "a" * 32, b"a" * 31])
def test_nothing_but_the_mac_is_the_mac(stored):
    assert not chain.same_mac(stored, b"a" * 32)
    assert chain.same_mac(b"a" * 32, b"a" * 32)
