"""Whether an IP address is one of the public internet: pure, by a table of our own. Names are resolved elsewhere.

The table follows IANA's registries of special-purpose addresses
(https://www.iana.org/assignments/iana-ipv4-special-registry, …/iana-ipv6-special-registry) and is stricter: what a
registry calls reachable but nobody serves pages from is refused too. Of IPv6 only ``2000::/3`` is given out at all.

An address that carries an IPv4 address is what that one is where the network translates (mapped, NAT64), and refused
where it tunnels (6to4, Teredo, ISATAP): no tunnel leads to where a check has not looked.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final

Address = IPv4Address | IPv6Address

_V4: Final = tuple(
    (IPv4Network(network), what)
    for network, what in (
        ("0.0.0.0/8", "this network"),
        ("10.0.0.0/8", "private"),
        ("100.64.0.0/10", "shared by a carrier's customers"),  # Alibaba's metadata too: 100.100.100.200
        ("127.0.0.0/8", "loopback"),
        ("168.63.129.16/32", "metadata of a cloud"),  # Azure's, in a public range
        ("169.254.0.0/16", "link-local"),  # and the metadata of most clouds: 169.254.169.254
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "reserved for protocols"),
        ("192.0.2.0/24", "documentation"),
        ("192.31.196.0/24", "reserved for protocols"),
        ("192.52.193.0/24", "reserved for protocols"),
        ("192.88.99.0/24", "6to4 relay"),
        ("192.168.0.0/16", "private"),
        ("192.175.48.0/24", "reserved for protocols"),
        ("198.18.0.0/15", "benchmarking"),
        ("198.51.100.0/24", "documentation"),
        ("203.0.113.0/24", "documentation"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved"),  # broadcast is its last one
    )
)
_V6: Final = tuple(
    (IPv6Network(network), what)
    for network, what in (
        ("2001::/32", "Teredo"),
        (
            "2001::/23",
            "reserved for protocols",
        ),  # benchmarking 2001:2::/48, ORCHID, port control, and the rest
        ("2001:db8::/32", "documentation"),
        ("2002::/16", "6to4"),
        ("3ffe::/16", "returned"),
        ("3fff::/20", "documentation"),
    )
)
_V6_ELSEWHERE: Final = tuple(
    (IPv6Network(network), what)
    for network, what in (
        ("::/128", "unspecified"),
        ("::1/128", "loopback"),
        ("64:ff9b:1::/48", "local translation"),
        ("100::/64", "discarded"),
        ("fc00::/7", "private"),  # and metadata: fd00:ec2::254, fd20:ce::254
        ("fe80::/10", "link-local"),
        ("fec0::/10", "site-local"),
        ("ff00::/8", "multicast"),
    )
)
_GIVEN_OUT: Final = IPv6Network("2000::/3")
_MAPPED: Final = IPv6Network("::ffff:0:0/96")
_NAT64: Final = IPv6Network("64:ff9b::/96")
_ISATAP: Final = (0x00005EFE, 0x02005EFE)
"""The upper half of the interface part of an address whose lower half is an IPv4 address (RFC 5214)."""


def why_not_public(address: Address) -> str:
    """Return why an address is none of the public internet, in a word or a few; empty where it is one."""
    if isinstance(address, IPv4Address):
        return _found(address)
    if address.scope_id is not None:
        return "of one interface"
    if address in _MAPPED or address in _NAT64:
        return _found(IPv4Address(int(address) & 0xFFFFFFFF))
    if address not in _GIVEN_OUT:
        return next((what for network, what in _V6_ELSEWHERE if address in network), "reserved")
    if int(address) >> 32 & 0xFFFFFFFF in _ISATAP:
        return "ISATAP"
    return next((what for network, what in _V6 if address in network), "")


def carries_another(address: IPv6Address) -> bool:
    """Say whether an address carries an IPv4 address that something on the way unpacks."""
    return (
        (int(address) >> 32 == 0 and int(address) > 1)  # the old compatible form
        or address in _MAPPED
        or address in _NAT64
        or address in IPv6Network("2002::/16")
        or address in IPv6Network("2001::/32")
        or int(address) >> 32 & 0xFFFFFFFF in _ISATAP
    )


def _found(address: IPv4Address) -> str:
    return next((what for network, what in _V4 if address in network), "")
