"""The short run, the same inputs each time: no target and no door breaks, and a broken one would be noticed."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from tests.acceptance.http_service import HttpService
from tests.fuzz import engine, guard, service
from tests.fuzz.engine import Crash, attempt, by_chance
from tests.fuzz.mutator import LONGEST, mutated
from tests.fuzz.span import rounds
from tests.fuzz.targets import CORPUS, TARGETS

ROUNDS = 400
SENT = 30
SEED = 20261128
PIECES = (
    b".", b"/", b"<", b"<a ", b"on", b"onload", b"&#0", b"%25", b"\\u0041", b" ", b"\n", b"\xcc\x81",
    b"\xcc\x81\xcc\xa3",
    b"=", b"-", b"a:", b"A1", b'"', b"[", b'{"a":', b"[1,", b"0", b"\n\n", b"-----BEGIN ", b"://",
)  # fmt: skip


@pytest.mark.parametrize("target", TARGETS)
def test_nothing_breaks_a_parser_or_a_validator(target: str) -> None:
    assert by_chance(target, SEED, rounds(ROUNDS)) == ROUNDS


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("piece", PIECES)
def test_no_piece_repeated_makes_work_grow_faster_than_length(target: str, piece: bytes) -> None:
    """An input of 64 KiB whose work grows with its square takes longer than the guard lets it."""
    known = engine.corpus(target)[0][:200]
    long = (piece * LONGEST)[: LONGEST - len(known)]
    attempt(target, long)
    attempt(target, known[: len(known) // 2] + long + known[len(known) // 2 :])


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpService]:
    with service.running(tmp_path_factory.mktemp("fuzz")) as running:
        yield running


@pytest.mark.parametrize("door", service.DOORS)
def test_nothing_breaks_a_door_of_the_real_service(served: HttpService, door: str) -> None:
    assert service.by_chance(served, door, SEED, rounds(SENT)) == SENT


@pytest.mark.parametrize("target", TARGETS)
def test_every_target_has_a_corpus_of_small_files(target: str) -> None:
    files = list((CORPUS / target).iterdir())
    assert files
    assert all(file.stat().st_size <= 16_384 for file in files)


def test_a_defect_is_a_crash_with_its_input(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(data: bytes) -> None:
        if b"\0" in data:
            raise KeyError

    monkeypatch.setitem(TARGETS, "path", broken)
    with pytest.raises(Crash) as crash:
        by_chance("path", SEED, rounds(10_000))
    assert b"\0" in crash.value.data


def test_an_input_that_takes_too_long_is_a_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(_data: bytes) -> None:
        while True:
            pass

    monkeypatch.setitem(TARGETS, "path", slow)
    monkeypatch.setattr(guard, "SECONDS", 0.05)
    with pytest.raises(Crash) as crash:
        attempt("path", b"")
    assert isinstance(crash.value.__cause__, guard.TooMuch)


def test_an_input_that_takes_too_much_memory_is_a_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TARGETS, "path", lambda _data: bytes(b"x" * (1 << 20)) * 64)
    monkeypatch.setattr(guard, "MEMORY", -1)
    with pytest.raises(Crash) as crash:
        attempt("path", b"")
    assert isinstance(crash.value.__cause__, guard.TooMuch)


def test_chance_makes_the_same_inputs_from_the_same_seed_within_bounds() -> None:
    known = engine.corpus("bundle")

    def made() -> list[bytes]:
        chance = random.Random(SEED)
        return [mutated(chance.choice(known), known, chance) for _ in range(300)]

    first = made()
    assert first == made()
    assert max(map(len, first)) <= LONGEST
    assert len(set(first)) > 250
