"""Keys as a person sees and changes them, and what the machine's ledger has of it."""

from datetime import timedelta

import pytest
from tests.house_case import PERSON
from tests.identity_case import OPERATOR, with_operator
from tests.keys_case import spellings

from securecontext.boundaries.keys import Keyring
from securecontext.types.errors import Unavailable


@pytest.fixture(autouse=True)
def _unlocked(house):
    with_operator(house)


def machine_entries(house, limit=10):
    """(kind, operation, outcome, arguments) of the machine's newest entries, newest first."""
    with house.app.machine.read() as connection:
        rows = house.app.ledgers.tail(connection, limit)
    return [(r.kind, r.body["operation"], r.body["outcome"], r.body["arguments"]) for r in rows]


def test_the_status_tells_ids_ages_uses_and_the_root(house):
    told = house.do("keys.status", PERSON)
    keys = house.app.settings.home / "keys"
    assert (told["root"], told["file"]) == (str(keys / "encryption.root"), str(keys / "data.keys"))
    (key,) = told["data_keys"]
    assert (key["state"], key["uses"], key["days"]) == ("writing", 0, 0)
    house.moment += timedelta(days=12, hours=3)
    told = house.do("keys.status", PERSON)
    assert (told["wrapping_days"], told["data_keys"][0]["days"]) == (12, 12)
    text = house.ask("keys.status", who=PERSON).text
    for part in (told["root"], told["wrapping_key"], key["id"], "12 days old", "at most 0 uses"):
        assert part in text


def test_a_rotation_has_its_intent_and_its_result_in_the_ledger(house):
    before = house.do("keys.status", PERSON)
    after = house.do("keys.rotate", OPERATOR)
    assert after["wrapping_key"] != before["wrapping_key"]
    assert [key["state"] for key in after["data_keys"]] == ["reading", "writing"]
    told = {"wrapping_key": after["wrapping_key"], "data_key": after["data_keys"][1]["id"]}
    assert machine_entries(house, 3) == [
        ("call", "keys.rotate", "ok", {}),
        ("result", "keys.rotate", "ok", told),
        ("intent", "keys.rotate", "intended", {}),
    ]


def test_a_destruction_wants_a_yes_and_is_in_the_ledger(house):
    key = house.do("keys.status", PERSON)["data_keys"][0]["id"]
    assert house.refused("keys.destroy", OPERATOR, key_id=key) == "not_confirmed"
    assert [entry[:3] for entry in machine_entries(house, 1)] == [
        ("refusal", "keys.destroy", "not_confirmed")
    ]
    assert house.do("keys.status", PERSON)["data_keys"][0]["state"] == "writing"
    answer = house.ask("keys.destroy", {"key_id": key, "confirm": True}, who=OPERATOR)
    assert answer.error is None and key in answer.text
    told = house.do("keys.status", PERSON)["data_keys"]
    assert [each["state"] for each in told] == ["destroyed", "writing"]
    assert told[0]["destroyed"][:4] == "2026"
    kinds = [entry for entry in machine_entries(house, 5) if entry[1] == "keys.destroy"]
    assert [(kind, outcome, arguments["key_id"]) for kind, _, outcome, arguments in kinds[:3]] == [
        ("call", "ok", key),
        ("result", "ok", key),
        ("intent", "intended", key),
    ]


def test_a_key_that_is_not_there_is_refused_and_nothing_changes(house):
    before = house.do("keys.status", PERSON)
    assert house.refused("keys.destroy", OPERATOR, key_id="dek_none", confirm=True) == "no_such_key"
    assert house.do("keys.status", PERSON) == before
    assert machine_entries(house, 3)[1][:3] == ("refusal", "keys.destroy", "no_such_key")


def test_a_repeated_rotation_with_one_key_is_done_once(house):
    one = house.ask("keys.rotate", {}, who=OPERATOR, key="k1")
    two = house.ask("keys.rotate", {}, who=OPERATOR, key="k1")
    assert one.structured == two.structured
    assert len(house.do("keys.status", PERSON)["data_keys"]) == 2


def test_a_ledger_that_takes_no_entry_keeps_the_keys_as_they_are(house, monkeypatch):
    before = house.do("keys.status", PERSON)

    def full(_job):
        raise Unavailable("storage_full", "There is no room.", "Make room.")

    with monkeypatch.context() as broken:
        broken.setattr(house.app.machine, "write", full)
        assert house.refused("keys.rotate", OPERATOR) == "storage_full"
    assert house.do("keys.status", PERSON) == before


def test_no_byte_of_a_key_is_stored_beside_the_files_of_keys(house):
    house.do("keys.rotate", OPERATOR)
    held = house.app.data_keys._envelope()
    root = Keyring.open(house.app.settings.home / "keys").root("encryption")
    secrets = [root, held.wrapping.secret, held.salt]
    secrets += [held.opened(key.id).secret for key in held.keys] + [key.wrapped for key in held.keys]
    keys = house.app.settings.home / "keys"
    for file in house.app.settings.home.rglob("*"):
        if file.is_file() and file.parent != keys:
            data = file.read_bytes()
            assert not any(part in data for secret in secrets for part in spellings(secret)), file


def test_a_broken_file_of_keys_leaves_memory_alone(house):
    house.do("keys.status", PERSON)
    (house.app.settings.home / "keys" / "data.keys").write_bytes(b"rubbish")
    house.app.data_keys._held = None  # as after a restart
    assert house.refused("keys.status", PERSON) == "key_file_malformed"
    assert house.refused("keys.rotate", OPERATOR) == "key_file_malformed"
    house.remember("db", "PostgreSQL")
    assert house.shown() == {"db": "PostgreSQL"}


@pytest.mark.parametrize("key_id", ["x" * 201, 7, None])
def test_an_id_of_a_wrong_form_is_refused(house, key_id):
    error = house.ask("keys.destroy", {"key_id": key_id, "confirm": True}, who=OPERATOR).error
    assert error.http_status == 400
