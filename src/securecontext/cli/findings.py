"""What the doctor finds: one line each, and what to do next."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from securecontext.types.errors import ZcError


class Health(StrEnum):
    """How a check went."""

    OK = "ok"
    NOTE = "note"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Check:
    """One finding.

    Attributes:
        name: what was checked.
        health: ``fail`` makes the doctor's exit code 1.
        detail: what was seen.
        next: what to do about it; empty where nothing is to be done.
    """

    name: str
    health: Health
    detail: str
    next: str = ""


def guarded(name: str, work: Callable[[], Check]) -> Check:
    """Turn what a check stumbles over into its finding: the other checks go on."""
    try:
        return work()
    except ZcError as error:
        return Check(name, Health.FAIL, f"{error.message} [{error.code}]", error.hint)
    except (OSError, ValueError, KeyError, subprocess.SubprocessError) as error:
        return Check(name, Health.FAIL, f"The check itself failed: {error}", "See `zc service logs`.")
