"""A person allows what looks like a secret and is none; an agent cannot."""

import pytest
from tests.house_case import AGENT, PERSON
from tests.identity_case import OPERATOR, with_operator
from tests.rules_case import made_up, own_rules

from securecontext.boundaries import secret_allowances
from securecontext.validators.secrets import worn

__all__ = ["own_rules"]

LOOKS_SECRET = "gh" + "p_" + made_up(36)


@pytest.fixture(autouse=True)
def _unlocked(house, own_rules):
    with_operator(house)


def fingerprint(house):
    (told,) = house.remember("token", f"the fixture is {LOOKS_SECRET}")["redacted"]
    return told["fingerprint"]


def test_what_is_allowed_is_stored_and_shown_from_then_on(house):
    print_of = fingerprint(house)
    assert LOOKS_SECRET not in house.recall()
    assert [
        each["fingerprint"] for each in house.do("secrets.allow", OPERATOR, fingerprint=print_of)["allowed"]
    ] == [print_of]
    assert house.remember("token", f"the fixture is {LOOKS_SECRET}").get("redacted", []) == []
    assert LOOKS_SECRET in house.recall()


def test_what_is_taken_back_is_redacted_when_it_is_shown(house):
    print_of = fingerprint(house)
    house.do("secrets.allow", OPERATOR, fingerprint=print_of)
    house.remember("token", f"the fixture is {LOOKS_SECRET}")
    assert house.do("secrets.disallow", OPERATOR, fingerprint=print_of)["allowed"] == []
    assert LOOKS_SECRET not in house.recall()


def test_the_list_outlives_the_service_and_holds_no_value(house):
    print_of = fingerprint(house)
    house.do("secrets.allow", OPERATOR, fingerprint=print_of)
    (entry,) = house.do("secrets.allowed", PERSON)["allowed"]
    assert (entry["fingerprint"], entry["by"]) == (print_of, "uid:1000")
    assert LOOKS_SECRET.encode() not in house.bytes_on_disk()
    secrets_allowed = worn().allowed
    house.app.allow_secrets()
    assert worn().allowed == secrets_allowed == {print_of}


def test_allowing_needs_the_operators_terminal(house):
    print_of = fingerprint(house)
    for who in (AGENT, PERSON):
        assert house.refused("secrets.allow", who, fingerprint=print_of) in (
            "not_permitted",
            "operator_locked",
        )
        assert house.refused("secrets.disallow", who, fingerprint=print_of) in (
            "not_permitted",
            "operator_locked",
        )
    assert worn().allowed == frozenset()


def test_a_refused_change_takes_no_effect(house):
    assert house.refused("secrets.allow", OPERATOR, fingerprint="12345") == "bad_fingerprint"
    assert house.refused("secrets.allow", OPERATOR, fingerprint="X" * 16) == "bad_fingerprint"
    assert house.refused("secrets.disallow", OPERATOR, fingerprint="0" * 16) == "no_such_allowance"
    assert house.do("secrets.allowed", PERSON)["allowed"] == []


def test_the_list_has_an_end(house, monkeypatch):
    monkeypatch.setattr(secret_allowances, "MOST", 2)
    for number in (1, 2, 2):
        house.do("secrets.allow", OPERATOR, fingerprint=f"{number:016x}")
    assert house.refused("secrets.allow", OPERATOR, fingerprint=f"{3:016x}") == "too_many_allowances"
    assert len(house.do("secrets.allowed", PERSON)["allowed"]) == 2
