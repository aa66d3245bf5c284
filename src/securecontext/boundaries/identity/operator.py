"""The operator: a person who knows a passphrase, at a terminal, for some minutes.

Asked like sudo: `unlock` checks the passphrase (scrypt) against the verifier in the key folder and remembers the
terminal. Nothing of the passphrase is kept, neither stored nor in memory. The verifier is one line of a private file::

    securecontext-operator v1 scrypt <N> <r> <p> <base64 of 32 bytes of salt> <hex HMAC-SHA-256(derived key, label)>

Until there is one, what needs an operator is refused.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from securecontext.boundaries import private_files
from securecontext.types.errors import Conflict, Denied, InvalidInput, LimitReached, Unavailable

FILE = "operator.verifier"
PASSPHRASE_CHARACTERS = range(16, 1025)
SALT_BYTES = 32
KEY_BYTES = 64
COST, BLOCK, LANES = 32_768, 8, 1
MOST_BYTES = 256 * 1024 * 1024
UNLOCKED_SECONDS = 600.0
TRIES = 5
TRY_SECONDS = 60.0
VERIFIER_LABEL = b"securecontext/operator/v1/verifier"


@dataclass(frozen=True, slots=True)
class _Verifier:
    """What tells the passphrase from another one; its bytes never show in a repr."""

    cost: int
    block: int
    lanes: int
    salt: bytes = field(repr=False)
    digest: str = field(repr=False)

    def accepts(self, passphrase: str) -> bool:
        found = _digest(passphrase, self.cost, self.block, self.lanes, self.salt)
        return hmac.compare_digest(found, self.digest)

    def line(self) -> bytes:
        salt = base64.b64encode(self.salt).decode()
        return f"securecontext-operator v1 scrypt {self.cost} {self.block} {self.lanes} {salt} {self.digest}\n".encode()


class Operator:
    """Knows at which terminals the operator is. Safe to share by threads.

    Args:
        folder: the key folder.
        clock: monotonic seconds.
    """

    def __init__(self, folder: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder = folder
        self._clock = clock
        self._lock = threading.Lock()
        self._until: dict[str, float] = {}
        self._wrong: deque[float] = deque()

    def init(self, passphrase: str, terminal: str) -> None:
        """Make the verifier; the passphrase cannot be replaced through the service afterwards.

        Raises:
            Denied: ``no_terminal``.
            InvalidInput: ``passphrase_length``.
            Conflict: ``operator_exists``.
            Unavailable: as `unlock`.
        """
        _at_terminal(terminal)
        if len(passphrase) not in PASSPHRASE_CHARACTERS:
            raise InvalidInput(
                "passphrase_length",
                f"A passphrase has {PASSPHRASE_CHARACTERS.start} to {PASSPHRASE_CHARACTERS.stop - 1} characters.",
                "Choose some words that nobody guesses; `zc operator init` asks again.",
            )
        with self._lock:
            if self._load() is not None:
                raise Conflict(
                    "operator_exists",
                    "There is an operator already.",
                    f"To start anew, remove {self._folder / FILE} yourself, then `zc operator init`.",
                )
            salt = secrets.token_bytes(SALT_BYTES)
            made = _Verifier(COST, BLOCK, LANES, salt, _digest(passphrase, COST, BLOCK, LANES, salt))
            with self._opened() as descriptor:
                private_files.make(descriptor, FILE, made.line())

    def unlock(self, passphrase: str, terminal: str) -> None:
        """Remember the terminal, if the passphrase is right.

        Raises:
            Denied: ``no_terminal``, ``operator_not_set_up``, ``wrong_passphrase``.
            LimitReached: ``too_many_tries``.
            Unavailable: ``operator_file_unsafe``, ``operator_file_malformed``, ``key_folder_unsafe``.
        """
        _at_terminal(terminal)
        with self._lock:  # one guess at a time
            verifier = self._load()
            if verifier is None:
                raise _not_set_up()
            now = self._clock()
            while self._wrong and now - self._wrong[0] >= TRY_SECONDS:
                self._wrong.popleft()
            if len(self._wrong) >= TRIES:
                raise LimitReached(
                    "too_many_tries",
                    f"{TRIES} wrong passphrases within a minute, which is the limit.",
                    "Wait a minute.",
                    limit=TRIES,
                )
            if len(passphrase) >= PASSPHRASE_CHARACTERS.stop or not verifier.accepts(passphrase):
                self._wrong.append(now)
                raise Denied(
                    "wrong_passphrase", "The passphrase is wrong.", "Try again: `zc operator unlock`."
                )
            self._until[terminal] = now + UNLOCKED_SECONDS

    def refuse_without(self, terminal: str) -> None:
        """Refuse who sits at no terminal.

        Raises:
            Denied: ``no_terminal``.
        """
        _at_terminal(terminal)

    def lock(self) -> None:
        """Forget every terminal."""
        with self._lock:
            self._until.clear()

    def refuse_locked(self, terminal: str) -> None:
        """Refuse unless the operator has unlocked this terminal in the last minutes.

        Raises:
            Denied: ``operator_not_set_up``, ``operator_locked``.
            Unavailable: as `unlock`.
        """
        with self._lock:
            until = self._until.get(terminal) if terminal else None
            if until is not None and self._clock() < until:
                return
            self._until.pop(terminal, None)
            if self._load() is None:
                raise _not_set_up()
        raise Denied(
            "operator_locked",
            "This needs the operator, and this terminal is not unlocked.",
            "In your own terminal: `zc operator unlock`, then again.",
        )

    @contextmanager
    def _opened(self) -> Iterator[int]:
        try:
            with private_files.opened(self._folder) as descriptor:
                yield descriptor
        except OSError as error:
            raise Unavailable(
                "operator_file_unusable",
                f"The operator's file {self._folder / FILE} cannot be used: {error.strerror}.",
                f"Make sure that {self._folder} is writable and has free space.",
            ) from error

    def _load(self) -> _Verifier | None:
        path = self._folder / FILE

        def refuse(what: str, hint: str) -> Unavailable:
            return Unavailable("operator_file_unsafe", f"The operator's file {path} {what}.", hint)

        with self._opened() as descriptor:
            line = private_files.load(descriptor, path, refuse)
        return None if line is None else _parse(line, path)


def _digest(passphrase: str, cost: int, block: int, lanes: int, salt: bytes) -> str:
    plain = passphrase.encode("utf-8", "surrogatepass")
    room = MOST_BYTES + (1 << 20)  # scrypt wants some more than its table
    key = hashlib.scrypt(plain, salt=salt, n=cost, r=block, p=lanes, maxmem=room, dklen=KEY_BYTES)
    return hmac.new(key, VERIFIER_LABEL, hashlib.sha256).hexdigest()


def _at_terminal(terminal: str) -> None:
    if not terminal:
        raise Denied(
            "no_terminal",
            "An operator sits at a terminal; this process has none.",
            "Call from your own terminal.",
        )


def _not_set_up() -> Denied:
    return Denied(
        "operator_not_set_up",
        "This needs the operator, and there is none yet.",
        "In your own terminal: `zc operator init`, then `zc operator unlock`.",
    )


def _parse(line: bytes, path: Path) -> _Verifier:
    """Return the verifier of a file's one line; its exact spelling and parameters within bounds are demanded."""
    malformed = Unavailable(
        "operator_file_malformed",
        f"The operator's file {path} is damaged.",
        "Restore it from your backup; without one, remove it yourself, then `zc operator init`.",
    )
    try:
        mark, version, kind, cost, block, lanes, salt, digest = (
            line.decode("ascii").removesuffix("\n").split(" ")
        )
        found = _Verifier(int(cost), int(block), int(lanes), base64.b64decode(salt, validate=True), digest)
    except ValueError:
        raise malformed from None
    n, r, p = found.cost, found.block, found.lanes
    bounded = 1024 <= n <= 1 << 20 and n & (n - 1) == 0 and 1 <= r <= 64 and 1 <= p <= 64
    if (
        (mark, version, kind) != ("securecontext-operator", "v1", "scrypt")
        or not bounded
        or 128 * n * r > MOST_BYTES
        or len(found.salt) != SALT_BYTES
        or len(digest) != 64
        or found.line() != line
    ):
        raise malformed
    return found
