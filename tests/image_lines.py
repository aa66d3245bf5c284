"""``python -m tests.image_lines``: the lines with which the image is built, run in a fresh folder instead of an image.

It takes half a minute and the packages of the locks, so that `make soak` runs it and `make test` does not.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.house.source import REPOSITORY

DOCKERFILE = REPOSITORY / "deploy" / "docker" / "Dockerfile"


def run(folder: Path) -> None:
    """Do what the first stage does; what it copies and installs lies below a folder."""
    build, installed = folder / "build", folder / "opt"
    build.mkdir()
    stage = DOCKERFILE.read_text(encoding="utf-8").split("\nFROM ")[1]
    for line in stage.splitlines():
        word, _, rest = line.partition(" ")
        if word == "COPY":
            *sources, _ = rest.split()
            for source in (REPOSITORY / name for name in sources):
                if source.is_dir():
                    shutil.copytree(source, build / source.name, ignore=shutil.ignore_patterns("__pycache__"))
                else:
                    shutil.copy(source, build)
        elif word == "RUN":
            print(line, flush=True)
            command = rest.replace("/opt/securecontext", str(installed)).replace("/build", str(build))
            command = command.replace("python -m venv", f"{sys.executable} -m venv")
            subprocess.run(["/bin/sh", "-c", command], cwd=build, check=True, stdout=subprocess.DEVNULL)
    said = subprocess.run([installed / "bin" / "zc", "--version"], check=True, capture_output=True, text=True)
    print(said.stdout.strip())
    code = "import json, psycopg, securecontext; print(json.dumps(securecontext.__file__))"
    where = subprocess.run([installed / "bin" / "python", "-I", "-c", code], check=True, capture_output=True)
    if not Path(json.loads(where.stdout)).is_relative_to(installed):
        raise SystemExit("the image would run code from elsewhere")


def main() -> None:
    """Run them, and leave nothing."""
    folder = Path(tempfile.mkdtemp(prefix="zc-image-"))
    try:
        run(folder)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
