import json
from datetime import UTC, datetime

import pytest

from securecontext.boundaries.canonical import canonical
from securecontext.boundaries.keys import Keyring
from securecontext.boundaries.ledger import signers
from securecontext.boundaries.ledger.notes import open_note
from securecontext.types.errors import Tampered, Unavailable

NOW = datetime(2026, 11, 25, tzinfo=UTC)


@pytest.fixture
def ring(tmp_path):
    return Keyring.open(tmp_path / "keys")


def lines(ring):
    return (ring.folder / signers.FILE).read_bytes().splitlines()


def next_epoch(ring):
    signers.enlist(ring, NOW)
    ring.begin_epoch()
    signers.enlist(ring, NOW)
    ring.end_epoch()


def test_the_first_epoch_is_listed_once_and_pins_itself(ring):
    first, again = signers.enlist(ring, NOW), signers.enlist(ring, NOW)
    assert first.lines == again.lines == lines(ring) and len(first.lines) == 1
    assert first.pinned == signers.signing_keys(ring).public.fingerprint


def test_each_epoch_is_endorsed_by_the_one_before_and_the_pin_stays(ring):
    pinned = signers.enlist(ring, NOW).pinned
    old = signers.signing_keys(ring)
    for _ in range(3):
        next_epoch(ring)
    found = signers.Signers(lines(ring))
    assert len(found.lines) == 4 and found.pinned == pinned
    note = signers.signing_keys(ring).sign("text\n")
    assert open_note(note, found.keys(ring.kid)) == "text\n"
    assert open_note(old.sign("old\n"), found.keys(old.public.kid)) == "old\n"
    assert signers.signing_keys(ring).public != old.public


def test_the_private_keys_of_an_ended_epoch_cannot_be_made_again(ring):
    old = ring.kid
    next_epoch(ring)
    with pytest.raises(Unavailable) as refused:
        signers.signing_keys(ring, old)
    assert refused.value.code == "ledger_key_erased"
    with pytest.raises(Unavailable):
        signers.signing_keys(Keyring.open(ring.folder), old)


def test_an_epoch_that_nobody_endorsed_is_refused(ring, tmp_path):
    next_epoch(ring)
    other = Keyring.open(tmp_path / "others")
    foreign = signers.line_of(signers.signing_keys(other).public, NOW, signers.signing_keys(other))
    with pytest.raises(Tampered):
        signers.Signers([*lines(ring), foreign])


@pytest.mark.parametrize("name", ["kid", "ed25519", "p256", "since", "endorsement"])
def test_any_changed_member_is_refused(ring, name):
    next_epoch(ring)
    first, second = lines(ring)
    changed = json.loads(second)
    changed[name] = {"kid": "sig_x.1", "since": "2020-01-01T00:00:00.000000Z"}.get(
        name, json.loads(first)[name]
    )
    with pytest.raises(Tampered):
        signers.Signers([first, canonical(changed)])


@pytest.mark.parametrize(
    "line", [b"", b"{}", b"[]", b"null", b'{"kid":1}', b"\xff", b"[" * 100_000, b'{"kid": "a.0"}']
)
def test_what_is_no_line_is_refused(line):
    with pytest.raises(Tampered) as refused:
        signers.Signers([line])
    assert refused.value.code == "signers_malformed"


def test_a_repeated_or_exchanged_line_is_refused(ring):
    next_epoch(ring)
    first, second = lines(ring)
    for changed in ([first, first], [second], [second, first], [first, second, second]):
        with pytest.raises(Tampered):
            signers.Signers(changed)


def test_unknown_keys_are_no_signer(ring):
    with pytest.raises(Tampered) as refused:
        signers.enlist(ring, NOW).keys("sig_other.0")
    assert refused.value.code == "signer_unknown"
