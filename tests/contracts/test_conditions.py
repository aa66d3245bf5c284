"""Contracts between our own parts hold, and hold under ``python -O``, which removes assertions."""

import subprocess
import sys

import pytest

from securecontext.contracts import ensure, invariant, require
from securecontext.types.errors import ContractBroken

BROKEN = """
from securecontext.contracts import require
from securecontext.types.errors import ContractBroken
assert False, "-O removes this"
@require(lambda n: n > 0, "n is positive")
def f(n): return n
try:
    f(0)
except ContractBroken as error:
    print(error.code)
"""


@require(lambda n: n > 0, "n is positive")
@ensure(lambda result, n: result == 2 * n, "it is doubled")
def doubled(n: int, wrong: bool = False) -> int:
    return n if wrong else 2 * n


@invariant(lambda self: self.held >= 0, "never below nothing")
class Purse:
    def __init__(self) -> None:
        self.held = 1

    def take(self, much: int) -> None:
        self.held -= much


def test_a_kept_contract_is_not_noticed() -> None:
    assert doubled(3) == 6


def test_a_broken_precondition_is_ours_and_says_what_does_not_hold() -> None:
    with pytest.raises(ContractBroken, match=r"precondition .* n is positive") as broken:
        doubled(0)
    assert broken.value.code == "contract_broken"


def test_a_broken_postcondition_is_found() -> None:
    with pytest.raises(ContractBroken, match="postcondition"):
        doubled(3, wrong=True)


def test_a_broken_invariant_is_found() -> None:
    purse = Purse()
    with pytest.raises(ContractBroken, match="invariant"):
        purse.take(2)


def test_contracts_survive_optimisation() -> None:
    done = subprocess.run([sys.executable, "-O", "-c", BROKEN], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "contract_broken"
