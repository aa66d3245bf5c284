"""One target for so many seconds, in this process: python -m tests.fuzz.one TARGET SECONDS."""

from __future__ import annotations

import random
import sys
import traceback

from tests.fuzz import engine, span


def main(target: str, seconds: float) -> int:
    """Run it; return the exit code."""
    if engine.LED:
        engine.by_coverage(target, seconds)
    try:
        tried = engine.by_chance(target, random.SystemRandom().randrange(2**32), span.seconds(seconds))
    except engine.Crash as crash:
        traceback.print_exc()
        engine.FOUND.mkdir(exist_ok=True)
        (engine.FOUND / f"{target}-input").write_bytes(crash.data)
        return 1
    print(f"{tried} inputs")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], float(sys.argv[2])))
