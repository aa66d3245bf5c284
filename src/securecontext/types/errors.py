"""The one tree of errors that a caller may see.

::

    ZcError
    ├── InvalidInput     the input is malformed, too long or unknown         HTTP 400  exit 2
    ├── NotFound         the thing named does not exist                      HTTP 404  exit 3
    ├── Denied           the caller may not do this                          HTTP 403  exit 4
    │   └── Unauthenticated   the caller is not known                        HTTP 401  exit 4
    ├── Conflict         the state has moved on, or the key was used before  HTTP 409  exit 5
    │   └── LeaseLost    the task is no longer the caller's                  HTTP 409  exit 5
    ├── Expired          what was valid once is no longer                    HTTP 410  exit 5
    ├── LimitReached     a stated limit was reached                          HTTP 429  exit 1
    ├── Tampered         stored evidence does not verify                     HTTP 500  exit 6
    ├── Unavailable      the service or its storage cannot answer now        HTTP 503  exit 7
    └── ContractBroken   a defect of ours; the call was refused              HTTP 500  exit 1

Every error has a stable ``code`` (snake case, never reused for another meaning), a ``message`` in one plain
sentence, and a ``hint`` with the next step. The class attributes are the one table that doors read to answer.
"""

from __future__ import annotations

from typing import Any, ClassVar


class ZcError(Exception):
    """What every refusal shares.

    Args:
        code: stable identifier, snake case.
        message: one plain sentence about what is wrong; never a secret, never a stack trace.
        hint: the next step for the caller, best with the command to run.
        details: JSON values that a program may want (limits, offending field names).
    """

    http_status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 1

    def __init__(self, code: str, message: str, hint: str, **details: Any) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint
        self.details = details

    def as_dict(self) -> dict[str, Any]:
        """Return the wire form: ``{"code", "message", "hint"[, "details"]}``."""
        out: dict[str, Any] = {"code": self.code, "message": self.message, "hint": self.hint}
        if self.details:
            out["details"] = self.details
        return out

    def __str__(self) -> str:
        return f"{self.message} [{self.code}] {self.hint}"


class InvalidInput(ZcError):
    """The input is malformed, too long, or names something that does not exist as an argument."""

    http_status = 400
    exit_code = 2


class NotFound(ZcError):
    """The thing that the caller names does not exist."""

    http_status = 404
    exit_code = 3


class Denied(ZcError):
    """The caller may not do this."""

    http_status = 403
    exit_code = 4


class Unauthenticated(Denied):
    """The door does not know who is calling."""

    http_status = 401


class Conflict(ZcError):
    """The state has moved on since the caller looked, or a key was used for another request."""

    http_status = 409
    exit_code = 5


class LeaseLost(Conflict):
    """The task that the caller speaks of is not the caller's, or no longer."""


class Expired(ZcError):
    """What the caller holds was valid once and is no longer."""

    http_status = 410
    exit_code = 5


class LimitReached(ZcError):
    """A stated limit was reached."""

    http_status = 429
    exit_code = 1


class Tampered(ZcError):
    """Stored evidence does not verify."""

    http_status = 500
    exit_code = 6


class Unavailable(ZcError):
    """The service or its storage cannot answer now."""

    http_status = 503
    exit_code = 7


class ContractBroken(ZcError):
    """A contract between our own parts was broken: a defect of ours. The call is refused, the service goes on."""

    http_status = 500
    exit_code = 1


BY_NAME: dict[str, type[ZcError]] = {
    cls.__name__: cls
    for cls in (
        InvalidInput,
        NotFound,
        Denied,
        Unauthenticated,
        Conflict,
        LeaseLost,
        Expired,
        LimitReached,
        Tampered,
        Unavailable,
        ContractBroken,
    )
}
"""Class by name, so that a client of the service can raise again what the service refused with."""


def told(name: str, wire: dict[str, Any]) -> ZcError:
    """Return the error that another service tells of; one whose class is not known here is still an error.

    Args:
        name: of its class.
        wire: what `ZcError.as_dict` returned there.

    Raises:
        KeyError: it is no such thing.
        TypeError: the same.
    """
    kind, details = BY_NAME.get(name, ZcError), wire.get("details", {})
    code, message, hint = wire["code"], wire["message"], wire["hint"]
    if not all(isinstance(text, str) for text in (code, message, hint)) or not isinstance(details, dict):
        raise TypeError("no error")
    error = kind(code, message, hint)
    error.details = details
    return error
