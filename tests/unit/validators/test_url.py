"""URLs by their text alone: what passes, what is refused, and with which code."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from securecontext.types.errors import ZcError
from securecontext.validators.addresses import why_not_public
from securecontext.validators.url import CHARACTERS, parse_url


def refusal(text, **more):
    with pytest.raises(ZcError) as caught:
        parse_url(text, **more)
    return caught.value.code


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("https://example.com", "https://example.com/"),
        ("HTTPS://Example.COM:443/a%2Fb?q=1#part", "https://example.com/a%2Fb?q=1"),
        ("http://example.com:80/ä/[x]?ö", "http://example.com/%C3%A4/%5Bx%5D?%C3%B6"),
        ("https://8.8.8.8/", "https://8.8.8.8/"),
        ("https://[2606:4700:4700:0:0::1111]/", "https://[2606:4700:4700::1111]/"),
        ("https://xn--mnchen-3ya.de/", "https://xn--mnchen-3ya.de/"),
        ("https://xn--wgv71a119e.jp?x", "https://xn--wgv71a119e.jp/?x"),
        ("https://user.example.com/@name", "https://user.example.com/@name"),
        ("https://a.com//../x", "https://a.com//../x"),
    ],
)
def test_what_is_plain_passes_in_one_spelling(text, said):
    assert str(parse_url(text)) == said
    assert parse_url(said) == parse_url(text)


def test_the_parts_are_what_a_fetcher_needs():
    made = parse_url("http://Docs.Example.com/a?b=c")
    assert (made.scheme, made.host, made.address, made.port, made.target) == (
        "http", "docs.example.com", None, 80, "/a?b=c",
    )  # fmt: skip
    assert parse_url("https://a.com:8443/", frozenset({8443})).port == 8443


def test_a_refusal_never_repeats_the_url():
    for text in (
        "https://user:hunter2hunter2@a.com",
        "ftp://hunter2hunter2",
        "https://hunter2hunter2",
        "hunter2hunter2 ",
    ):
        with pytest.raises(ZcError) as caught:
            parse_url(text)
        assert "hunter2" not in str(caught.value.as_dict())


@pytest.mark.parametrize(
    ("code", "texts"),
    [
        ("url_not_text", [None, 7, b"https://a.com"]),
        ("url_too_long", ["https://a.com/" + "x" * CHARACTERS, "https://a.com/" + "ä" * 1000]),
        (
            "url_character",
            ["https://a.com/a b", "https://a.com\\@b.com", "https://a.com/\n", "\x00https://a.com", " https://a.com",
             "https://a.com/\ud800", "https://a\u200b.com", "https://a.com/\u202e", "https:\\\\a.com",
             "ht\ntps://a.com"],
        ),
        (
            "url_scheme",
            ["", "a.com", "//a.com", "ftp://a.com", "file:///etc/passwd", "javascript:alert(1)", "data:,x",
             "gopher://a.com",
             "JaVaScRiPt://a.com/%0aalert(1)", "http\u017f://a.com", "view-source:https://a.com"],
        ),
        ("url_malformed", ["https:", "https:/a.com", "https:a.com", "https://", "https:///path", "https://?q",
         "https://a.com/%", "https://a.com/?%zz"]),
        (
            "url_credentials",
            ["https://user:secret@a.com", "https://user@a.com", "https://@a.com", "https://a.com@127.0.0.1",
             "https://a.com:80@b.com"],
        ),
        (
            "url_host",
            ["https://.com", "https://xn--.com", "https://a..com", "https://-a.com", "https://a-.com", "https://a_b.com",
             "https://a.com.",
             "https://münchen.de", "https://127。0。0。1", "https://١٢٧.0.0.1", "https://①②⑦.0.0.1",
             "https://\uff4cocalhost",
             "https://a%2ecom", "https://[::1", "https://::1", "https://[::1]x", "https://[]x.com",
             "https://" + "a" * 64 + ".com",
             "https://" + "a." * 127 + "com", "https://a:b:80", "https://x]"],
        ),
        (
            "url_host_misleading",
            ["https://xn--80ak6aa92e.com", "https://xn--pple-43d.com",
             "https://xn--a.com", "https://ab--c.com",
             "https://xn--zzzzzzzzzzzzzz.com", "https://xn--example-9.com"],
        ),
        (
            "url_address_form",
            ["https://0177.0.0.1", "https://0x7f.0.0.1", "https://0x7f000001", "https://2130706433",
             "https://127.1", "https://127.0.1",
             "https://127.0.0.1.", "https://0", "https://1.2.3.4.5", "https://256.1.1.1", "https://1.2.3.08",
             "https://a.0x",
             "https://[fe80::1%25eth0]", "https://[fe80::1%eth0]", "https://[::ffff:8.8.8.8]",
             "https://[::ffff:7f00:1]",
             "https://[::127.0.0.1]", "https://[64:ff9b::7f00:1]", "https://[2002:7f00:1::]",
             "https://[2001:0:7f00:1::]",
             "https://[v1.x]", "https://[]", "https://[1::2::3]", "https://[2a00::5efe:7f00:1]"],
        ),
        ("url_port", ["https://a.com:22", "https://a.com:", "https://a.com:0", "https://a.com:065",
         "https://a.com:99999", "https://a.com:8443"]),
        (
            "url_not_public",
            ["http://localhost", "http://LOCALHOST", "http://x.localhost", "http://printer.local", "http://intranet",
             "http://metadata.google.internal", "http://instance-data.ec2.internal", "http://x.home.arpa",
             "http://x.onion",
             "http://127.0.0.1", "http://10.1.2.3", "http://172.31.0.1", "http://192.168.1.1",
             "http://169.254.169.254/latest",
             "http://168.63.129.16", "http://100.100.100.200", "http://0.0.0.0", "http://255.255.255.255",
             "http://198.18.0.1",
             "http://224.0.0.1", "http://[::1]", "http://[::]", "http://[fd00:ec2::254]", "http://[fe80::1]",
             "http://[ff02::1]",
             "http://[2001:db8::1]"],
        ),
    ],
)  # fmt: skip
def test_what_is_not_plain_or_not_public_is_refused(code, texts):
    assert {text: refusal(text) for text in texts} == dict.fromkeys(texts, code)


def test_w_30_every_kind_of_address_that_is_not_public_is_known():
    """The gaps of the predecessor's list, and those that a table of one's own forgets first."""
    wanted = {
        "127.255.0.1": "loopback", "100.127.0.1": "shared by a carrier's customers", "198.19.255.255": "benchmarking",
        "192.0.0.192": "reserved for protocols", "192.0.2.1": "documentation", "198.51.100.9": "documentation",
        "203.0.113.255": "documentation", "239.255.255.255": "multicast", "241.0.0.1": "reserved",
        "255.0.0.1": "reserved",
        "168.63.129.16": "metadata of a cloud", "169.254.169.254": "link-local",
        "100.100.100.200": "shared by a carrier's customers",
        "::ffff:10.0.0.1": "private", "::ffff:169.254.169.254": "link-local", "64:ff9b::a9fe:a9fe": "link-local",
        "64:ff9b:1::808:808": "local translation", "2002:808:808::": "6to4", "2001:0:4136:e378::": "Teredo",
        "2001:2::1": "reserved for protocols", "2001:db8:1::": "documentation", "3fff::1": "documentation",
        "::1": "loopback",
        "::": "unspecified", "::127.0.0.1": "reserved", "fdff::1": "private", "fec0::1": "site-local",
        "fe80::1%eth0": "of one interface",
        "ff0e::1": "multicast", "100::1": "discarded", "5f00::1": "reserved", "4000::1": "reserved",
        "2a00::200:5efe:a00:1": "ISATAP",
    }  # fmt: skip
    assert {text: why_not_public(ip_address(text)) for text in wanted} == wanted
    public = ["8.8.8.8", "100.128.0.1", "172.32.0.1", "169.253.0.1", "198.20.0.1", "223.255.255.255", "2606:4700::1",
              "2001:4860:4860::8888", "::ffff:8.8.8.8", "64:ff9b::808:808", "2a00:1450::1"]  # fmt: skip
    assert {text: why_not_public(ip_address(text)) for text in public} == dict.fromkeys(public, "")


@pytest.mark.parametrize(
    "network", ["172.16.0.0/12", "100.64.0.0/10", "198.18.0.0/15", "240.0.0.0/4", "fc00::/7", "2001::/23"]
)
def test_a_range_ends_where_it_ends(network):
    whole = ip_network(network)
    assert why_not_public(whole[0]) and why_not_public(whole[-1])
    for outside in (int(whole[0]) - 1, int(whole[-1]) + 1):
        if network not in ("240.0.0.0/4", "fc00::/7"):  # what lies beside those is reserved as well
            assert why_not_public(type(whole[0])(outside)) == ""


FINE = [
    "https://docs.python.org/3/library/ipaddress.html",
    "https://en.wikipedia.org/wiki/Server-side_request_forgery",
    "https://www.fda.gov/drugs",
    "https://fd.io/",
    "https://fe80.com/",
    "https://fc-bayern.de/",
    "https://cafe.com/",
    "https://dead.net/",
    "https://0x0.st/",
    "https://1.1.1.1/",
    "https://9.9.9.9/dns-query?name=a",
    "https://[2620:fe::fe]/",
    "https://a.co/",
    "https://x.y.z.w.example.net/",
    "https://10minutemail.com/",
    "https://127.com/",
    "https://192-168-0-1.com/",
    "https://3.14.dev/",
    "https://localhost.com/",
    "https://internal.company.com/",
    "https://local.ch/",
    "https://test.de/",
    "https://home.cern/",
    "https://metadata.org/",
    "https://example.org:443/",
    "http://example.org:80/",
    "https://a.com/?u=http://127.0.0.1/",
    "https://a.com/#@127.0.0.1",
    "https://a.com/file:///etc/passwd",
    "https://a.com/a;b=c,d",
    "https://a.com/%E2%82%AC",
    "https://a.com/?q=a+b&c=%26",
    "https://a.com/a:b@c",
    "https://xn--bcher-kva.example.com/",
    "https://xn--fiqs8s.cn/",
    "https://a-b.c-d.org/",
    "https://A.B.ORG/x",
    "https://100.128.0.1/",
    "https://172.32.0.1/",
    "https://192.169.0.1/",
    "https://198.20.0.1/",
    "https://11.0.0.1/",
]


@pytest.mark.parametrize("text", FINE)
def test_w_31_what_only_looks_hostile_is_fetched(text):
    made = parse_url(text)
    assert made.port in (80, 443) and parse_url(str(made)) == made
