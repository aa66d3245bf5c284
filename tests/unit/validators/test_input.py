"""The door for text: each refusal has its code, and none repeats the value."""

import pytest

from securecontext.types.errors import InvalidInput
from securecontext.validators.input import clean_agent_id, clean_text, one_line


def refused(call, *args, **kwargs) -> InvalidInput:
    with pytest.raises(InvalidInput) as caught:
        call(*args, **kwargs)
    return caught.value


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        ("", "empty"),
        (" \t\n ", "empty"),
        ("\u200b\u2060\ufeff", "empty"),
        ("x" * 51, "too_long"),
        ("x" * 10_000_000, "too_long"),
        ("SECRET\x00", "nul_character"),
        ("SECRET\ud800", "lone_surrogate"),
        ("SECRET\udfff", "lone_surrogate"),
        ("SECRET\x1b[31m", "control_character"),
        ("SECRET\x7f", "control_character"),
        ("SECRET\x85", "control_character"),
        ("SECRET\u202e", "bidi_control"),
        ("SECRET\u2066", "bidi_control"),
        ("SECRET\u2069", "bidi_control"),
        ("SECRET\U000e0041\U000e0042", "hidden_character"),
        ("a" + "\u0301" * 31, "too_many_marks"),
        ("a" + "\u0301\u0323" * 16, "too_many_marks"),
    ],
)
@pytest.mark.parametrize("multiline", [True, False])
def test_refusals(raw, code, multiline):
    if code == "empty" and not multiline and "\n" in raw:
        code = "control_character"
    error = refused(clean_text, raw, field="value", limit=50, multiline=multiline)
    assert error.code == code
    assert error.hint
    assert error.details["field"] == "value"
    assert "SECRET" not in str(error) + repr(error.as_dict())


def test_too_long_says_the_limit_and_the_length():
    error = refused(clean_text, "x" * 4001, field="value", limit=4000, multiline=True)
    assert error.details == {"limit": 4000, "length": 4001, "field": "value"}


@pytest.mark.parametrize("raw", ["a\tb", "a\nb", "a\rb", "a\u2028b", "a\u2029b"])
def test_one_line_fields_refuse_breaks(raw):
    assert refused(clean_text, raw, field="key", limit=50, multiline=False).code == "control_character"


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("a\r\nb\rc\n\td", "a\nb\nc\n\td"),
        ("cafe\u0301", "caf\u00e9"),
        (
            "\u05e9\u05dc\u05d5\u05dd \u200f\u0645\u0631\u062d\u0628\u0627",
            "\u05e9\u05dc\u05d5\u05dd \u200f\u0645\u0631\u062d\u0628\u0627",
        ),
        ("\U0001f469\u200d\U0001f4bb", "\U0001f469\u200d\U0001f4bb"),
        ("\U0001f3f4\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f",) * 2,
        ("'; DROP TABLE facts; --",) * 2,
        ("a" + "\u0301" * 30, "\u00e1" + "\u0301" * 29),
    ],
)
def test_accepted(raw, clean):
    assert clean_text(raw, field="value", limit=50, multiline=True) == clean


def test_the_limit_counts_what_is_stored():
    assert len(clean_text("e\u0301" * 50, field="value", limit=50, multiline=True)) == 50


@pytest.mark.parametrize("good", ["default", "a", "9", "dev-1", "A.b_c:d@e-f", "a" * 64])
def test_agent_ids(good):
    assert clean_agent_id(good) == good


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        ("", "empty"),
        ("a" * 65, "too_long"),
        ("-a", "bad_agent_id"),
        ("a b", "bad_agent_id"),
        ("a\n", "bad_agent_id"),
        ("é", "bad_agent_id"),
        ("a/../b", "bad_agent_id"),
        ("٣", "bad_agent_id"),
    ],
)
def test_bad_agent_ids(bad, code):
    assert refused(clean_agent_id, bad).code == code


@pytest.mark.parametrize(
    ("text", "limit", "line"),
    [
        ("a\nb\x00\x1b[31m\tc", 80, "a b [31m c"),
        ("a\u202eb\ud800", 80, "a b\ufffd"),
        ("x" * 30, 30, "x" * 30),
        ("x" * 100, 30, "x" * 11 + "… [+89 characters]"),
        ("x" * 100, 0, "… [+100 characters]"),
    ],
)
def test_one_line(text, limit, line):
    assert one_line(text, limit) == line
