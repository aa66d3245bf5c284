"""The settings: what each may be, and that a value that means nothing is refused by name and never guessed."""

from __future__ import annotations

import base64
import os
from pathlib import Path

import pytest

from securecontext import settings
from securecontext.boundaries import limits
from securecontext.types.errors import InvalidInput


def read(**environ: str) -> settings.Settings:
    return settings.read({"HOME": "/h", **environ})


def test_nothing_set_is_the_default() -> None:
    found = read()
    assert found.user_home == Path("/h") and found.home.parts[-2:] == (".claude", "zc-ctx")
    assert (found.http_port, found.idle_minutes) == (settings.DEFAULT_PORT, settings.DEFAULT_IDLE_MINUTES)
    assert (found.machine_secret, found.log_level) == (None, "info")


SECRET = base64.b64encode(bytes(range(32))).decode()


@pytest.mark.parametrize(
    ("name", "text", "field", "value"),
    [
        ("ZC_HTTP_PORT", "0", "http_port", 0),
        ("ZC_HTTP_PORT", "65535", "http_port", 65_535),
        ("ZC_HTTP_PORT", "off", "http_port", None),
        ("ZC_HTTP_PORT", "OFF", "http_port", None),
        ("ZC_IDLE_MINUTES", "0.5", "idle_minutes", 0.5),
        ("ZC_IDLE_MINUTES", "525600", "idle_minutes", 525_600.0),
        ("ZC_LOG_LEVEL", "DEBUG", "log_level", "debug"),
        ("ZC_LOG_LEVEL", "error", "log_level", "error"),
        ("ZC_MACHINE_SECRET", SECRET, "machine_secret", bytes(range(32))),
        ("ZC_STRICT_INTEGRITY", "1", "strict_integrity", True),
        ("ZC_STRICT_INTEGRITY", "0", "strict_integrity", False),
        ("ZC_STRICT_INTEGRITY", "", "strict_integrity", False),
        ("ZC_SECRET_RULES", "own", "all_secret_rules", False),
        ("ZC_SECRET_RULES", "all", "all_secret_rules", True),
        ("ZC_SECRET_RULES", "", "all_secret_rules", True),
        ("ZC_CALLS_PER_SECOND", "0.5", "calls_per_second", 0.5),
        ("ZC_MEMORY_LIMIT_MB", "512", "memory_limit_mb", 512.0),
        ("ZC_QUOTA_MB", "1e6", "quota_mb", 1e6),
        ("ZC_QUOTA_MB", "", "quota_mb", limits.QUOTA_MB),
        ("ZC_HOME", "/data", "home", Path("/data")),
        ("ZC_HTTP_PORT", "", "http_port", settings.DEFAULT_PORT),
        ("ZC_IDLE_MINUTES", "", "idle_minutes", settings.DEFAULT_IDLE_MINUTES),
        ("ZC_LOG_LEVEL", "", "log_level", "info"),
        ("ZC_MACHINE_SECRET", "", "machine_secret", None),
    ],
)
def test_what_a_setting_may_be(name: str, text: str, field: str, value: object) -> None:
    assert getattr(read(**{name: text}), field) == value


BAD = {
    "ZC_SECRET_RULES": ["none", "ALL", "own ", "0"],
    "ZC_HTTP_PORT": ["65536", "-1", "3099.0", "http", " 3099", "0x10", "\u0661", "\u00b2", "on", "1" * 400],
    "ZC_IDLE_MINUTES": ["0", "-1", "nan", "inf", "-inf", "1e999", "525601", "soon", "1,5"],
    "ZC_STRICT_INTEGRITY": ["yes", "true", "2", " 1", "01"],
    "ZC_CALLS_PER_SECOND": ["0", "-1", "nan", "inf", "1e10", "many"],
    "ZC_MEMORY_LIMIT_MB": ["0", "-1", "nan", "1g"],
    "ZC_QUOTA_MB": ["0", "-0.0", "nan", "4 GiB"],
    "ZC_LOG_LEVEL": ["trace", "5", "info ", "warn"],
    "ZC_MACHINE_SECRET": [
        "short",
        "!" * 60,
        base64.b64encode(bytes(31)).decode(),
        SECRET + "\u00e9",
        SECRET[:-1],
    ],
}


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in BAD.items() for text in texts])
def test_a_value_that_means_nothing_is_refused_by_name(name: str, text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read(**{name: text})
    assert (caught.value.code, caught.value.details["field"]) == ("bad_setting", name)
    assert name in caught.value.message and name in caught.value.hint


def test_passed_sockets_are_this_process_s_own_and_need_a_map() -> None:
    passed = {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())}
    assert read(**passed, ZC_PRINCIPALS="/etc/map").passed_sockets == 1
    assert read(**{**passed, "LISTEN_PID": "1"}).passed_sockets == 0
    assert read(**{**passed, "LISTEN_FDS": "-1"}).passed_sockets == 0
    for more in ({}, {"ZC_PRINCIPALS": ""}, {"ZC_PRINCIPALS": "relative"}):
        with pytest.raises(InvalidInput, match="ZC_PRINCIPALS"):
            read(**passed, **more)


@pytest.mark.parametrize("text", BAD["ZC_MACHINE_SECRET"])
def test_a_refused_secret_is_not_repeated(text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read(ZC_MACHINE_SECRET=text)
    assert text not in str(caught.value)
