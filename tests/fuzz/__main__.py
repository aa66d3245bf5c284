"""`make fuzz`: every target in a process of its own, one after the other, then the real service, in so many seconds.

python -m tests.fuzz [--seconds 600] [TARGET …]
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys

from tests.fuzz import engine, service, span

SERVICE_SHARE = 0.25
"""Of the time, for the doors of the real service."""


def main() -> int:
    """Run what was asked for; return the exit code."""
    from tests.fuzz.targets import TARGETS

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=float(os.environ.get("FUZZ_SECONDS", "600")))
    parser.add_argument("targets", nargs="*", choices=[*TARGETS, *service.DOORS, []])
    given = parser.parse_args()
    chosen = given.targets or [*TARGETS, *service.DOORS]
    inside = [name for name in chosen if name in TARGETS]
    doors = [name for name in chosen if name in service.DOORS]
    for_doors = given.seconds * (SERVICE_SHARE if inside else 1) if doors else 0
    left = span.countdown(given.seconds - for_doors)
    failed = [name for at, name in enumerate(inside) if _apart(name, left() / (len(inside) - at)) != 0]
    if doors:
        failed += service.run(doors, for_doors, random.SystemRandom().randrange(2**32))
    print("nothing broke" if not failed else f"broke: {', '.join(failed)}; see {engine.FOUND}")
    return 1 if failed else 0


def _apart(target: str, seconds: float) -> int:
    """Run one target in a process of its own; return its exit code."""
    print(f"== {target} for {seconds:.0f} s, {'led by coverage' if engine.LED else 'by chance'}", flush=True)
    return subprocess.run(
        [sys.executable, "-m", "tests.fuzz.one", target, str(seconds)], check=False
    ).returncode


if __name__ == "__main__":
    sys.exit(main())
