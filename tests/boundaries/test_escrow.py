"""An escrow gives erased keys back to who has its passphrase, for checking; it is worth nothing to anybody else."""

import pytest

from securecontext.boundaries import chain
from securecontext.boundaries.keyring import escrow
from securecontext.boundaries.keys import Keyring
from securecontext.boundaries.ledger.verdict import Status
from securecontext.boundaries.ledger.verify import verify
from securecontext.types.errors import Denied, InvalidInput
from tests.identity_case import PHRASE
from tests.ledger_case import LOG, MOMENT, SQLITE_ALONE, draft

OLD = "uid:1000/s1"


@pytest.fixture
def escrowed(filled):
    """A log of three epochs, and the escrow of the first one."""
    filled.escrow = escrow.make(filled.keyring, PHRASE)
    filled.sequence()
    for _ in range(2):
        filled.end_epoch()
        filled.ledger = type(filled.ledger)(LOG, filled.keyring)
        filled.append(draft("s1"))
        filled.sequence()
    return filled


def recalled(case):
    ring = escrow.recall(case.keyring, case.escrow, PHRASE)
    with case.connection.begin():
        return verify(case.connection, LOG, ring, anchors=[case.anchors], moment=MOMENT)


def test_the_macs_of_erased_epochs_can_be_checked_again(escrowed):
    ring = escrow.recall(escrowed.keyring, escrowed.escrow, PHRASE)
    (kid, data, mac) = escrowed.rows(
        f"SELECT kid, canonical, mac FROM ledger_entries WHERE stream = '{OLD}' AND seq = 3"
    )[0]
    assert escrowed.keyring.erased(kid) and not ring.erased(kid)
    assert chain.mac(ring.stream_key_for(kid, LOG, OLD), data) == mac
    assert ring.kid == escrowed.keyring.kid, "it writes nothing with an old key"
    assert recalled(escrowed).status is Status.OK


def test_an_entry_that_the_tree_does_not_vouch_for_is_judged_by_its_mac(escrowed):
    """Without the escrow such an entry has nobody who speaks for it; with it, its own MAC tells what was done to it."""
    escrowed.sql(f"UPDATE ledger_entries SET mac = zeroblob(32) WHERE stream = '{OLD}' AND seq = 3")
    assert recalled(escrowed).broken_at.kind.value == "altered_entry"
    assert escrowed.verify().broken_at.kind.value == "altered_leaf"


def test_another_passphrase_opens_nothing(escrowed):
    with pytest.raises(Denied) as refused:
        escrow.recall(escrowed.keyring, escrowed.escrow, PHRASE + "!")
    assert refused.value.code == "escrow_not_opened"


@SQLITE_ALONE
def test_every_changed_character_is_refused(escrowed, monkeypatch):
    monkeypatch.setattr(escrow, "_key", lambda passphrase, salt: (salt + salt)[:32])  # scrypt is not at stake
    escrowed.escrow = escrow.make(escrowed.keyring, PHRASE)
    escrow.recall(escrowed.keyring, escrowed.escrow, PHRASE)
    for at in range(len(escrowed.escrow) - 1):
        other = "A" if escrowed.escrow[at] != "A" else "B"
        changed = escrowed.escrow[:at] + other + escrowed.escrow[at + 1 :]
        with pytest.raises((Denied, InvalidInput)):
            escrow.recall(escrowed.keyring, changed, PHRASE)


@SQLITE_ALONE
def test_another_spelling_of_the_same_bytes_is_refused(filled):
    """Base64 of 32 bytes has two bits to spare in its last character."""
    made = escrow.make(filled.keyring, PHRASE)
    salt = made.split()[7]
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    other = salt[:-2] + alphabet[alphabet.index(salt[-2]) + 1] + "="
    with pytest.raises(InvalidInput) as refused:
        escrow.recall(filled.keyring, made.replace(salt, other), PHRASE)
    assert refused.value.code == "escrow_malformed"


@SQLITE_ALONE
@pytest.mark.parametrize(
    "text", ["", "\n", "securecontext-escrow v1 \n", "x" * 10_000, "é", "securecontext-root v1 ledger"]
)
def test_what_is_no_escrow_is_a_plain_refusal(filled, text):
    with pytest.raises(InvalidInput) as refused:
        escrow.recall(filled.keyring, text, PHRASE)
    assert refused.value.code == "escrow_malformed"


@SQLITE_ALONE
def test_an_escrow_of_another_installation_or_a_later_epoch_is_refused(escrowed, tmp_path):
    foreign = escrow.make(Keyring.open(tmp_path / "foreign"), PHRASE)
    later = escrow.make(escrowed.keyring, PHRASE)
    old = Keyring.open(tmp_path / "old")
    for given, ring in ((foreign, escrowed.keyring), (later, old)):
        with pytest.raises(InvalidInput) as refused:
            escrow.recall(ring, given, PHRASE)
        assert refused.value.code == "escrow_foreign"


@SQLITE_ALONE
def test_an_escrow_holds_the_root_in_no_readable_form(filled):
    made = escrow.make(filled.keyring, PHRASE)
    root = (filled.keyring.folder / "ledger.root").read_text().split()[-1]
    assert root not in made and root[:20] not in made
    assert made != escrow.make(filled.keyring, PHRASE)
