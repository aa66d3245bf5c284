"""Attacks on zc_fetch, each against real servers on loopback, named by their vectors (T) and traps (W)."""

from __future__ import annotations

import gzip
import random
import zlib
from collections.abc import Iterator

import pytest

from securecontext.web import guard, pace
from tests.house_case import House, make_house
from tests.web_case import HOST, PUBLIC, WebHouse, certificate, moved, page, serving, zipped

ELSEWHERE = "127.0.0.66"
"""Another address of this machine: none that is public, here as outside."""


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    made = make_house(tmp_path_factory.mktemp("attacks") / "house")
    yield made
    made.app.close()


@pytest.fixture(scope="module")
def web(house: House) -> WebHouse:
    made = WebHouse(house)
    made.allow("*")
    return made


@pytest.fixture
def server(web: WebHouse):
    with serving() as made:
        web.names.said.clear()
        web.allow(f"*.fetch-case.org:{made.port}")
        web.house.sql_write("DELETE FROM fetch_budgets")
        yield made


REFUSED = [
    ("T15", "file:///etc/passwd", "url_scheme"),
    ("T16", "ftp://example.org/x", "url_scheme"),
    ("T17", "javascript:alert(1)", "url_scheme"),
    ("T17b", "data:text/html,<b>x</b>", "url_scheme"),
    ("T18", "http://localhost/", "url_not_public"),
    ("T19", "http://127.0.0.1/", "url_not_public"),
    ("T20", "http://0.0.0.0/", "url_not_public"),
    ("T21", "http://[::1]/", "url_not_public"),
    ("T22", "http://169.254.169.254/latest/meta-data/", "url_not_public"),
    ("T23", "http://metadata.google.internal/computeMetadata/v1/", "url_not_public"),
    ("T24", "http://168.63.129.16/metadata/instance", "url_not_public"),
    ("T25", "http://10.0.0.1/", "url_not_public"),
    ("T26", "http://172.16.0.1/", "url_not_public"),
    ("T27", "http://192.168.1.1/", "url_not_public"),
    ("T28", "http://user:pass@pages.org/", "url_credentials"),
    ("T31", "http://p\u0430ypal.com/", "url_host"),
    ("T32", "http://\uff11\uff12\uff17.0.0.1/", "url_host"),
    ("T34", "http:///path", "url_malformed"),
    ("W-30", "http://[::ffff:169.254.169.254]/", "url_address_form"),
    ("W-30", "http://[64:ff9b::7f00:1]/", "url_address_form"),
    ("W-30", "http://[2002:7f00:1::]/", "url_address_form"),
    ("W-30", "http://198.18.0.1/", "url_not_public"),
    ("W-31", "http://localhost./", "url_host"),
    ("W-31", "http://cafe/", "url_not_public"),
    ("W-32", "http://pages.org:22/", "url_port"),
    ("W-32", "http://pages.org:6379/", "url_port"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("vector", "url", "code"), REFUSED, ids=[f"{v}-{n}" for n, (v, *_) in enumerate(REFUSED)]
)
def test_t15_to_t34_w_30_w_31_w_32_what_leads_nowhere_public_is_refused_before_a_name_is_asked(
    web, vector, url, code
):
    asked, sent = len(web.names.asked), len(web.sent())
    assert web.refused(url) == code
    assert len(web.names.asked) == asked and len(web.sent()) == sent and web.left() == 50


@pytest.mark.parametrize("name", ["fda.gov", "fd.io", "fe80.com", "fc-barcelona.com", "dead.org", "feb.ru"])
def test_w_31_names_that_look_like_addresses_are_names(web, name):
    web.names.said[name] = [[]]
    assert web.refused(f"https://{name}/") == "host_unknown"


@pytest.mark.parametrize(
    "answers",
    [
        ["127.0.0.1", ELSEWHERE],
        [ELSEWHERE, "127.0.0.1"],
        ["127.0.0.1", "169.254.169.254"],
        ["127.0.0.1", "::ffff:10.0.0.1"],
        ["127.0.0.1", "64:ff9b::a00:1"],
        ["127.0.0.1", "fd00:ec2::254"],
        ["127.0.0.1", "2001::1"],
        ["10.1.2.3"],
        ["::1"],
        ["fe80::1%lo"],
    ],
)
def test_t70_w_30_one_address_of_a_name_that_is_not_public_refuses_all(web, server, answers):
    web.names.said[HOST] = [answers]
    assert web.refused(server.url("/")) == "url_not_public"
    assert server.accepted == 0 and web.left() == 50


def test_t70_w_30_a_name_that_changes_between_check_and_connection_gains_nothing(web, server):
    """Each connection goes to the very address that was checked for it: a second answer is checked again, not used."""
    server.answers["/x"] = page("From the checked address.")
    host = "rebinding.fetch-case.org"
    with serving(ELSEWHERE, port=server.port) as inside:
        inside.answers["/x"] = page("INSIDE")
        web.names.said[host] = [[PUBLIC], [PUBLIC], [ELSEWHERE]]
        assert "checked address" in web.text(server.url("/x", host))
        assert web.names.asked.count(host) == 2  # robots.txt and the page, a resolution each
        assert web.refused(server.url("/x", host)) == "url_not_public"
        assert inside.accepted == 0


def test_the_request_names_the_host_and_carries_nothing_of_ours(web, server):
    """T29, T30: no header of a caller's, no cookie, no credential, neither at first nor after a redirect."""
    server.answers["/a"] = page("", status="302 Found", headers=["Location: /b", "Set-Cookie: s=1"])
    server.answers["/b"] = page("Arrived.")
    assert web.text(server.url("/a")) == "Arrived."
    for request in server.asked:
        head, *lines = request.decode().split("\r\n")
        names = [line.partition(":")[0].lower() for line in lines if line]
        assert names == ["host", "user-agent", "accept", "accept-encoding", "connection"], head
        assert f"Host: {HOST}:{server.port}" in lines


def test_a_proxy_of_the_environment_is_not_used(web, server, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    server.answers["/p"] = page("Straight.")
    assert web.text(server.url("/p")) == "Straight."


@pytest.mark.parametrize(
    ("location", "code"),
    [
        ("http://169.254.169.254/latest/", "url_not_public"),
        ("http://127.0.0.66/", "url_not_public"),
        ("http://localhost/", "url_not_public"),
        ("//[::ffff:127.0.0.1]/", "url_address_form"),
        ("file:///etc/passwd", "url_scheme"),
        ("http://user@pages.org/", "url_credentials"),
        ("http://pages.org:22/", "url_port"),
        ("http://0x7f.1/", "url_address_form"),
        ("", "redirect_broken"),
        ("http://[", "redirect_broken"),
        ("gopher://pages.org/", "url_scheme"),
    ],
)
def test_t74_a_redirect_passes_the_same_checks(web, server, location, code):
    server.answers["/go"] = moved(location)
    assert web.refused(server.url("/go")) == code
    assert web.left() == 50


def test_t74_a_redirect_to_a_host_that_no_rule_names_is_refused(web, server):
    server.answers["/go"] = moved(server.url("/", "pages.elsewhere-case.org"))
    assert web.refused(server.url("/go")) == "egress_not_allowed"


def test_t74_a_redirect_to_a_name_that_is_inside_is_refused(web, server):
    web.names.said["inside.fetch-case.org"] = [[ELSEWHERE]]
    server.answers["/go"] = moved(server.url("/", "inside.fetch-case.org"))
    assert web.refused(server.url("/go")) == "url_not_public"


def test_t74_five_redirects_and_no_more(web, server, monkeypatch):
    for n in range(7):
        server.answers[f"/{n}"] = moved(f"/{n + 1}")
    server.answers["/last"] = page("Here.")
    server.answers["/4"] = moved("/last")
    monkeypatch.setattr(pace, "AT_ONCE", 20.0)
    assert web.text(server.url("/0")) == "Here."
    server.answers["/4"] = moved("/5")
    assert web.refused(server.url("/0")) == "too_many_redirects"


def test_t33_two_mebibytes_and_no_more(web, server):
    server.answers["/most"] = page(b"a" * guard.BODY_BYTES)
    web.fetch(server.url("/most"))
    server.answers["/more"] = page(b"a" * (guard.BODY_BYTES + 1))
    assert web.refused(server.url("/more")) == "page_too_large"

    def endless(at, connection, request):
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n")
        while not at.stopped.is_set():
            connection.sendall(b"a" * 65_536)

    server.answers["/endless"] = endless
    assert web.refused(server.url("/endless")) == "page_too_large"


def test_a_bomb_is_refused_before_it_is_unpacked(web, server):
    server.answers["/bomb"] = zipped(b"\0" * 1_500_000)
    assert web.refused(server.url("/bomb")) == "page_bomb"
    server.answers["/bomb"] = zipped(b"\0" * 50_000_000)
    assert web.refused(server.url("/bomb")) == "page_too_large"
    server.answers["/large"] = zipped(random.Random(1).randbytes(1_500_000).hex().encode())
    assert web.refused(server.url("/large")) == "page_too_large"


@pytest.mark.parametrize(
    "data",
    [
        gzip.compress(b"cut off" * 99)[:-9],
        b"no gzip at all",
        gzip.compress(b"a") + b"more",
        zlib.compress(b"a"),
    ],
    ids=["cut", "none", "trailing", "zlib"],
)
def test_what_is_no_whole_gzip_is_refused(web, server, data):
    server.answers["/gz"] = page(data, headers=["Content-Encoding: gzip"])
    assert web.refused(server.url("/gz")) == "answer_broken"


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
BROKEN = {
    "a length that is a lie": HEAD + b"Content-Length: 100\r\n\r\nshort",
    "two lengths": HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nshorts",
    "no number": HEAD + b"Content-Length: -1\r\n\r\nshort",
    "chunks of garbage": HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n",
    "chunks cut off": HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n",
    "a chunk without end": HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"f" * 200_000,
    "no HTTP": b"220 mail ESMTP\r\n",
    "nothing": b"",
    "a head cut off": b"HTTP/1.1 200 OK\r\nContent-",
    "a head without end": b"HTTP/1.1 200 OK\r\n" + b"X: " + b"a" * 300_000 + b"\r\n\r\n",
    "headers without end": b"HTTP/1.1 200 OK\r\n" + b"X-N: 1\r\n" * 40_000 + b"\r\n",
    "answers before the answer without end": b"HTTP/1.1 103 Early\r\nLink: x\r\n\r\n" * 20_000,
    "another encoding of transfer": HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("what", BROKEN)
def test_an_answer_that_is_no_whole_one_is_refused_and_costs_nothing(web, server, what):
    server.answers["/broken"] = BROKEN[what]
    assert web.refused(server.url("/broken")) in ("answer_broken", "connection_broken")
    assert web.left() == 50


def test_an_answer_of_http_1_0_is_read_to_its_end(web, server):
    server.answers["/old"] = b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nOld words."
    assert web.text(server.url("/old")) == "Old words."


@pytest.mark.parametrize("slow", ["head", "body", "silent"])
def test_a_server_that_drips_ends_with_the_total_deadline(web, server, monkeypatch, slow):
    monkeypatch.setattr(guard, "SECONDS", 0.6)

    def drip(at, connection, request):
        if slow == "body":
            connection.sendall(HEAD + b"\r\n")
        while not at.stopped.wait(0.1):
            if slow != "silent":
                connection.sendall(b"HTTP/1.1 200 OK\r\nX: "[:1] if slow == "head" else b"a")

    server.answers["/slow"] = drip
    assert web.refused(server.url("/slow")) in ("fetch_timeout", "answer_broken")
    assert web.left() == 50


def test_tls_holds_for_the_name_and_the_host_is_told_it(house, tmp_path):
    for_server, trusting = certificate(tmp_path, "right.fetch-case.org")
    heard: list[str | None] = []
    for_server.sni_callback = lambda _socket, name, _context: heard.append(name)
    with serving(tls=for_server) as server:
        web = WebHouse.__new__(WebHouse)
        _fresh(web, house, trusting)
        web.allow(f"*.fetch-case.org:{server.port}")
        server.answers["/"] = page("Sealed words.")
        assert web.text(server.url("/", "right.fetch-case.org", "https")) == "Sealed words."
        assert set(heard) == {"right.fetch-case.org"}
        asked = len(server.asked)
        assert web.refused(server.url("/", "wrong.fetch-case.org", "https")) == "tls_refused"
        assert len(server.asked) == asked  # nothing was sent
        server.answers["/down"] = moved(server.url("/", "right.fetch-case.org", "http"))
        assert web.refused(server.url("/down", "right.fetch-case.org", "https")) == "redirect_downgrade"
        _fresh(web, house, None)  # with the system's certificates
        assert web.refused(server.url("/", "right.fetch-case.org", "https")) == "tls_refused"


def _fresh(web: WebHouse, house: House, tls) -> None:
    """Give a house whose operator is there already another web."""
    from securecontext.boundaries.egress.door import Door
    from securecontext.boundaries.egress.network import Network
    from securecontext.web.fetch import Fetcher
    from tests.web_case import Clock, Names, why_not

    web.house, web.names, web.clock = house, Names(), Clock()
    network = Network(web.names, why_not, tls) if tls else Network(web.names, why_not)
    door = Door(network, lambda draft: house.app.machine.write(lambda each: each.record(draft)))
    house.app.web = Fetcher(door, web.clock)


def test_a_real_network_refuses_loopback_and_this_machines_own_addresses():
    from ipaddress import ip_address

    from securecontext.boundaries.egress import network

    assert network.why_not(ip_address("127.0.0.1")) == "loopback"
    assert network.why_not(ip_address("93.184.215.14")) == ""
    assert network._is_own(ip_address("127.0.0.1")) and not network._is_own(ip_address("93.184.215.14"))
    assert network.tls_of_system().check_hostname and network.tls_of_system().keylog_filename is None


def test_w_32_the_budget_holds_when_all_come_at_once(web, server):
    from concurrent.futures import ThreadPoolExecutor

    web.house.app.web._pace.take = lambda host: None  # politeness has its own test
    server.answers["/one"] = page("One page.")
    web.text(server.url("/one"))
    web.house.sql_write("UPDATE fetch_budgets SET used = 42")
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda n: web.house.ask("zc_fetch", {"url": server.url("/one")}), range(16)))
    codes = sorted(a.error.code if a.error else "ok" for a in answers)
    assert codes == ["fetch_budget"] * 8 + ["ok"] * 8
    assert web.left() == 0
