"""Whether a text is the URL of a page of the public internet: a pure decision, made once, on the text alone.

What passes is plain: a scheme, a host that every reader takes for the same one, a port, a path. It is parsed here and
nowhere again: whoever fetches uses the parts. A name still has to be resolved, and each address that it has asked with
`addresses.why_not_public`. No refusal repeats the URL, which may hold a secret:

=======================  ========================================================================================
code                     refused because
=======================  ========================================================================================
``url_not_text``         not a text
``url_too_long``         more than 2048 characters, as it came or as it is sent
``url_character``        spaces, controls, backslashes, lone surrogates: readers differ about what they mean
``url_scheme``           neither ``http`` nor ``https``
``url_malformed``        no host, or a percent sign that escapes nothing
``url_credentials``      a user, a password, or anything else before an ``@``
``url_host``             no name and no address, or not in ASCII (digits of other scripts among them)
``url_host_misleading``  a name that looks like another one
``url_address_form``     an address in a form that readers differ about: octal, hexadecimal, short, with a zone,
                         an IPv4 address within an IPv6 one
``url_port``             a port that is none, or not one of those allowed
``url_not_public``       an address or a name of a machine, a local network or a cloud's inside
=======================  ========================================================================================
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Final
from urllib.parse import quote

from securecontext.types.errors import Denied, InvalidInput
from securecontext.validators.addresses import Address, carries_another, why_not_public
from securecontext.validators.hosts import ends_in_a_number, is_local, is_misleading, is_name

CHARACTERS: Final = 2048
PORTS: Final = {"http": 80, "https": 443}
_FORM: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)([^?#]*)(\?[^#]*)?(?:#.*)?")
_FORBIDDEN: Final = re.compile(
    r"[\x00-\x20\x7f-\xa0\\\ud800-\udfff\u1680\u2000-\u200f\u2028-\u202f\u205f-\u206f\u3000\ufeff]"
)
_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_AUTHORITY: Final = re.compile(r"(\[[^\]]*\]|[^:\[\]]*)(?::([0-9]*))?")
_IPV4: Final = re.compile(r"(?:0|[1-9][0-9]{0,2})(?:\.(?:0|[1-9][0-9]{0,2})){3}")
_IPV6: Final = re.compile(r"[0-9A-Fa-f:.]+")
_IN_PATH: Final = "/%:@!$&'()*+,;=~-._"


@dataclass(frozen=True, slots=True)
class WebUrl:
    """A URL that passed, in parts; make it with `parse_url`.

    Attributes:
        scheme: ``http`` or ``https``.
        host: a name in lower case, or an address as text.
        address: the address; None where the host is a name, which is to be resolved.
        port: where to connect.
        target: path and query as the request names them, percent-encoded; begins with ``/``.
    """

    scheme: str
    host: str
    address: Address | None
    port: int
    target: str

    def __str__(self) -> str:
        shown = f"[{self.host}]" if isinstance(self.address, IPv6Address) else self.host
        port = "" if self.port == PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{shown}{port}{self.target}"


def parse_url(raw: object, ports: frozenset[int] = frozenset(PORTS.values())) -> WebUrl:
    """Return the parts of a URL; a fragment, which no server is told, is left out.

    Args:
        raw: the text.
        ports: that may be connected to.

    Raises:
        InvalidInput: see this module.
        Denied: ``url_not_public``.
    """
    if not isinstance(raw, str):
        raise _refused("url_not_text", "is no text", "Send it as a text.")
    if len(raw) > CHARACTERS:
        raise _too_long()
    if _FORBIDDEN.search(raw):
        raise _refused("url_character", "has a character that no URL has", "Percent-encode it.")
    found = _FORM.fullmatch(raw)
    scheme = raw.partition(":")[0].lower()
    if scheme not in PORTS:
        raise _refused("url_scheme", "is neither http nor https", "Begin it with https:// or http://.")
    if found is None or not found[2] or _ESCAPE.search(found[3] + (found[4] or "")):
        raise _refused("url_malformed", "is not a whole URL", "Write it as https://host/path.")
    host, address, port = _authority(found[2], PORTS[scheme])
    if port not in ports:
        raise _refused("url_port", "names a port that is not open to us", "Leave the port out.")
    made = WebUrl(scheme, host, address, port, _target(found[3], found[4] or ""))
    if len(str(made)) > CHARACTERS:
        raise _too_long()
    why = why_not_public(address) if address is not None else "of a local network" if is_local(host) else ""
    if why:
        raise Denied(
            "url_not_public",
            f"The URL does not lead to the public internet: its host is {why}.",
            "Name a public host.",
            why=why,
        )
    return made


def _authority(text: str, usual: int) -> tuple[str, Address | None, int]:
    """Return host, address and port."""
    if "@" in text:
        raise _refused("url_credentials", "has credentials or an `@` before its host", "Leave them out.")
    found = _AUTHORITY.fullmatch(text)
    if found is None:
        raise _refused("url_host", "has no host that is a name or an address", "Write a name or an address.")
    host, address = _host(found[1])
    digits = found[2]
    if digits is None:
        return host, address, usual
    if not digits or len(digits) > 5 or digits.startswith("0") or int(digits) > 65_535:
        raise _refused("url_port", "has a port that is none", "Leave the port out.")
    return host, address, int(digits)


def _host(text: str) -> tuple[str, Address | None]:
    if text.startswith("["):
        v6 = _ipv6(text[1:-1])
        return str(v6), v6
    host = text.lower() if text.isascii() else ""
    if host and ends_in_a_number(host):
        v4 = _ipv4(host)
        return str(v4), v4
    if not is_name(host):
        raise _refused(
            "url_host",
            "has a host that is no name in ASCII letters, digits, hyphens and dots",
            "Write a name of another script as its registry does: xn--….",
        )
    if is_misleading(host):
        raise _refused("url_host_misleading", "has a host that looks like another one", "Check the name.")
    return host, None


def _ipv4(text: str) -> IPv4Address:
    if not _IPV4.fullmatch(text) or any(int(part) > 255 for part in text.split(".")):
        raise _odd()
    return IPv4Address(text)


def _ipv6(text: str) -> IPv6Address:
    try:
        address = IPv6Address(text) if _IPV6.fullmatch(text) else None
    except ValueError:
        address = None
    if address is None or carries_another(address):
        raise _odd()
    return address


def _odd() -> InvalidInput:
    return _refused(
        "url_address_form",
        "has an address in a form that readers differ about",
        "Write an IPv4 address as four plain numbers, an IPv6 address in brackets without a zone.",
    )


def _target(path: str, query: str) -> str:
    """Return path and query; what stands in no URL is percent-encoded, what is encoded stays so."""
    return quote(path or "/", safe=_IN_PATH) + (quote(query, safe=_IN_PATH + "?") if query else "")


def _too_long() -> InvalidInput:
    return _refused("url_too_long", "is too long", f"Use at most {CHARACTERS} characters.")


def _refused(code: str, what: str, hint: str) -> InvalidInput:
    return InvalidInput(code, f"The URL {what}.", hint, field="url")
