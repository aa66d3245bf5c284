"""Names to addresses, and connections to addresses: what the door needs of the network, exchangeable as a whole.

A name is resolved once, by the system and without its search list; whoever asked connects to one of the very addresses
that it has checked. No proxy of the environment is used, and no key log of TLS is written.
"""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from typing import Final

from securecontext.types.errors import LimitReached, NotFound, Unavailable
from securecontext.validators.addresses import Address, why_not_public

RESOLVING: Final = 16
"""Names that are being resolved at once; the system's resolver cannot be told to hurry."""
_SLOTS: Final = threading.BoundedSemaphore(RESOLVING)


def by_system(host: str) -> Sequence[Address]:
    """Return the addresses of a name, as the system resolves it.

    Raises:
        OSError: it has none.
    """
    found = socket.getaddrinfo(f"{host}.", None, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return [ip_address(str(at[0])) for *_, at in found]


def why_not(address: Address) -> str:
    """Return why nothing is to be sent to an address; empty where it is public and not one of this machine."""
    return why_not_public(address) or ("of this machine" if _is_own(address) else "")


def _is_own(address: Address) -> bool:
    """Say whether an interface of this machine has an address: only then can a socket be bound to it."""
    family = socket.AF_INET6 if isinstance(address, IPv6Address) else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((str(address), 0))
    except OSError:
        return False
    return True


def tls_of_system() -> ssl.SSLContext:
    """Return a client's context with the system's certificates; not Python's default one, which may log keys."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_default_certs()
    return context


@dataclass(frozen=True, slots=True)
class Network:
    """What a door works with.

    Attributes:
        resolve: addresses of a name; OSError where it has none.
        why_not: why nothing is to be sent to an address; empty where it may.
        tls: makes the context of a connection.
    """

    resolve: Callable[[str], Sequence[Address]] = by_system
    why_not: Callable[[Address], str] = why_not
    tls: Callable[[], ssl.SSLContext] = tls_of_system

    def addresses(self, host: str, seconds: float) -> list[Address]:
        """Return the addresses of a name, each once, in the resolver's order.

        Raises:
            NotFound: ``host_unknown``.
            LimitReached: ``too_many_names``.
            Unavailable: ``fetch_timeout``.
        """
        if not _SLOTS.acquire(blocking=False):
            raise LimitReached(
                "too_many_names",
                f"{RESOLVING} names are being resolved already.",
                "Try again in some seconds.",
            )
        found: list[Address] = []
        done = threading.Event()

        def work() -> None:
            try:
                found.extend(self.resolve(host))
            except (OSError, ValueError, UnicodeError):
                found.clear()
            finally:
                _SLOTS.release()
                done.set()

        # The thread may outlive the call: getaddrinfo has no time limit.
        threading.Thread(target=work, daemon=True, name="resolve").start()
        if not done.wait(max(seconds, 0.0)):
            raise too_slow()
        if not found:
            raise NotFound("host_unknown", "The host's name has no address.", "Check the name.")
        return list(dict.fromkeys(found))

    def connect(self, address: Address, port: int, seconds: float) -> socket.socket:
        """Return a connection to this very address.

        Raises:
            OSError: there is none within the time.
        """
        family = socket.AF_INET6 if isinstance(address, IPv6Address) else socket.AF_INET
        connection = socket.socket(family, socket.SOCK_STREAM)
        try:
            connection.settimeout(max(seconds, 0.001))
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.connect((str(address), port))
        except BaseException:
            connection.close()
            raise
        return connection

    def secure(self, connection: socket.socket, name: str) -> ssl.SSLSocket:
        """Return the connection with TLS on it, its certificate checked against the name.

        Raises:
            Unavailable: ``tls_refused``.
            OSError: the connection broke, or took too long.
        """
        try:
            return self.tls().wrap_socket(connection, server_hostname=name, suppress_ragged_eofs=False)
        except ssl.SSLError as error:
            why = "its certificate is not good for the name" if _is_certificate(error) else "TLS failed"
            raise Unavailable(
                "tls_refused", f"The host cannot be trusted: {why}.", "Check the name; nothing was sent."
            ) from error


def _is_certificate(error: ssl.SSLError) -> bool:
    return isinstance(error, ssl.SSLCertVerificationError)


def too_slow() -> Unavailable:
    """Return the refusal of what took longer than its time."""
    return Unavailable("fetch_timeout", "The host did not answer within the time.", "Try again later.")
