"""Whatever comes in as a URL: one error or one meaning, and never an address that is not public."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import urlsplit

from hypothesis import example, given, settings
from hypothesis import strategies as st

from securecontext.types.errors import Denied, InvalidInput
from securecontext.validators.addresses import why_not_public
from securecontext.validators.url import CHARACTERS, parse_url

PIECES = st.sampled_from(
    ["http://", "https://", "HTTP:", "//", "\\", "@", ":", "[", "]", "::1", "127.0.0.1", "127.1", "0x7f",
     "0177", "%25", "%00", "%",
     "localhost", "a.com", ".", "xn--", "xn--80ak6aa92e", "。", "\uff11", "é", "?", "#", "/", "..", " ", "\n",
     "\0", "\ud800", "80", "443",
     "99999999999999999999", "ffff:", "fe80::1%eth0", "@a.com", "user:pw@", "\u200b", "\u017f", "K"]
)  # fmt: skip
texts = st.one_of(
    st.text(),
    st.lists(PIECES, max_size=12).map("".join),
    st.lists(PIECES, max_size=8).map(lambda p: "https://" + "".join(p)),
)
anything = st.one_of(texts, st.binary(), st.none(), st.integers(), st.floats(), st.lists(texts, max_size=2))


@settings(max_examples=400)
@given(anything)
@example("https://[::ffff:1.2.3.4]:80:80/")
@example("https://xn--" + "9" * 60 + ".com")
def test_a_url_has_one_meaning_or_one_error(raw):
    try:
        made = parse_url(raw)
    except (InvalidInput, Denied) as error:
        assert error.code.startswith("url_") and error.hint
        return
    said = str(made)
    assert said.isascii() and len(said) <= CHARACTERS
    assert parse_url(said) == made
    other = urlsplit(said)  # another reader sees the same
    assert (other.scheme, other.hostname, other.username) == (made.scheme, made.host, None)
    assert (other.port or {"http": 80, "https": 443}[other.scheme]) == made.port
    assert made.address is None or (why_not_public(made.address) == "" and str(made.address) == made.host)
    assert made.target.startswith("/")


@settings(max_examples=1_000)
@given(st.one_of(st.integers(0, 2**32 - 1).map(IPv4Address), st.integers(0, 2**128 - 1).map(IPv6Address),
                 st.integers(0x2001 << 112, (0x2003 << 112) - 1).map(IPv6Address)))  # fmt: skip
def test_our_table_is_never_more_generous_than_pythons(address):
    if why_not_public(address) == "":
        assert address.is_global and not (
            address.is_multicast or address.is_reserved or address.is_link_local
        )


@given(st.integers(0, 2**32 - 1).map(IPv4Address))
def test_a_translated_address_is_what_it_carries_and_a_tunnelled_one_is_none(address):
    carried = int(address)
    for prefix in (0xFFFF << 32, 0x64FF9B << 96):
        assert why_not_public(IPv6Address(prefix | carried)) == why_not_public(address)
    for tunnel in (
        0x2002 << 112 | carried << 80,
        0x20010000 << 96 | carried,
        0x2A00 << 112 | 0x5EFE << 32 | carried,
    ):
        assert why_not_public(IPv6Address(tunnel)) != ""
        assert str(ip_address(tunnel))
