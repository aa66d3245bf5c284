"""What the tests of the web share: real servers on loopback, a resolver that says what a test says, a house with both.

An address is good or bad by the product's own table, but for those of loopback that a test names as public: that is
the one thing here that is not as it is outside.
"""

from __future__ import annotations

import gzip
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

from securecontext.boundaries.egress.door import Door
from securecontext.boundaries.egress.network import Network
from securecontext.validators.addresses import Address, why_not_public
from securecontext.web.fetch import Fetcher
from tests.house_case import House
from tests.identity_case import OPERATOR, with_operator

PUBLIC = "127.0.0.1"
"""The address that counts as public here; every other one of loopback is what it is."""
HOST = "pages.fetch-case.org"
Script = Callable[["Server", socket.socket, bytes], None]


def page(
    body: str | bytes = "Some words.",
    kind: str = "text/plain; charset=utf-8",
    status: str = "200 OK",
    headers: Sequence[str] = (),
    version: str = "1.1",
) -> bytes:
    """Return a whole answer."""
    data = body.encode() if isinstance(body, str) else body
    lines = [f"HTTP/{version} {status}", *headers, f"Content-Length: {len(data)}"]
    if kind:
        lines.append(f"Content-Type: {kind}")
    return "\r\n".join([*lines, "", ""]).encode() + data


def zipped(data: bytes, kind: str = "text/plain") -> bytes:
    """Return a whole answer, compressed."""
    return page(gzip.compress(data), kind, headers=["Content-Encoding: gzip"])


def moved(location: str, status: str = "302 Found") -> bytes:
    """Return a redirect."""
    return page("", status=status, headers=[f"Location: {location}"])


NO_ROBOTS = page("", status="404 Not Found")


@dataclass
class Server:
    """A server that answers each path with bytes, or by a function that writes them; remembers what it was asked."""

    port: int
    answers: dict[str, bytes | Script] = field(default_factory=dict)
    asked: list[bytes] = field(default_factory=list)
    accepted: int = 0
    stopped: threading.Event = field(default_factory=threading.Event)

    def paths(self) -> list[str]:
        """The paths that were asked for, robots.txt left out."""
        found = [request.split(b" ")[1].decode() for request in self.asked]
        return [path for path in found if path != "/robots.txt"]

    def url(self, path: str = "/", host: str = HOST, scheme: str = "http") -> str:
        return f"{scheme}://{host}:{self.port}{path}"


@contextmanager
def serving(address: str = PUBLIC, tls: ssl.SSLContext | None = None, port: int = 0) -> Iterator[Server]:
    """A server that is gone afterwards."""
    listening = socket.create_server((address, port))
    server = Server(listening.getsockname()[1])
    threads: list[threading.Thread] = []

    def accept() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            server.accepted += 1
            threads.append(threading.Thread(target=answer, args=(connection,), daemon=True))
            threads[-1].start()

    def answer(connection: socket.socket) -> None:
        connection.settimeout(30)
        try:
            if tls is not None:
                connection = tls.wrap_socket(connection, server_side=True)
            data = b""
            while b"\r\n\r\n" not in data:
                more = connection.recv(4096)
                if not more:
                    return
                data += more
            server.asked.append(data)
            path = data.split(b" ")[1].decode()
            found = server.answers.get(path, NO_ROBOTS)
            if callable(found):
                found(server, connection, data)
            else:
                connection.sendall(found)
        except OSError:
            pass  # the client hung up, or would not have us
        finally:
            connection.close()

    accepting = threading.Thread(target=accept, daemon=True)
    accepting.start()
    try:
        yield server
    finally:
        server.stopped.set()
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        accepting.join(10)
        for thread in threads:
            thread.join(10)


class Names:
    """A resolver that says what a test says; by default every name is the public address.

    Attributes:
        said: answers by name; of several lists each is given once, the last for ever.
        asked: names in the order of asking.
    """

    def __init__(self) -> None:
        self.said: dict[str, list[list[str]]] = {}
        self.asked: list[str] = []

    def __call__(self, host: str) -> list[Address]:
        self.asked.append(host)
        answers = self.said.get(host, [[PUBLIC]])
        found = answers.pop(0) if len(answers) > 1 else answers[0]
        if not found:
            raise socket.gaierror("no such name")
        return [ip_address(each) for each in found]


def why_not(address: Address) -> str:
    """The product's table, but for the one address of loopback that stands for a public one."""
    return "" if str(address) == PUBLIC else why_not_public(address)


@dataclass
class Clock:
    """Seconds that a test moves."""

    now: float = 1_000.0

    def __call__(self) -> float:
        return self.now


class WebHouse:
    """A house whose web is a test's own, and at whose terminal an operator sits.

    Attributes:
        names: its resolver.
        clock: of pace and of what is remembered of robots.txt.
    """

    def __init__(self, house: House, tls: Callable[[], ssl.SSLContext] | None = None) -> None:
        self.house = house
        self.names = Names()
        self.clock = Clock()
        network = Network(self.names, why_not, tls) if tls else Network(self.names, why_not)
        door = Door(network, lambda draft: house.app.machine.write(lambda each: each.record(draft)))
        house.app.web = Fetcher(door, self.clock)
        with_operator(house)

    def allow(self, *hosts: str, machine: bool = False) -> None:
        for host in hosts:
            self.house.do("egress.allow", OPERATOR, host=host, machine=machine)

    def fetch(self, url: str, **more: object) -> dict[str, object]:
        """Fetch, after a pause in which no host is asked anything."""
        self.clock.now += 60
        return self.house.do("zc_fetch", url=url, **more)

    def refused(self, url: str, **more: object) -> str:
        self.clock.now += 60
        return self.house.refused("zc_fetch", url=url, **more)

    def text(self, url: str) -> str:
        """The page's text without the marks of its fence."""
        answer = self.fetch(url)
        (text,) = answer["texts"]  # type: ignore[misc]
        return str(text["text"]).removeprefix(f"[{answer['fence']} ").removesuffix(f" {answer['fence']}]")

    def left(self) -> int:
        """Pages of today's budget that are left."""
        rows = self.house.sql("SELECT used FROM fetch_budgets")
        return 50 - (int(rows[-1][0]) if rows else 0)

    def sent(self) -> list[dict[str, object]]:
        """What the ledger says has left, newest first."""
        found: list[dict[str, object]] = self.house.do("egress.list", OPERATOR, limit=1000)["sent"]
        return found


def certificate(folder: Path, *names: str) -> tuple[ssl.SSLContext, Callable[[], ssl.SSLContext]]:
    """Return a server's context for some names, and what makes the context of a client that trusts it."""
    key, file = folder / "key.pem", folder / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
         "-keyout", str(key), "-out", str(file), "-subj", "/CN=test",
         "-addext", "subjectAltName=" + ",".join(f"DNS:{name}" for name in names)],
        check=True, capture_output=True,
    )  # fmt: skip
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(file, key)

    def client() -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(file)
        return context

    return server, client
