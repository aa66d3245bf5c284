"""What goes into the corridor and what comes out of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from securecontext.boundaries.policy import Principal
from securecontext.pipeline.world import Project
from securecontext.types.errors import ZcError


@dataclass(frozen=True, slots=True)
class Call:
    """A call as a door hands it over.

    Attributes:
        id: the call's own id, for ledger and log.
        operation: name of the operation.
        arguments: JSON object as it came.
        principal: the authenticated caller.
        moment: when it came in.
        project: its project; None for calls without one.
        idempotency_key: a retry with the same key is answered, not done again.
        request: the request's name, where the door has one: clean, maybe of the client's choice.
        bearer: the session token that its caller showed to a gateway, for the service that holds the data.
    """

    id: str
    operation: str
    arguments: Mapping[str, Any]
    principal: Principal
    moment: datetime
    project: Project | None = None
    idempotency_key: str = ""
    request: str = ""
    bearer: str = field(default="", repr=False)

    @property
    def told(self) -> str:
        """How the log names the call."""
        return f"{self.id} (request {self.request})" if self.request else self.id


@dataclass(frozen=True, slots=True)
class Answer:
    """What a door renders.

    Attributes:
        structured: JSON object of the output, or of the error.
        text: the same for reading.
        error: the refusal; None where the call was done.
    """

    structured: dict[str, Any]
    text: str
    error: ZcError | None = None


def refusal(error: ZcError) -> Answer:
    """Return the answer that refuses a call."""
    return Answer(structured={"error": error.as_dict()}, text=str(error), error=error)
