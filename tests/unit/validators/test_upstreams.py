"""Addresses of upstream services: what passes, in which form, and what is refused without being repeated."""

import pytest

from securecontext.types.errors import InvalidInput
from securecontext.validators.upstreams import MOST, parse_upstreams


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://a.example.org:3099", ["https://a.example.org:3099"]),
        (" https://A.example.org , https://b.example.org/ ", ["https://a.example.org", "https://b.example.org"]),
        ("https://10.0.0.7:3099,https://10.0.0.7:3099", ["https://10.0.0.7:3099"]),
        ("https://[2001:DB8::1]:3099", ["https://[2001:db8::1]:3099"]),
        ("http://127.0.0.1:3099,http://localhost:3099,http://[::1]:80",
         ["http://127.0.0.1:3099", "http://localhost:3099", "http://[::1]"]),
        ("https://db", ["https://db"]),
    ],
)  # fmt: skip
def test_a_list_of_services(text: str, shown: list[str]) -> None:
    assert [str(each) for each in parse_upstreams(text)] == shown


@pytest.mark.parametrize(
    "text",
    [
        "", ",", "https://a,,https://b", "a.example.org", "ftp://a", "https://", "https://a:0", "https://a:65536",
        "https://user:secret@a", "https://a/path", "https://a?x=secret", "https://a#x", "https://a b", "https://-a",
        "https://999.1.1.1", "https://0x7f.1", "https://[::ffff:127.0.0.1]", "https://[::1", "https://[fe80::1%eth0]",
        "http://10.0.0.1", "http://a.example.org", "http://localhost.evil.org", "http://0.0.0.0",
        "https://\u0430pple.example.org", "https://a\nb", "https://a\0", ",".join(["https://a"] * (MOST + 1)),
    ],
)  # fmt: skip
def test_what_is_no_such_list_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_upstreams(text)
    assert caught.value.code == "bad_upstream"
    assert "secret" not in str(caught.value)
