"""What the installed wheel's RECORD says of the package's files (PEP 376, PEP 427)."""

from __future__ import annotations

import base64
import binascii
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

NAME = "securecontext"


def record_of(package: Path, name: str, of: Distribution | None = None) -> dict[str, str] | None:
    """Return the SHA-256 in hex of each file that the wheel brought into the package's folder.

    Args:
        package: the folder of the package that runs, links resolved.
        name: what the names begin with.
        of: the distribution; by default the installed one.

    Returns:
        None where no wheel brought this folder: a checkout, an editable installation, a copy.
    """
    try:
        installed = of or distribution(NAME)
    except PackageNotFoundError:
        return None
    top = Path(str(installed.locate_file(""))).resolve()
    found = {}
    for file in installed.files or ():
        at = top / file
        if not at.is_relative_to(package) or file.hash is None or file.hash.mode != "sha256":
            continue
        try:
            digest = base64.urlsafe_b64decode(file.hash.value + "=" * (-len(file.hash.value) % 4)).hex()
        except (ValueError, binascii.Error):
            digest = ""  # fits no file
        found[f"{name}/{at.relative_to(package).as_posix()}"] = digest
    return found or None
