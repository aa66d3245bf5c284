"""Both sets of rules behind one door. Every secret here is false and put together at run time."""

import base64
import hashlib
import string

import pytest

from securecontext.validators import secrets
from securecontext.validators.secret_engine import name_of
from securecontext.validators.secrets import MARKER, Outfit, engine_sees, redact, scan, wear
from tests.boundaries.test_secret_scanner import LABELLED, SECRETS
from tests.rules_case import all_rules, engine_of_rules, hugging_face, made_up, own_rules

__all__ = ["all_rules", "engine_of_rules", "own_rules"]

HEX = "0123456789abcdef"
ALNUM = string.ascii_letters + string.digits
ADDED = {
    "huggingface_access_token": hugging_face(),
    "digitaloceanapikey": "dop" + "_v1_" + made_up(64, HEX),
    "shopify_access_token": "shp" + "at_" + made_up(32, HEX),
    "databricks_api_token": "da" + "pi" + made_up(32, HEX),
    "postmanapikey": "PM" + "AK-" + made_up(24, HEX) + "-" + made_up(34, HEX, 6),
    "square_access_token": "sq0" + "atp-" + made_up(22, ALNUM),
    "rubygems_api_token": "ruby" + "gems_" + made_up(48, HEX),
    "pulumi_api_token": "pu" + "l-" + made_up(40, HEX),
    "dynatrace_api_token": "dt0" + "c01." + made_up(24, string.ascii_uppercase) + "."
    + made_up(64, string.ascii_uppercase, 6),
}  # fmt: skip
"""Classes that our own rules let pass, and the second set finds."""


@pytest.mark.parametrize("kind", SECRETS)
def test_rt_s0_12_what_our_own_rules_find_keeps_its_place_and_its_name(kind, all_rules):
    secret = SECRETS[kind]
    alone = scan(f"here: {secret} there", Outfit(b"k" * 32))
    assert scan(f"here: {secret} there") == alone != ()


@pytest.mark.parametrize("kind", LABELLED)
def test_rt_s0_12_so_does_what_is_labelled(kind, all_rules):
    before, value = LABELLED[kind]
    found = redact(before + value)
    assert value[:8] not in found.text and f"[REDACTED:{kind}]" in found.text


@pytest.mark.parametrize("kind", ADDED)
def test_rt_s0_12_the_second_set_finds_what_ours_lets_pass(kind, all_rules):
    text = f"Use {ADDED[kind]} here."
    assert scan(text, Outfit(b"k" * 32)) == ()
    found = redact(text)
    assert found.text == f"Use [REDACTED:{kind}] here."
    assert engine_sees(text) and not engine_sees(found.text)
    assert redact(found.text).text == found.text


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("é 日本 🧷 ", " ü"),
        ("\ufeff", ""),
        ("a\0b ", " \0"),
        ("\udc80 ", " \ud800"),
        ("line\r\nline\n", "\n"),
        (hugging_face() + " ", ""),
    ],
)
def test_a_secret_is_cut_out_exactly_whatever_stands_around_it(before, after, all_rules):
    found = redact(before + hugging_face() + after)
    expected = before.replace(hugging_face(), "[REDACTED:huggingface_access_token]")
    assert found.text == expected + "[REDACTED:huggingface_access_token]" + after


def test_a_secret_wrapped_in_base64_is_found(all_rules):
    wrapped = base64.b64encode(hugging_face().encode()).decode()
    assert wrapped not in redact(f"data: {wrapped}\n").text


def test_a_placeholder_in_a_manual_is_none(all_rules):
    manual = "postgresql://user:" + "password@host/database"
    assert redact(manual).text == manual
    real = "postgresql://user:" + "x7-kestrel-4" + "@host/database"
    assert "kestrel" not in redact(real).text


def test_rt_s0_13_a_fingerprint_is_made_with_a_key_so_that_nobody_can_try_passwords_against_it():
    text, short = "pass" + "word: hunter" + "22", "hunter" + "22"
    one, two = (scan(text, Outfit(key))[0].fingerprint for key in (b"1" * 32, b"2" * 32))
    assert one != two
    assert not hashlib.sha256(short.encode()).hexdigest().startswith(one)
    assert b"1" * 32 not in repr(Outfit(b"1" * 32)).encode()


def test_what_is_allowed_stays_and_nothing_else_does(own_rules):
    allowed, other = SECRETS["github_pat"], SECRETS["slack_token"]
    text = f"{allowed} and {other}"
    (first, second) = scan(text)
    wear(allowed=frozenset({first.fingerprint}))
    assert redact(text).text == f"{allowed} and [REDACTED:slack_token]"
    assert [finding.fingerprint for finding in scan(text)] == [second.fingerprint]
    wear(allowed=frozenset())
    assert allowed not in redact(text).text


def test_an_allowed_value_stays_with_both_sets_of_rules(all_rules):
    (finding,) = scan(hugging_face())
    wear(allowed=frozenset({finding.fingerprint}))
    assert redact(f"x {hugging_face()} y").text == f"x {hugging_face()} y"


def test_an_engine_that_fails_lets_nothing_pass(own_rules):
    class Broken:
        def hits(self, text):
            raise RuntimeError("broken")

    wear(engine=Broken())
    with pytest.raises(RuntimeError):
        redact("whatever this says")


def test_an_engine_that_finds_for_ever_comes_to_an_end(own_rules):
    class Greedy:
        def hits(self, text):
            yield secrets.Hit("greedy", 0, len(text))

    wear(engine=Greedy())
    assert redact("whatever this says").text == "[REDACTED:greedy]"


@pytest.mark.parametrize(
    ("rule", "name"),
    [
        ("betterleaks.github-pat", "github_pat"),
        ("veles.secrets/herokuplatformkey", "herokuplatformkey"),
        ("betterleaks.1password-secret-key", "1password_secret_key"),
        ("custom.Ä/…", "secret"),
        ("betterleaks." + "a" * 90, "a" * 40),
    ],
)
def test_a_rules_name_becomes_one_that_a_marker_can_have(rule, name):
    assert name_of(rule) == name
    assert MARKER.fullmatch(f"[REDACTED:{name}]")
