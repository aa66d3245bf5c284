"""The service's log: nothing secret reaches the disk, and one record is one line."""

from __future__ import annotations

import json
import logging
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.rules_case import all_rules, engine_of_rules, hugging_face

from securecontext.service import journal
from securecontext.settings import VARIABLES

__all__ = ["all_rules", "engine_of_rules"]


@pytest.fixture
def log(tmp_path: Path) -> Iterator[logging.Logger]:
    """A logger whose records go to the journal of a folder; the process's own handlers come back afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    chatty = {
        name: logging.getLogger(name).level for name in ("alembic", "mcp", "asyncio", "uvicorn", "httpx")
    }
    journal.start(tmp_path, "info")
    yield logging.getLogger("securecontext.testing")
    for handler in root.handlers:
        handler.close()
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, before in chatty.items():
        logging.getLogger(name).setLevel(before)


def lines(home: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (home / journal.FILE).read_text().splitlines()]


def test_rt_s1_01_a_secret_that_only_the_second_set_of_rules_knows_does_not_reach_the_disk_either(
    log: logging.Logger, tmp_path: Path, all_rules: object
) -> None:
    log.warning("the heron showed %s", hugging_face())
    (line,) = lines(tmp_path)
    assert line["event"] == "the heron showed [REDACTED:huggingface_access_token]"


def test_rt_s1_01_a_secret_in_a_record_is_redacted_before_it_reaches_the_disk(
    log: logging.Logger, tmp_path: Path
) -> None:
    token = "ghp_" + secrets.token_hex(18)
    log.warning("the pelican showed %s", token)
    (line,) = lines(tmp_path)
    assert line["event"].startswith("the pelican showed ") and "REDACTED" in line["event"].upper()
    assert token not in (tmp_path / journal.FILE).read_text()


def test_rt_s1_01_b_a_secret_deep_within_what_is_logged_is_redacted(
    log: logging.Logger, tmp_path: Path
) -> None:
    token, word = "ghp_" + secrets.token_hex(18), secrets.token_hex(12)
    log.warning("asked with %r", {"headers": [{"authorization": token}, ("password", {"password": word})]})
    (line,) = lines(tmp_path)
    assert line["event"].startswith("asked with {'headers'") and line["event"].count("REDACTED") == 2
    for secret in (token, word):
        assert secret not in (tmp_path / journal.FILE).read_text()


def test_rt_s1_01_c_nothing_turns_redaction_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The predecessor wrote secrets when it was asked to; no setting, level or record of ours does."""
    monkeypatch.setenv("ZC_LOG_RAW", "1")
    token = "ghp_" + secrets.token_hex(18)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        for each in ("debug", "info", "warning", "error"):
            journal.start(tmp_path, each)
            logging.getLogger("securecontext.testing").error(
                "%s", token, extra={"raw": True, "redact": False}
            )
            root.handlers[0].close()
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
    assert len(lines(tmp_path)) == 4
    assert token not in (tmp_path / journal.FILE).read_text()
    assert not [name for name in VARIABLES if "RAW" in name or "REDACT" in name]


def test_rt_s1_01_a_secret_in_a_trace_is_redacted_too(log: logging.Logger, tmp_path: Path) -> None:
    token = "ghp_" + secrets.token_hex(18)
    try:
        raise ValueError(f"not a pelican: {token}")
    except ValueError:
        log.exception("it failed")
    (line,) = lines(tmp_path)
    assert "ValueError: not a pelican: " in line["trace"] and "REDACTED" in line["trace"].upper()
    assert token not in (tmp_path / journal.FILE).read_text()


def test_a_record_is_one_line_whatever_is_in_it(log: logging.Logger, tmp_path: Path) -> None:
    """RT-S1-03."""
    log.info('two\nlines "and" a forged {"level": "error"}\r\n')
    (line,) = lines(tmp_path)
    assert (line["level"], line["component"]) == ("info", "testing")
    assert line["event"].startswith("two\nlines")


def test_nobody_else_may_read_it_whatever_the_umask(tmp_path: Path) -> None:
    """RT-S1-02."""
    before = os.umask(0)
    try:
        handler = journal._Private(tmp_path / "service.log", maxBytes=200, backupCount=1, encoding="utf-8")
        for number in range(60):
            handler.emit(logging.makeLogRecord({"msg": f"record {number}"}))
        handler.close()
    finally:
        os.umask(before)
    assert {p.name: stat.S_IMODE(p.stat().st_mode) for p in tmp_path.glob("service.log*")} == {
        "service.log": 0o600,
        "service.log.1": 0o600,
    }
