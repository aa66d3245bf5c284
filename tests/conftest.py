"""What every test stands on: a home of its own, both engines, and no quiet skips."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests import engine as where
from tests.engines.fixtures import (  # noqa: F401 - fixtures are found by their names here
    _migrated_template,
    _ready_template,
    empty_engine,
    engine,
    migrated_postgres_url,
    postgres_server,
    postgres_url,
    service_url,
)
from tests.no_quiet_skips import pytest_sessionfinish, pytest_terminal_summary  # noqa: F401 - hooks
from tests.tools import Tools, find_tools

settings.register_profile("deep", max_examples=2_000, deadline=None)  # of `make soak`
REPOSITORY = Path(__file__).resolve().parent.parent
TOOLS = find_tools(dict(os.environ))  # looked up before any test has a home of its own


@pytest.fixture(scope="session", autouse=True)
def _engine(request: pytest.FixtureRequest) -> None:
    """Have a server for the databases of all services, where their data is to lie in PostgreSQL."""
    if where.ON_POSTGRES:
        server, template = (request.getfixturevalue(name) for name in ("postgres_server", "_ready_template"))
        where.use(server, template)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is about files where the data lies in PostgreSQL; `tests/house` has the list of them."""
    if where.ON_POSTGRES:
        about_files = [item for item in items if item.get_closest_marker("only_in_files")]
        config.hook.pytest_deselected(items=about_files)
        items[:] = [item for item in items if item not in about_files]


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give the test, and every process it starts, a home, a runtime folder and a temporary folder of its own.

    The runtime folder has a short path, because a unix socket's path holds 107 bytes.
    """
    home = tmp_path / "home"
    scratch = tmp_path / "tmp"
    home.mkdir()
    scratch.mkdir()
    runtime = Path(tempfile.mkdtemp(prefix="zc-run-", dir="/tmp"))
    for name in list(os.environ):
        if name.startswith(("ZC_", "CLAUDE", "ANTHROPIC_", "XDG_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / ".config"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / ".cache"))
    monkeypatch.setenv("XDG_DATA_HOME", str(home / ".local/share"))
    monkeypatch.setenv("XDG_STATE_HOME", str(home / ".local/state"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    monkeypatch.setenv("TMPDIR", str(scratch))
    monkeypatch.setattr(tempfile, "tempdir", None)  # the interpreter remembers the folder it found first
    yield home
    shutil.rmtree(runtime, ignore_errors=True)


@pytest.fixture(scope="session")
def tools() -> Tools:
    """The real client and the conformance suite, or a loud skip where `make e2e-tools` could not install them."""
    if TOOLS is None:
        pytest.skip("the real client is not installed: run `make e2e-tools` (it needs npm)")
    return TOOLS
