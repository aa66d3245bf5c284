"""Runs one target in this process: led by coverage where atheris is installed, else by chance alone."""

from __future__ import annotations

import importlib.util
import random
import sys
from pathlib import Path

from tests.fuzz.guard import TooMuch, guarded
from tests.fuzz.mutator import LONGEST, mutated
from tests.fuzz.span import GoesOn, countdown

FOUND = Path(__file__).parent / "found"
LED = importlib.util.find_spec("atheris") is not None


class Crash(Exception):
    """A target broke on an input.

    Attributes:
        data: the input.
    """

    def __init__(self, target: str, data: bytes, cause: BaseException) -> None:
        told = f"{type(cause).__name__}: {str(cause)[:300]}"  # the fuzzer shows no causes
        super().__init__(f"{target} broke on {len(data)} bytes, beginning with {data[:80]!r}: {told}")
        self.target = target
        self.data = data


def attempt(target: str, data: bytes) -> None:
    """Give one input to a target.

    Raises:
        Crash: from whatever it raised.
    """
    from tests.fuzz.targets import TARGETS

    try:
        with guarded():
            TARGETS[target](data)
    except (Exception, TooMuch) as error:
        raise Crash(target, data, error) from error


def corpus(target: str) -> list[bytes]:
    """Return the known inputs of a target."""
    from tests.fuzz.targets import known

    return known(target)


def by_chance(target: str, seed: int, goes_on: GoesOn) -> int:
    """Run as long as it goes on; return how many inputs were tried.

    Raises:
        Crash: with the input.
    """
    chance, begun, tried = random.Random(f"{target} {seed}"), corpus(target), 0
    others = list(begun)
    for data in begun:
        attempt(target, data)
    while goes_on(tried):
        data = mutated(chance.choice(others), others, chance)
        attempt(target, data)
        tried += 1
        if (
            len(data) < 4096 and chance.random() < 0.05
        ):  # go on from here too: some ways lead through two changes
            others[len(begun) :] = [*others[len(begun) :], data][-200:]
    return tried


def by_coverage(target: str, seconds: float) -> None:
    """Run the target under libFuzzer for so many seconds; does not return."""
    left = countdown(seconds)  # to instrument takes its time too
    import atheris

    with atheris.instrument_imports(include=["securecontext"]):
        known = corpus(target)
    FOUND.mkdir(exist_ok=True)

    def change(data: bytes, most: int, seed: int) -> bytes:
        chance = random.Random(seed)
        if chance.random() < 0.5:
            return bytes(atheris.Mutate(data, most))
        return mutated(data, known, chance)[:most]

    options = [
        f"-max_total_time={int(left())}", f"-max_len={LONGEST}", "-timeout=60",
        "-rss_limit_mb=2048", "-verbosity=0", "-print_final_stats=1", f"-artifact_prefix={FOUND}/{target}-",
    ]  # fmt: skip
    folder = str(Path(__file__).parent / "corpus" / target)
    atheris.Setup(
        [sys.argv[0], *options, _scratch(), folder], lambda data: attempt(target, data), custom_mutator=change
    )
    atheris.Fuzz()


def _scratch() -> str:
    """Return a folder for what coverage finds interesting; the corpus itself is never written."""
    import tempfile

    return tempfile.mkdtemp(prefix="zc-fuzz-")
