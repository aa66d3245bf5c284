"""Reading the web: what the guard adds to a fetch, what HTML costs, and whether fetches slow down a memory."""

from __future__ import annotations

import random
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import httpx

from bench.figures import Figure, median
from bench.floors import milliseconds
from bench.home import Home
from bench.texts import paragraph
from securecontext.app import App
from securecontext.boundaries.egress.door import Door
from securecontext.boundaries.egress.network import Network
from securecontext.boundaries.egress.rules import Rule, add
from securecontext.boundaries.policy import Principal, Standing
from securecontext.pipeline.call import Call
from securecontext.settings import Settings
from securecontext.types.ids import new_id
from securecontext.types.pages import Page
from securecontext.validators.url import parse_url
from securecontext.web import budget
from securecontext.web.convert import as_text
from securecontext.web.fetch import Fetcher
from securecontext.web.injections import flags

AT_ONCE = 20
HOST = "pages.fetch-bench.org"
WHO = Principal("uid:0", Standing.AGENT, "mcp", "bench")
SIZE = 1_000_000


def measure(at: Home, times: int, chance: random.Random) -> list[Figure]:
    """Return the figures.

    Args:
        at: where a data folder of their own is made.
        times: fetches of each kind.
        chance: for the texts.
    """
    folder = at.root / "web"
    folder.mkdir(mode=0o700)
    where = at.root / "web-project"
    where.mkdir()
    app = App(Settings(home=folder, user_home=at.root))
    text = paragraph(chance) * 20
    try:
        with _serving(text.encode()) as port:
            return [*_fetches(app, where, port, times), *_reading(chance, max(3, times // 20))]
    finally:
        app.close()


def _fetches(app: App, where: Path, port: int, times: int) -> list[Figure]:
    project = app.find_project(str(where), "")
    rule = Rule(f"{HOST}:{port}", "bench", "2026-01-01T00:00:00.000000Z")
    app.machine.write(lambda each: add(each.connection, rule))
    hurry = iter(range(10**9))  # a clock by which every host has rested
    network = Network(lambda host: [ip_address("127.0.0.1")], lambda address: "")
    door = Door(network, lambda draft: app.machine.write(lambda each: each.record(draft)))
    app.web = Fetcher(door, lambda: float(next(hurry)))
    url = f"http://{HOST}:{port}/page"
    parsed = parse_url(url, frozenset({port}))
    with httpx.Client(
        verify=False
    ) as client:  # its context of TLS, which plain HTTP has no use for, costs 70 ms
        plain = median(milliseconds(lambda: client.get(f"http://127.0.0.1:{port}/page"), times))
    app.web.fetch(WHO, project.id, parsed, [rule])
    guarded = median(milliseconds(lambda: app.web.fetch(WHO, project.id, parsed, [rule]), times))

    def call(operation: str, **arguments: Any) -> None:
        answer = app.corridor.walk(
            Call(new_id("call", 12), operation, arguments, WHO, datetime.now(UTC), project)
        )
        if answer.error is not None:
            raise RuntimeError(answer.text)

    def forget_budget() -> None:
        statement = "DELETE FROM fetch_budgets"
        app.store(project.id).write(lambda each: each.connection.exec_driver_sql(statement) and None)

    def whole() -> list[float]:
        took: list[float] = []
        while len(took) < times:
            forget_budget()
            took += milliseconds(lambda: call("zc_fetch", url=url), min(budget.PAGES, times - len(took)))
        return took

    def remember() -> None:
        call("zc_remember", key="bench", value=new_id("v", 12))

    alone = median(milliseconds(remember, times))
    fetched = median(whole())
    forget_budget()
    stop = threading.Event()
    count = [0] * AT_ONCE

    def fetch_on(number: int) -> None:
        while not stop.is_set():
            try:
                call("zc_fetch", url=url)
                count[number] += 1
            except RuntimeError:
                forget_budget()

    running = [threading.Thread(target=fetch_on, args=(number,)) for number in range(AT_ONCE)]
    for each in running:
        each.start()
    time.sleep(0.2)
    beside = median(milliseconds(remember, times))
    stop.set()
    for each in running:
        each.join()
    return [
        Figure("a page through the guard and its entry in the ledger, beyond httpx alone", guarded - plain, "ms", 5,
               plain, "httpx", note="robots.txt is known"),
        Figure("`zc_fetch` as a whole: counted, fetched, read, stored, entered", fetched, "ms", None, plain, "httpx"),
        Figure(f"`zc_remember` beside {AT_ONCE} fetches at once", beside, "ms", 2 * alone, alone, "the same alone",
               note="the target is twice the floor; fetches go on without a pause"),
    ]  # fmt: skip


def _reading(chance: random.Random, times: int) -> list[Figure]:
    html = _html(chance)
    page = Page("https://a.org/", 200, "text/html", "utf-8", html.encode(), len(html))
    said = as_text(page).text
    return [
        Figure("1 MB of HTML to Markdown", median(milliseconds(lambda: as_text(page), times)), "ms", 300),
        Figure("looking through what came of it for injections", median(milliseconds(lambda: flags(said), times)),
               "ms"),
    ]  # fmt: skip


def _html(chance: random.Random) -> str:
    parts: list[str] = []
    size = 0
    while size < SIZE:
        parts.append(
            f"<section><h2>{len(parts)}</h2><p>{paragraph(chance)} <a href='/x'>a <b>link</b></a></p>"
            "<ul><li>one</li><li>two</li></ul><table><tr><th>a</th><td>1</td></tr></table></section>"
        )
        size += len(parts[-1])
    return f"<html><head><title>Bench</title></head><body>{''.join(parts)}</body></html>"


@contextmanager
def _serving(body: bytes) -> Iterator[int]:
    """Yield the port of a server that answers whatever is asked, and robots.txt with nothing."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n"
    answer = b"%sContent-Length: %d\r\n\r\n%s" % (head, len(body), body)
    none = b"HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    listening = socket.create_server(("127.0.0.1", 0), backlog=256)

    def accept() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    def serve(connection: socket.socket) -> None:
        with connection:
            data = b""
            while b"\r\n\r\n" not in data:
                more = connection.recv(65_536)
                if not more:
                    return
                data += more
            connection.sendall(none if b"/robots.txt" in data else answer)

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield listening.getsockname()[1]
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join()
