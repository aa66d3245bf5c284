"""The wheel's RECORD: hashes of the package's own files, and nothing where no wheel brought the folder."""

from __future__ import annotations

import base64
import hashlib
from importlib.metadata import Distribution, PathDistribution
from pathlib import Path

import pytest

from securecontext.boundaries.code.wheel_record import record_of


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder with an installed wheel."""
    info = tmp_path / "site" / "securecontext-1.dist-info"
    info.mkdir(parents=True)
    digest = base64.urlsafe_b64encode(hashlib.sha256(b"a").digest()).rstrip(b"=").decode()
    (info / "METADATA").write_text("Name: securecontext\nVersion: 1\n")
    (info / "RECORD").write_text(
        f"securecontext/a.py,sha256={digest},1\n"
        "securecontext/deep/b.py,sha256=!!!,1\n"
        "securecontext/__pycache__/a.pyc,,\n"
        "securecontext_other/c.py,sha256=x,1\n"
        "../../bin/zc,sha256=x,1\n"
    )
    return tmp_path / "site"


def wheel(site: Path) -> Distribution:
    return PathDistribution(site / "securecontext-1.dist-info")


def test_the_hashes_of_the_packages_files(site: Path) -> None:
    found = record_of(site / "securecontext", "p", wheel(site))
    assert found is not None and set(found) == {"p/a.py", "p/deep/b.py"}
    assert found["p/a.py"] == hashlib.sha256(b"a").hexdigest()
    assert found["p/deep/b.py"] not in (hashlib.sha256(content).hexdigest() for content in (b"", b"a"))


def test_a_folder_that_no_wheel_brought_has_none(site: Path, tmp_path: Path) -> None:
    assert record_of(tmp_path / "copy" / "securecontext", "p", wheel(site)) is None
    (site / "securecontext-1.dist-info" / "RECORD").unlink()
    assert record_of(site / "securecontext", "p", wheel(site)) is None


def test_a_site_folder_behind_a_link_is_the_same(site: Path, tmp_path: Path) -> None:
    (tmp_path / "lib64").symlink_to(site)
    assert record_of(site / "securecontext", "p", wheel(tmp_path / "lib64")) is not None
