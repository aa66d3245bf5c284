"""By which names, and from where, this door is reached; nothing that a request says of its way here is believed.

By default it is loopback alone. Other hosts come over TLS that ends here, or by way of a proxy that ends it. The door's
own token is for programs of this machine's user: it counts neither for who comes from another host nor behind a proxy,
where nobody can tell. `X-Forwarded-For` and its like are never read.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from ipaddress import ip_address

from starlette.types import Scope

from securecontext.settings import Settings
from securecontext.types.errors import Unavailable

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


@dataclass(frozen=True, slots=True)
class Reach:
    """How the door is reached.

    Attributes:
        hosts: what the Host header of a request may say.
        origins: what its Origin may say, if it says one.
        url: the address as people of this machine use it.
        proxied: whether requests may come by way of a proxy.
    """

    hosts: frozenset[str]
    origins: frozenset[str]
    url: str
    proxied: bool = False

    def is_local(self, scope: Scope) -> bool:
        """Say whether a request surely comes from this machine: by the connection's own address."""
        client = scope.get("client")
        if self.proxied or not client:
            return False
        try:
            return ip_address(client[0]).is_loopback
        except ValueError:
            return False


def reach_of(settings: Settings, port: int) -> Reach:
    """Return how the door is reached on a port."""
    scheme = "http" if settings.tls_cert is None else "https"
    here = {f"{name}:{port}" for name in LOOPBACK}
    own = {bracketed(settings.http_host)} if not is_loopback(settings.http_host) else set()
    named = {
        name if _has_port(name) or settings.http_behind_proxy else f"{name}:{port}"
        for name in settings.http_names
    }
    origins = {f"{scheme}://{host}" for host in here} | {f"https://{name}" for name in named}
    # A Host of 0.0.0.0 leads nowhere that a browser should: it is no name of this service.
    addresses = {f"{name}:{port}" for name in own if name not in ("0.0.0.0", "[::]")}  # noqa: S104 - it is refused
    shown = next(iter(addresses), f"127.0.0.1:{port}")
    return Reach(
        hosts=frozenset(here | named | addresses),
        origins=frozenset(origins | {f"{scheme}://{name}" for name in addresses}),
        url=f"{scheme}://{shown}",
        proxied=settings.http_behind_proxy,
    )


def bracketed(host: str) -> str:
    """Return an address as it stands in a Host header."""
    return f"[{host}]" if ":" in host else host


def is_loopback(host: str) -> bool:
    """Say whether an address is this machine's own alone."""
    return ip_address(host).is_loopback


def _has_port(name: str) -> bool:
    return name.rpartition(":")[2].isdigit() and not name.endswith("]")


def refuse_bad_certificate(settings: Settings) -> None:
    """Try the certificate and its key before anybody is let in.

    Raises:
        Unavailable: ``tls_unusable``.
    """
    if settings.tls_cert is None:
        return
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(settings.tls_cert, settings.tls_key)
    except (OSError, ssl.SSLError) as error:
        raise Unavailable(
            "tls_unusable",
            f"The certificate in ZC_TLS_CERT and the key in ZC_TLS_KEY cannot be used: {error.strerror or error}.",
            "Name a certificate chain and its unencrypted key in PEM form, then `zc service restart`.",
        ) from error
