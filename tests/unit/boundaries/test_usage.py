"""What the process takes, as the system tells it, and connections that stay within the open files."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from securecontext.boundaries import usage


@pytest.fixture
def restored() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_open_files_are_counted(tmp_path: Path) -> None:
    before = usage.open_files()
    held = [os.open(tmp_path, os.O_RDONLY) for _ in range(10)]
    assert usage.open_files() == before + 10
    for each in held:
        os.close(each)
    assert usage.open_files() == before


def test_memory_that_is_taken_is_seen() -> None:
    before = usage.resident_bytes()
    block = bytearray(b"\x01") * (64 << 20)
    assert usage.resident_bytes() - before > 48 << 20
    del block


def test_connections_stay_within_the_open_files(restored: None) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    assert usage.file_limit() == 256
    assert usage.within_files(2_000, 2) == 128
    assert usage.within_files(1_000, 4) == 64
    assert usage.within_files(10, 4) == 10


def test_the_limit_is_raised_as_far_as_the_system_allows_and_never_lowered(restored: None) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    usage.raise_file_limit()
    raised = usage.file_limit()
    assert raised == (usage.FILES_WANTED if hard == resource.RLIM_INFINITY else min(hard, usage.FILES_WANTED))
    usage.raise_file_limit()
    assert usage.file_limit() == raised
