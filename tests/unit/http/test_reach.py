"""From where and by which names the door is reached, and the settings that would open it by oversight."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from securecontext import settings
from securecontext.http.reach import reach_of
from securecontext.types.errors import InvalidInput

HOME = {"HOME": "/nonexistent", "ZC_HOME": "/nonexistent/zc"}
TLS = {"ZC_TLS_CERT": "/c.pem", "ZC_TLS_KEY": "/k.pem"}


def read(**env: str) -> settings.Settings:
    return settings.read({**HOME, **env})


@pytest.mark.parametrize(
    ("env", "field"),
    [
        ({"ZC_HTTP_HOST": "0.0.0.0"}, "ZC_HTTP_HOST"),
        ({"ZC_HTTP_HOST": "::"}, "ZC_HTTP_HOST"),
        ({"ZC_HTTP_HOST": "192.0.2.1"}, "ZC_HTTP_HOST"),
        ({"ZC_HTTP_HOST": "example.com", **TLS}, "ZC_HTTP_HOST"),
        ({"ZC_HTTP_BEHIND_PROXY": "1"}, "ZC_HTTP_NAMES"),
        ({"ZC_HTTP_BEHIND_PROXY": "yes", "ZC_HTTP_NAMES": "a"}, "ZC_HTTP_BEHIND_PROXY"),
        ({"ZC_HTTP_NAMES": "*"}, "ZC_HTTP_NAMES"),
        ({"ZC_HTTP_NAMES": "a b"}, "ZC_HTTP_NAMES"),
        ({"ZC_HTTP_NAMES": ",".join(["a"] * 21)}, "ZC_HTTP_NAMES"),
        ({"ZC_TLS_CERT": "/c.pem"}, "ZC_TLS_KEY"),
        ({"ZC_TLS_KEY": "/k.pem"}, "ZC_TLS_CERT"),
        ({"ZC_TLS_CERT": "c.pem", "ZC_TLS_KEY": "/k.pem"}, "ZC_TLS_CERT"),
    ],
)
def test_a_door_is_not_opened_by_oversight(env: dict[str, str], field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read(**env)
    assert (caught.value.code, caught.value.details["field"]) == ("bad_setting", field)


def test_by_default_it_is_loopback_alone() -> None:
    reach = reach_of(read(), 7)
    assert reach.hosts == {"127.0.0.1:7", "localhost:7", "[::1]:7"}
    assert reach.origins == {f"http://{host}" for host in reach.hosts}


@pytest.mark.parametrize(
    ("client", "local"),
    [
        (("127.0.0.1", 1), True),
        (("::1", 1), True),
        (("192.0.2.7", 1), False),
        (("", 0), False),
        (None, False),
    ],
)
def test_only_a_connection_from_this_machine_is_local(client: Any, local: bool) -> None:
    assert reach_of(read(ZC_HTTP_HOST="0.0.0.0", **TLS), 7).is_local({"client": client}) is local
    assert not reach_of(read(ZC_HTTP_BEHIND_PROXY="1", ZC_HTTP_NAMES="a"), 7).is_local({"client": client})


def test_names_are_those_that_were_given_and_speak_tls() -> None:
    tls = reach_of(read(ZC_HTTP_HOST="192.0.2.1", ZC_HTTP_NAMES="Memory.example.com, b:443", **TLS), 7)
    assert {
        "memory.example.com:7",
        "b:443",
        "192.0.2.1:7",
    } < tls.hosts and "memory.example.com" not in tls.hosts
    assert all(origin.startswith("https://") for origin in tls.origins)
    assert tls.url == "https://192.0.2.1:7"
    proxied = reach_of(read(ZC_HTTP_BEHIND_PROXY="1", ZC_HTTP_NAMES="memory.example.com"), 7)
    assert "memory.example.com" in proxied.hosts and "https://memory.example.com" in proxied.origins


def test_a_certificate_is_named_by_its_file() -> None:
    assert read(**TLS).tls_cert == Path("/c.pem")
