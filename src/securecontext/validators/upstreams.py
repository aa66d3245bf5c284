"""Where a gateway's upstream services are: a list of addresses, text in, values out, or refused. Nothing is resolved.

``https://host[:port]``, and ``http://`` to this machine alone; several with commas between them. A path, a query and
credentials have no meaning here: who one is says a session token.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from typing import Final

from securecontext.types.errors import InvalidInput
from securecontext.validators.hosts import is_name

MOST: Final = 16
_FORM: Final = re.compile(r"(https?)://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(?::([0-9]{1,5}))?/?", re.ASCII)
_USUAL: Final = {"https": 443, "http": 80}
LOOPBACK_NAME: Final = "localhost"


@dataclass(frozen=True, slots=True)
class Upstream:
    """A service that holds the data.

    Attributes:
        scheme: ``https``, or ``http`` on loopback.
        host: a name in lower case, or an address, that of IPv6 without brackets.
        port: where it listens.
    """

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        shown = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == _USUAL[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{shown}{port}"


def parse_upstreams(text: str) -> tuple[Upstream, ...]:
    """Return the addresses of a list, each once, in its order.

    Raises:
        InvalidInput: ``bad_upstream``: one of them is none, or would send what is secret in the clear. The message
            does not repeat it.
    """
    parts = [part.strip() for part in text.split(",")]
    if len(parts) > MOST:
        raise _refused(f"more than {MOST} addresses are named", "Name fewer.")
    return tuple(dict.fromkeys(_parsed(part) for part in parts))


def _parsed(text: str) -> Upstream:
    found = _FORM.fullmatch(text)
    if found is None:
        raise _refused("one of them is no address", "Write each as https://host:port, with commas between.")
    scheme, host = found[1], found[2].strip("[]").lower()
    port = int(found[3] or _USUAL[scheme])
    if not 0 < port < 65_536:
        raise _refused("one of them has a port that is none", "Name a port from 1 to 65535.")
    try:
        address = ip_address(host)
    except ValueError:
        if ":" in host or not is_name(host) or host.rpartition(".")[2].isdigit():
            raise _refused("one of them has a host that is none", "Name a host or an address.") from None
        here = host == LOOPBACK_NAME
    else:
        here = address.is_loopback
        host = str(address)
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            raise _refused("one of them hides an IPv4 address in an IPv6 one", "Write the IPv4 address.")
    if scheme == "http" and not here:
        raise _refused(
            "one of them is http to another machine", "Use https: a session token goes with each call."
        )
    return Upstream(scheme, host, port)


def _refused(why: str, hint: str) -> InvalidInput:
    return InvalidInput(
        "bad_upstream", f"ZC_API_URL is no list of services: {why}.", hint, field="ZC_API_URL"
    )
