"""What is found goes nowhere: of Kingfisher only what scans is used, and a lint rule holds that."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest

from tests.house.source import REPOSITORY, parsed

ENGINE = "src/securecontext/validators/secret_engine.py"
SCANS = {"Rules", "Scanner", "__version__"}


def test_one_module_names_the_library_and_only_what_scans() -> None:
    found: dict[str, set[str]] = {}
    for path, tree in (*parsed("src"), *parsed("plugin")):
        for node in ast.walk(tree):
            match node:
                case ast.ImportFrom(module=str(module), names=names) if module.startswith("kingfisher"):
                    found.setdefault(path, set()).update(f"{module}.{alias.name}" for alias in names)
                case ast.Import(names=names):
                    named = {alias.name for alias in names if alias.name.startswith("kingfisher")}
                    if named:
                        found.setdefault(path, set()).update(named)
                case ast.Constant(value=str(text)) if "kingfisher_sdk" in text:
                    found.setdefault(path, set()).add(text)
    assert found == {ENGINE: {f"kingfisher_sdk.{name}" for name in SCANS}}


@pytest.mark.parametrize(
    "code",
    [
        "from kingfisher_sdk import Validator\n",
        "from kingfisher_sdk import Revoker\n",
        "import kingfisher_sdk\n\nkingfisher_sdk.Validator()\n",
        "import kingfisher_sdk as k\n\nk.Revoker(None)\n",
        "from kingfisher_sdk.validation import Validator\n",
        "from kingfisher_sdk import revocation\n",
        "from kingfisher_sdk._native import Scanner\n",
    ],
)
def test_what_goes_to_the_network_is_refused_by_the_linter(code: str) -> None:
    command = [sys.executable, "-m", "ruff", "check", "--no-cache", "--stdin-filename", ENGINE, "-"]
    done = subprocess.run(command, input=code, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "TID251" in done.stdout, done.stdout + done.stderr
