"""The one way out: what is not followed, not taken for an answer, and not waited for."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from securecontext.boundaries import egress
from securecontext.boundaries.egress import Egress, Unreached
from securecontext.types.errors import InvalidInput


@contextmanager
def saying(*parts: bytes, then: str = "close") -> Iterator[tuple[str, list[bytes]]]:
    """Run a peer that answers each connection with these bytes, then closes it, or goes silent."""
    heard: list[bytes] = []
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                if over.is_set():
                    connection.close()
                    return
                with connection:
                    asked = connection.recv(65_536)
                    while asked.startswith(b"POST") and not asked.endswith(b"}"):
                        asked += connection.recv(65_536)
                    heard.append(asked)
                    for part in parts:
                        try:
                            connection.sendall(part)
                        except OSError:
                            break
                    if then == "silence":
                        over.wait(30)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        try:
            yield url, heard
        finally:
            over.set()
            with socket.create_connection(listening.getsockname()):
                pass
            thread.join()


@pytest.fixture
def way() -> Iterator[Egress]:
    made = Egress()
    yield made
    made.close()


def why(way: Egress, url: str, seconds: float = 20.0) -> str:
    with pytest.raises(Unreached) as caught:
        way.post(url, b"{}", {}, seconds)
    return str(caught.value)


def test_an_answer_comes_back_whole(way: Egress) -> None:
    with saying(b"HTTP/1.1 201 Created\r\nContent-Length: 4\r\n\r\n", b"\n\n{}") as (url, heard):
        reply = way.post(f"{url}/there", b'{"a": 1}', {"X-Of-Ours": "1"}, 20)
    assert (reply.status, reply.body) == (201, b"\n\n{}")
    [asked] = heard
    assert asked.startswith(b"POST /there HTTP/1.1\r\n") and asked.endswith(b'\r\n\r\n{"a": 1}')
    assert b"X-Of-Ours: 1" in asked and b"Content-Type: application/json" in asked


def test_no_redirect_is_followed_and_no_proxy_taken_from_the_environment(
    way: Egress, monkeypatch: pytest.MonkeyPatch
) -> None:
    with saying(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nproxy") as (proxy, through):
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy)
        elsewhere = f"HTTP/1.1 307 Temporary Redirect\r\nLocation: {proxy}/x\r\nContent-Length: 0\r\n\r\n"
        with saying(elsewhere.encode()) as (url, _):
            assert way.post(url, b"{}", {"Authorization": "Bearer secret"}, 20).status == 307
        assert through == []


def test_an_answer_that_is_too_large_is_not_read_to_its_end(
    way: Egress, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(egress, "ANSWER_BYTES", 1 << 20)
    with saying(b"HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\n\r\n", b"x" * 2_000_000, then="silence") as (
        url,
        _,
    ):
        assert "more than 1 MiB" in why(way, url)


@pytest.mark.parametrize(
    ("parts", "then", "said"),
    [
        ((), "silence", "did not answer in time"),
        ((b"HTTP/1.1 200 OK\r\n",), "silence", "did not answer in time"),
        ((b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf",), "silence", "did not answer in time"),
        ((), "close", "ended the connection without an answer"),
        ((b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf",), "close", "ended the connection without an answer"),
        ((b"\0\xff not HTTP at all\r\n\r\n",), "close", "ended the connection without an answer"),
    ],
)  # fmt: skip
def test_who_falls_silent_or_breaks_off_is_given_up(
    monkeypatch: pytest.MonkeyPatch, parts: tuple[bytes, ...], then: str, said: str
) -> None:
    monkeypatch.setattr(egress, "SILENCE_SECONDS", 0.3)
    way = Egress()
    with saying(*parts, then=then) as (url, _):
        assert why(way, url) == said
    way.close()


def test_signs_of_life_do_not_last_beyond_the_deadline_for_the_whole(way: Egress) -> None:
    begun = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n\n\r\n"
    with saying(begun, then="silence") as (url, _):
        assert why(way, url, 0.3) == "did not answer in time"


def test_nobody_listens_and_nothing_is_asked_after_the_end(way: Egress) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    assert why(way, f"http://127.0.0.1:{port}") == "cannot be connected to"
    assert why(way, f"https://127.0.0.1:{port}") == "cannot be connected to"
    way.close()
    assert "ending" in why(way, f"http://127.0.0.1:{port}")


def test_a_peer_without_tls_is_told_from_one_that_is_away(way: Egress) -> None:
    with saying(b"HTTP/1.1 400 Bad Request\r\n\r\n") as (url, _):
        assert why(way, url.replace("http:", "https:")) == "speaks no TLS that we do"


def test_a_call_that_is_under_way_ends_with_the_service() -> None:
    way = Egress()
    said: list[str] = []
    with saying(then="silence") as (url, heard):
        asking = threading.Thread(target=lambda: said.append(why(way, url)))
        asking.start()
        while not heard:
            asking.join(0.01)
        way.close()
        asking.join(30)
    assert "ending" in said[0]


@pytest.mark.parametrize("held", [None, b"", b"no certificate"])
def test_authorities_that_are_none_are_refused_at_the_start(tmp_path: Path, held: bytes | None) -> None:
    file = tmp_path / "ca.pem"
    if held is not None:
        file.write_bytes(held)
    with pytest.raises(InvalidInput) as caught:
        Egress(file)
    assert caught.value.code == "bad_authorities"
