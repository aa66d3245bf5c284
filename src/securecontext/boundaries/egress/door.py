"""The door: `Door.send` is the only way by which bytes leave this machine for somewhere that a caller names.

In this order, each step refusing: a rule of the operator's lets it go there; nothing in it looks like a secret; it is
an entry of the machine's ledger, with destination and fingerprint, which is durable; the name is resolved, once, and
**every** address that it has is one that may be sent to; the connection is to one of these very addresses, and its
other end is asked who it is; TLS holds for the name. Then the bytes are sent. A name is looked up only after the
entry: the question alone tells somebody something.
"""

from __future__ import annotations

import hmac
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

from securecontext.boundaries.egress.network import Network, too_slow
from securecontext.boundaries.egress.rules import Rule, allowing
from securecontext.boundaries.policy import Principal
from securecontext.contracts import require
from securecontext.types.errors import Denied, Unavailable
from securecontext.types.ids import new_id
from securecontext.types.ledger import EntryDraft
from securecontext.validators.addresses import Address
from securecontext.validators.secrets import FINGERPRINT_DIGITS, MARKER, scan, worn
from securecontext.validators.url import WebUrl

OPERATION: Final = "egress"
"""What the entries in the ledger are found by."""
TRIED: Final = 3
"""Addresses of a name that are tried, at most."""
READ_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Parcel:
    """What is to leave.

    Attributes:
        who: on whose behalf.
        project: id of the project; empty where it is none's.
        purpose: the operation that needs it, e.g. ``zc_fetch``.
        url: where to; only host, port and scheme count.
        data: the bytes.
    """

    who: Principal
    project: str
    purpose: str
    url: WebUrl
    data: bytes


class Channel:
    """What comes back. Close it.

    Attributes:
        id: of the entry in the ledger.
        address: the other end.
    """

    def __init__(self, connection: socket.socket, deadline: float, ident: str, address: Address) -> None:
        self._connection = connection
        self._deadline = deadline
        self.id = ident
        self.address = address

    def read(self) -> bytes:
        """Return some bytes; none at the end.

        Raises:
            Unavailable: ``fetch_timeout``, ``connection_broken``.
        """
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise too_slow()
        self._connection.settimeout(left)
        try:
            return self._connection.recv(READ_BYTES)
        except TimeoutError:
            raise too_slow() from None
        except OSError as error:
            raise _broken() from error

    def close(self) -> None:
        """End the connection."""
        self._connection.close()


class Door:
    """Sends what may leave. Safe to share by threads.

    Args:
        network: names, connections, TLS.
        record: makes an entry of the machine's ledger durable.
    """

    def __init__(self, network: Network, record: Callable[[EntryDraft], object]) -> None:
        self._network = network
        self._record = record

    @require(lambda parcel: bool(parcel.data and parcel.purpose), "what leaves is something, for something")
    def send(self, parcel: Parcel, rules: Sequence[Rule], deadline: float) -> Channel:
        """Send a parcel, and return where the answer comes from.

        Args:
            parcel: what, and where to.
            rules: of the operator, for this project and for all.
            deadline: `time.monotonic` by which everything is over, reading too.

        Raises:
            Denied: ``egress_not_allowed``, ``secret_would_leave``, ``url_not_public``.
            NotFound: ``host_unknown``.
            Unavailable: ``host_unreachable``, ``tls_refused``, ``connection_broken``, ``fetch_timeout``.
            LimitReached: ``too_many_names``.
        """
        refuse_unallowed(rules, parcel.url)
        refuse_secrets(parcel.data.decode("utf-8", "replace"))
        ident = self._enter(parcel)
        addresses = self._checked(parcel.url, deadline)
        connection, address = self._connected(addresses, parcel.url.port, deadline)
        try:
            connection.settimeout(_left(deadline))
            if parcel.url.scheme == "https":
                connection = self._network.secure(connection, parcel.url.host)
            connection.settimeout(_left(deadline))
            connection.sendall(parcel.data)
        except TimeoutError:
            connection.close()
            raise too_slow() from None
        except OSError as error:
            connection.close()
            raise _broken() from error
        except BaseException:
            connection.close()
            raise
        return Channel(connection, deadline, ident, address)

    def _enter(self, parcel: Parcel) -> str:
        ident = new_id("out", 12)
        digest = hmac.digest(worn().key, parcel.data, "sha256").hex()
        body = {
            "operation": OPERATION,
            "id": ident,
            "purpose": parcel.purpose,
            "project": parcel.project,
            "destination": f"{parcel.url.scheme}://{parcel.url.host}:{parcel.url.port}",
            "bytes": len(parcel.data),
            "fingerprint": digest[:FINGERPRINT_DIGITS],
            "arguments": {},
        }
        who = parcel.who
        self._record(EntryDraft(who.name, who.session, who.claimed_agent, "intent", body))
        return ident

    def _checked(self, url: WebUrl, deadline: float) -> list[Address]:
        """Return the addresses of a host, none of which may be one that nothing is sent to."""
        found = (
            [url.address] if url.address is not None else self._network.addresses(url.host, _left(deadline))
        )
        for address in found:
            self._refuse_address(address)
        return found

    def _refuse_address(self, address: Address) -> None:
        why = self._network.why_not(address)
        if why:
            raise Denied(
                "url_not_public",
                f"The URL does not lead to the public internet: its host is {why}.",
                "Name a public host.",
                why=why,
            )

    def _connected(
        self, addresses: Sequence[Address], port: int, deadline: float
    ) -> tuple[socket.socket, Address]:
        failure: OSError | None = None
        tried = addresses[:TRIED]
        for place, address in enumerate(tried):
            try:
                share = _left(deadline) / (len(tried) - place)
                connection = self._network.connect(address, port, share)
            except OSError as error:
                failure = error
                continue
            try:
                peer = ip_address(str(connection.getpeername()[0]))
                self._refuse_address(peer)
            except OSError as error:
                connection.close()
                failure = error
                continue
            except BaseException:
                connection.close()
                raise
            if peer != address:  # something on this machine leads connections elsewhere
                connection.close()
                raise Denied(
                    "other_peer", "The connection led to another address than asked.", "Ask the operator."
                )
            return connection, address
        raise Unavailable(
            "host_unreachable", "The host takes no connection.", "Try again later."
        ) from failure


def refuse_unallowed(rules: Sequence[Rule], url: WebUrl) -> None:
    """Refuse a destination that no rule of the operator's names.

    Raises:
        Denied: ``egress_not_allowed``.
    """
    if allowing(rules, url.host, url.port) is None:
        port = "" if url.port in (80, 443) else f":{url.port}"
        raise Denied(
            "egress_not_allowed",
            f"Nothing may leave this machine for {url.host}{port}: no rule of the operator's names it.",
            f"The operator allows it at a terminal of their own: `zc egress allow {url.host}{port}`.",
            host=url.host,
            port=url.port,
        )


def refuse_secrets(text: str) -> None:
    """Refuse what looks as if a secret would leave with it, or what was taken out of it as one.

    Raises:
        Denied: ``secret_would_leave``; the fingerprint is told, never the value.
    """
    found = scan(text)
    if found or MARKER.search(text):
        told = {"type": found[0].type, "fingerprint": found[0].fingerprint} if found else {}
        raise Denied(
            "secret_would_leave",
            "What would be sent holds something that looks like a secret; nothing was sent.",
            "Leave it out; what is no secret the operator allows with `zc secrets allow`.",
            **told,
        )


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise too_slow()
    return left


def _broken() -> Unavailable:
    return Unavailable("connection_broken", "The connection broke off.", "Try again later.")
