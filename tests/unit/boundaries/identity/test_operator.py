"""The operator: a passphrase that is nowhere, a terminal that is remembered for minutes, few guesses."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from securecontext.boundaries.identity import operator
from securecontext.boundaries.identity.operator import FILE, TRIES, UNLOCKED_SECONDS, Operator
from securecontext.types.errors import Conflict, Denied, InvalidInput, LimitReached, Unavailable, ZcError

PHRASE = "correct horse battery staple"
HERE, THERE = "tty1.10.99", "tty2.11.98"


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def nobody(tmp_path: Path, clock: Clock) -> Operator:
    """An installation without an operator."""
    return Operator(tmp_path / "keys", clock)


@pytest.fixture
def someone(nobody: Operator) -> Operator:
    """An installation with an operator, who is away."""
    nobody.init(PHRASE, HERE)
    return nobody


def refusal(work, *arguments: str) -> ZcError:
    with pytest.raises(ZcError) as caught:
        work(*arguments)
    assert caught.value.hint
    return caught.value


def test_before_there_is_an_operator_everything_of_the_operators_is_refused(nobody: Operator) -> None:
    for work, arguments in ((nobody.refuse_locked, (HERE,)), (nobody.unlock, (PHRASE, HERE))):
        error = refusal(work, *arguments)
        assert isinstance(error, Denied) and error.code == "operator_not_set_up"
        assert "zc operator init" in error.hint


def test_the_passphrase_unlocks_this_terminal_and_no_other_for_some_minutes(
    someone: Operator, clock: Clock
) -> None:
    assert refusal(someone.refuse_locked, HERE).code == "operator_locked", "to choose it is not to unlock"
    someone.unlock(PHRASE, HERE)
    someone.refuse_locked(HERE)
    for other in (THERE, "", HERE + "0"):
        assert refusal(someone.refuse_locked, other).code == "operator_locked"
    clock.now += UNLOCKED_SECONDS - 1
    someone.refuse_locked(HERE)
    clock.now += 1
    assert refusal(someone.refuse_locked, HERE).code == "operator_locked"


def test_it_can_be_locked_again(someone: Operator) -> None:
    someone.unlock(PHRASE, HERE)
    someone.unlock(PHRASE, THERE)
    someone.lock()
    for terminal in (HERE, THERE):
        assert refusal(someone.refuse_locked, terminal).code == "operator_locked"


@pytest.mark.parametrize(
    "wrong",
    ["", "correct horse battery stapl", PHRASE.upper(), PHRASE + " ", "\ud800" * 16, "x" * 9_999],
    ids=range(6),
)
def test_another_passphrase_unlocks_nothing(someone: Operator, wrong: str) -> None:
    assert refusal(someone.unlock, wrong, HERE).code == "wrong_passphrase"
    assert refusal(someone.refuse_locked, HERE).code == "operator_locked"


def test_guesses_are_few(someone: Operator, clock: Clock) -> None:
    for _ in range(TRIES):
        assert refusal(someone.unlock, "a guess of sixteen", HERE).code == "wrong_passphrase"
    for terminal in (HERE, THERE):
        assert isinstance(refusal(someone.unlock, PHRASE, terminal), LimitReached)
    clock.now += operator.TRY_SECONDS
    someone.unlock(PHRASE, HERE)


def test_without_a_terminal_nobody_is_an_operator(someone: Operator, tmp_path: Path) -> None:
    assert refusal(someone.unlock, PHRASE, "").code == "no_terminal"
    assert refusal(Operator(tmp_path / "others").init, PHRASE, "").code == "no_terminal"
    assert not (tmp_path / "others").exists()


@pytest.mark.parametrize("short", ["", "fifteen letters", "x" * 1_025])
def test_a_passphrase_has_a_length(nobody: Operator, short: str) -> None:
    assert isinstance(refusal(nobody.init, short, HERE), InvalidInput)
    assert refusal(nobody.refuse_locked, HERE).code == "operator_not_set_up"


def test_w_20_an_operator_is_not_replaced(someone: Operator) -> None:
    assert isinstance(refusal(someone.init, "another one of sixteen", THERE), Conflict)
    someone.unlock(PHRASE, HERE)


def test_neither_the_passphrase_nor_its_key_is_stored(someone: Operator, tmp_path: Path) -> None:
    file = tmp_path / "keys" / FILE
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    line = file.read_text("ascii")
    assert line.startswith("securecontext-operator v1 scrypt 32768 8 1 ") and "horse" not in line
    someone.unlock(PHRASE, HERE)
    assert "horse" not in str([getattr(someone, name) for name in vars(someone)])
    assert [p.name for p in (tmp_path / "keys").iterdir()] == [FILE]


def test_another_process_knows_the_operator_but_no_terminal(someone: Operator, tmp_path: Path) -> None:
    someone.unlock(PHRASE, HERE)
    again = Operator(tmp_path / "keys")
    assert refusal(again.refuse_locked, HERE).code == "operator_locked"
    again.unlock(PHRASE, HERE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (" 32768 ", " 512 "),  # too cheap to guess
        (" 32768 ", " 2097152 "),
        (" 32768 ", " 32767 "),
        (" 32768 8 1 ", " 1048576 8 1 "),  # a gigabyte
        (" 8 1 ", " 0 1 "),
        (" 8 1 ", " 65 1 "),
        (" 8 1 ", " 8 65 "),
        (" 8 1 ", " 8 01 "),
        (" 8 1 ", " -8 1 "),
        ("scrypt", "plain"),
        ("v1", "v2"),
        ("\n", ""),
        ("\n", "\n\n"),
        ("securecontext", "Securecontext"),
        ("=", ""),
    ],
)
def test_a_verifier_with_other_parameters_is_refused(
    someone: Operator, tmp_path: Path, old: str, new: str
) -> None:
    file = tmp_path / "keys" / FILE
    line = file.read_text("ascii")
    assert old in line
    file.write_text(line.replace(old, new, 1))
    for work, arguments in ((someone.unlock, (PHRASE, HERE)), (someone.refuse_locked, (HERE,))):
        error = refusal(work, *arguments)
        assert isinstance(error, Unavailable) and error.code == "operator_file_malformed"


def test_a_verifier_that_others_can_read_is_refused(someone: Operator, tmp_path: Path) -> None:
    (tmp_path / "keys" / FILE).chmod(0o644)
    assert refusal(someone.unlock, PHRASE, HERE).code == "operator_file_unsafe"
