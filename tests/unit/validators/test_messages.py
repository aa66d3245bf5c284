"""Messages from agent to agent: what is refused, with which code, and what plain talk of code may say."""

import pytest

from securecontext.types.errors import InvalidInput
from securecontext.validators.input import sanitize_agent_message, validate_agent_id
from securecontext.validators.markup import views


def refused(call, raw) -> str:
    with pytest.raises(InvalidInput) as caught:
        call(raw)
    assert caught.value.hint
    assert caught.value.details["field"] in ("message", "agent_id")
    if isinstance(raw, str) and len(raw) > 3:
        assert raw not in str(caught.value)
    return caught.value.code


@pytest.mark.parametrize(
    "raw",
    [
        "done",
        "a < b and b > c, a<=b, x <- y, a << 2",
        "returns Vec<u8>, List<String>, Map<String, int> or std::vector<std::string>",
        "changed main..feature, 1..10, see .../deep and a...b",
        "tabs\tand\nlines",
        "\U0001f469\u200d\U0001f4bb",
        "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f 1\ufe0f\u20e3",
        "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
        "\U0001fae8 is new",
        "100% of C:\\new\\users, \\d+ and \\x",
        "one = 1, only = 2, on_error = f, condition == x",
        "metadata: text, data: json",
        "R&D &amp; x && y &#9999999999999;",
    ],
)
def test_plain_talk_passes(raw):
    made = sanitize_agent_message(raw)
    assert made.value == raw
    assert made.checks == ("encoding", "characters", "length", "markup", "traversal")


def test_what_is_the_same_is_made_the_same():
    assert sanitize_agent_message("cafe\u0301\r\nx").value == "caf\u00e9\nx"
    assert sanitize_agent_message("café".encode()).value == "café"
    assert sanitize_agent_message(bytearray(b"ok")).value == "ok"


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (None, "not_a_text"),
        (7, "not_a_text"),
        (["a"], "not_a_text"),
        (b"\xff", "not_utf8"),
        (b"\xc0\xae\xc0\xae/", "not_utf8"),
        (b"\xed\xa0\x80", "not_utf8"),
        (b"x" * 100_000, "too_long"),
        ("x" * 4001, "too_long"),
        ("", "empty"),
        (" \u200b", "empty"),
        ("a\0b", "nul_character"),
        ("a\ud800", "lone_surrogate"),
        ("a\x1b[2J", "control_character"),
        ("a\u202eb", "bidi_control"),
        ("a\u200fb", "hidden_character"),
        ("pass\u200bword", "hidden_character"),
        ("a\u200db", "hidden_character"),
        ("a\u00adb", "hidden_character"),
        ("a\ufeffb", "hidden_character"),
        ("a\u2060b", "hidden_character"),
        ("a\u3164b", "hidden_character"),
        ("a\u2800b", "hidden_character"),
        ("a\ue000b", "hidden_character"),
        ("a\u0378b", "hidden_character"),
        ("a\u2028b", "hidden_character"),
        ("a\ufe0f\ufe0fb", "hidden_character"),
        ("a\U000e0101\U000e0102b", "hidden_character"),
        ("a\U000e0041", "hidden_character"),
        ("a" + "\u0301" * 31, "too_many_marks"),
    ],
)
def test_what_no_message_may_hold(raw, code):
    assert refused(sanitize_agent_message, raw) == code


@pytest.mark.parametrize(
    "raw",
    [
        "<script>alert(1)</script>",
        "<SCRIPT src=//x>",
        "<script",
        "<img src=x onerror=alert(1)>",
        "<svg/onload=alert(1)>",
        "<xss onclick=1>",
        "<x-own>",
        "<svg:script>",
        "<!-- hidden -->",
        "<!doctype html>",
        "<?xml version='1.0'?>",
        "</textarea>",
        '" onmouseover="alert(1)',
        "' ONFOCUS = alert(1) autofocus",
        "javascript:alert(1)",
        "JaVaScRiPt : alert(1)",
        "java\tscript\n:alert(1)",
        "vbscript:x",
        "data:text/html,x",
        "data: image/svg+xml;base64,AAAA",
        "\uff1cscript\uff1e",
        "&lt;script&gt;",
        "&#60;script&#62;",
        "&#x3c;script",
        "&#0000000000060;script",
        "&amp;lt;script&gt;",
        "%3Cscript%3E",
        "%253Cscript%253E",
        "\\u003cscript\\u003e",
        "\\u{3c}script",
        "\\x3cscript\\x3e",
        "java&#115;cript:x",
        "java&Tab;script:x",
    ],
)
def test_markup_is_refused_in_every_spelling(raw):
    assert refused(sanitize_agent_message, raw) == "markup"


@pytest.mark.parametrize(
    "raw",
    [
        "see ../secrets",
        "..\\..\\windows",
        "src/../../etc/passwd",
        "cd src/..",
        "..;/manager",
        "....//x",
        "%2e%2e/x",
        "..%2fx",
        "..%252fx",
        "%2e%2e%5cx",
        "%c0%ae%c0%ae/",
        "%e0%80%ae",
        "%u002e%u002e/",
        "\uff0e\uff0e/x",
        "\u2025/x",
        "..\uff0fx",
        "&period;&period;&sol;x",
        "\\u002e\\u002e/x",
    ],
)
def test_a_way_up_is_refused_in_every_spelling(raw):
    assert refused(sanitize_agent_message, raw) == "traversal"


def test_decoding_ends_and_is_bounded():
    deep = "<script>"
    for _ in range(3):
        deep = deep.replace("%", "%25").replace("<", "%3c")
    assert refused(sanitize_agent_message, deep) == "markup"
    assert len(views("%25" * 1000)) <= 4
    assert sanitize_agent_message("&#" + "\u2469" * 3_990 + ";").value  # NFKC makes 7,980 digits of it


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (None, "not_a_text"),
        (b"\xff", "not_utf8"),
        ("", "empty"),
        ("a" * 65, "too_long"),
        ("a b", "bad_agent_id"),
        ("a/../b", "bad_agent_id"),
        ("<b>", "bad_agent_id"),
    ],
)
def test_bad_agent_ids(raw, code):
    assert refused(validate_agent_id, raw) == code


def test_an_agent_id_is_vouched_for():
    assert validate_agent_id(b"dev-1").value == "dev-1"
