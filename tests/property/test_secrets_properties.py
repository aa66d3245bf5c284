"""Redaction is idempotent, keeps what is no secret, and takes any string."""

from hypothesis import given
from hypothesis import strategies as st

from securecontext.validators.secret_rules import random_runs, shaped
from securecontext.validators.secrets import MARKER, SHORTEST, redact, redact_value, scan

parts = st.sampled_from(
    ["gh" + "p_" + "a1B2" * 9, "AK" + "IA" + "A1B2C3D4E5F6G7H8", "sk" + "-" + "a1b2" * 8, "pass" + "word=",
     "sec" + "ret: ",
     '"', "'", " ", "\n", "\\n", "://u:", "@h", "abc", "Zq8", "[REDACTED:jwt]", "[REDACTED:", "]",
     "bearer ", "=", "İ", "\ud800",
     "kJ8sLq2ZxW9vBn4TyU7iOp3AsDf6GhJ1", "ey" + "Jabcdefgh.", "-----BEGIN " + "PRIVATE KEY-----",
     "-----END PRIVATE KEY-----"]
)  # fmt: skip
texts = st.lists(parts, max_size=30).map("".join) | st.text(alphabet=st.characters(), max_size=200)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)


@given(texts)
def test_redacting_twice_changes_nothing(text):
    once = redact(text).text
    assert scan(once) == ()
    assert redact(once).text == once


@given(texts)
def test_findings_are_in_order_apart_and_cut_no_marker(text):
    position = 0
    markers = [match.span() for match in MARKER.finditer(text)]
    rest = []
    for finding in scan(text):
        assert position <= finding.start < finding.end <= len(text)
        assert not any(start < cut < end for start, end in markers for cut in (finding.start, finding.end))
        rest += [text[position : finding.start], f"[REDACTED:{finding.type}]"]
        position = finding.end
    assert redact(text).text == "".join(rest) + text[position:]


@given(json_values)
def test_redacting_a_value_twice_changes_nothing(value):
    once = redact_value(value)
    assert redact_value(once) == once


@given(st.text(alphabet=":/@abAK=-_ 09.'\"\\\n", max_size=SHORTEST - 1))
def test_no_rule_finds_anything_in_a_text_that_scan_does_not_read(text: str) -> None:
    assert list(shaped(text)) == []
    assert list(random_runs(text)) == []


def test_the_shortest_secret_is_found() -> None:
    assert scan("://:abc@" + "x" * (SHORTEST - 8))
