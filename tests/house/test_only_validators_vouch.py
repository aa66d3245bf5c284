"""Only validators say that an input was validated."""

from __future__ import annotations

import ast
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2] / "src" / "securecontext"


def _vouches(file: Path) -> bool:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return any(
        (isinstance(node, ast.Attribute) and node.attr in ("vouched", "_SEAL"))
        or (isinstance(node, ast.ImportFrom) and any(name.name == "_SEAL" for name in node.names))
        for node in ast.walk(tree)
    )  # fmt: skip


def test_an_input_is_vouched_for_by_validators_alone() -> None:
    vouching = {file.relative_to(SOURCE).parts[0] for file in SOURCE.rglob("*.py") if _vouches(file)}
    assert vouching == {"validators"}
