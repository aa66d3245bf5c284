"""The parts of the web that decide without a network: robots.txt, pace, character sets, rules of hosts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from securecontext.boundaries.egress.rules import Rule, allowing, clean, ports
from securecontext.types.errors import InvalidInput, LimitReached
from securecontext.types.pages import Page
from securecontext.web import robots
from securecontext.web.convert import as_text
from securecontext.web.pace import AT_ONCE, Pace


@pytest.mark.parametrize(
    ("text", "path", "allowed"),
    [
        ("", "/a", True),
        ("User-agent: *\nDisallow: /", "/a", False),
        ("User-agent: *\nDisallow:", "/a", True),
        ("User-agent: *\nDisallow: /\nAllow: /a", "/a", True),
        ("User-agent: *\nAllow: /a\nDisallow: /ab", "/abc", False),
        ("User-agent: *\nDisallow: /a\nAllow: /a", "/a", True),
        ("User-agent: *\nDisallow: /*.php$", "/x/y.php", False),
        ("User-agent: *\nDisallow: /*.php$", "/x/y.php?z", True),
        ("User-agent: *\nDisallow: /a*b*c", "/aXbYc", False),
        ("User-agent: *\nDisallow: /a*b*c", "/acb", True),
        ("User-agent: *\nDisallow: /\n\nUser-agent: securecontext\nAllow: /", "/a", True),
        ("User-agent: other\nUser-agent: SecureContext\nDisallow: /x", "/x", False),
        ("User-agent: other\nDisallow: /", "/a", True),
        ("\ufeffUSER-AGENT : * # all\nDISALLOW : /x # not\n", "/x", False),
        ("User-agent: *\nDisallow: /%61", "/a", False),
        ("User-agent: *\nDisallow: /\u00e4", "/%C3%A4", False),
        ("User-agent: *\n" + "Disallow: /q\n" * 5_001, "/a", False),
        ("garbage without a colon\nUser-agent: *\nCrawl-delay: 9\nDisallow: /d", "/d", False),
    ],
)
def test_robots_txt_says_what_rfc_9309_says(text, path, allowed):
    assert robots.parse(text, "SecureContext").allows(path) is allowed


@given(st.text(max_size=300), st.text(max_size=50))
def test_any_robots_txt_is_read(text, path):
    assert robots.parse(f"User-agent: *\n{text}", "SecureContext").allows(f"/{path}") in (True, False)


def test_pace_holds_a_burst_and_forgets_hosts_that_rest():
    now = [0.0]
    pace = Pace(lambda: now[0])
    for _ in range(int(AT_ONCE)):
        pace.take("a.org")
    with pytest.raises(LimitReached):
        pace.take("a.org")
    pace.take("b.org")
    for n in range(1_200):
        now[0] += 10
        pace.take(f"{n}.org")
    assert len(pace._hosts) <= 1_000
    pace.leave_alone("a.org", 1e9)
    with pytest.raises(LimitReached) as refused:
        pace.take("a.org")
    assert refused.value.details["retry_after_ms"] == 3_600_000


@pytest.mark.parametrize(
    ("body", "kind", "charset", "said"),
    [
        ("\u00e4".encode(), "text/plain", "", "\u00e4"),
        ("\u00e4".encode("latin-1"), "text/plain", "iso-8859-1", "\u00e4"),
        ("\u00e4".encode("utf-16"), "text/plain", "", "\u00e4"),
        (b"\xef\xbb\xbf\xc3\xa4", "text/plain", "latin-1", "\u00e4"),
        (b'<meta charset="windows-1252"><p>\xe4</p>', "text/html", "", "\u00e4"),
        (b'<meta charset="utf-16"><p>\xc3\xa4</p>', "text/html", "", "\u00e4"),
        (b"\xff bad", "text/plain", "utf-8", "\ufffd bad"),
        ("\u3042".encode("shift_jis"), "text/plain", "Shift_JIS", "\u3042"),
    ],
)
def test_a_page_is_read_in_its_own_character_set(body, kind, charset, said):
    assert as_text(Page("u", 200, kind, charset, body, len(body))).text == said


@pytest.mark.parametrize(
    "charset", ["rot13", "base64", "idna", "punycode", "utf-7", "unicode_escape", "nonsense", "\0"]
)
def test_what_is_no_character_set_is_refused(charset):
    with pytest.raises(InvalidInput, match="page_charset"):
        as_text(Page("u", 200, "text/plain", charset, b"x", 1))


@pytest.mark.parametrize(
    "html",
    [
        "<div>" * 100_000 + "x",
        "<a href=" * 50_000 + "x",
        "<table><tr>" * 20_000 + "x",
        "<!--" * 50_000,
        "&#x110000;&#99999999999;x",
        "<p>\0x</p>",
        "<svg><style><img src=x>",
    ],
)
def test_hostile_html_is_a_text_or_a_refusal(html):
    try:
        assert as_text(Page("u", 200, "text/html", "", html.encode(), len(html))).text
    except InvalidInput as error:
        assert error.code in ("page_empty", "page_unreadable")


names = st.from_regex(r"[a-z]{1,8}(\.[a-z]{2,8}){1,3}", fullmatch=True)


@given(names, names, st.integers(1, 65_535))
def test_a_rule_allows_its_host_and_no_other(name, other, port):
    for text in (name, f"*.{name}", f"{name}:{port}"):
        try:
            rule = Rule(clean(text), "uid:1", "t")
        except InvalidInput:
            continue
        assert clean(rule.host) == rule.host
        for host in (name, other, f"x.{name}", f"x{name}", f"{name}.{other}"):
            below = host.endswith(f".{name}") and text.startswith("*")
            same = host == name and not text.startswith("*")
            allowed = allowing([rule], host, rule.port or 443) is not None
            assert allowed is (below or same)
        assert (rule.port or 443) in ports([rule])
