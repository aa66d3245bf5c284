"""The nine types of broadcast, a closed union: which fields each has, and how its texts are cleaned.

What an agent writes is shown to other agents, so every text goes through `sanitize_agent_message`. A field that does
not belong to a type is refused, never dropped.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from securecontext.coordination.patterns import Pattern
from securecontext.types.errors import InvalidInput
from securecontext.validators.input import clean_agent_id, sanitize_agent_message

TASK_CHARACTERS: Final = 500
STATE_CHARACTERS: Final = 100
SUMMARY_CHARACTERS: Final = 1_000
REASON_CHARACTERS: Final = 500
FILES: Final = 50
PATTERN_CHARACTERS: Final = 500
RECIPIENTS: Final = 20
DEPENDENCIES: Final = 20
DEPENDENCY_CHARACTERS: Final = 64
CRITERIA: Final = 20
CRITERION_CHARACTERS: Final = 500
TASK_DEPENDENCIES: Final = 50
SKILLS: Final = 20
SKILL_CHARACTERS: Final = 100
MOST_TOKENS: Final = 1_000_000_000
LARGEST_ID: Final = 2**63 - 1

Count = Annotated[int, Field(ge=1, le=LARGEST_ID)]


class _Message(BaseModel):
    """What every type may say."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    to: tuple[str, ...] = ()
    task: str = ""
    summary: str = ""
    files: tuple[str, ...] = ()
    importance: int = Field(3, ge=1, le=5)


class Assign(_Message):
    """Give a task; the files in ``file_ownership_exclusive`` are reserved for the agent it goes to."""

    type: Literal["ASSIGN"]
    task: str
    depends_on: tuple[str, ...] = ()
    acceptance_criteria: tuple[str, ...] = ()
    complexity_estimate: int | None = Field(None, ge=1, le=5)
    file_ownership_exclusive: tuple[str, ...] = ()
    file_ownership_read_only: tuple[str, ...] = ()
    task_dependencies: tuple[Count, ...] = ()
    required_skills: tuple[str, ...] = ()
    estimated_tokens: int | None = Field(None, ge=0, le=MOST_TOKENS)


class Status(_Message):
    """Tell progress, or an event of the system."""

    type: Literal["STATUS"]
    state: str = ""


class Proposed(_Message):
    """Propose changes of files."""

    type: Literal["PROPOSED"]


class Dependency(_Message):
    """Need what others make; naming files asks whoever holds them to hand them over."""

    type: Literal["DEPENDENCY"]
    depends_on: tuple[str, ...] = ()
    reason: str = ""


class Merge(_Message):
    """Accept work as done. An orchestrator's ends what the task had reserved."""

    type: Literal["MERGE"]
    reason: str = ""


class Reject(_Message):
    """Refuse work."""

    type: Literal["REJECT"]
    reason: str = ""


class Revise(_Message):
    """Ask for work to be done again."""

    type: Literal["REVISE"]
    reason: str = ""


class LaunchRole(_Message):
    """Ask the dispatcher for an agent of the role that ``state`` names."""

    type: Literal["LAUNCH_ROLE"]
    state: str


class RetireRole(_Message):
    """Ask the dispatcher to end an agent of the role that ``state`` names."""

    type: Literal["RETIRE_ROLE"]
    state: str
    reason: str = ""


Message = Annotated[
    Assign | Status | Proposed | Dependency | Merge | Reject | Revise | LaunchRole | RetireRole,
    Field(discriminator="type"),
]
MessageType = Literal[
    "STATUS", "PROPOSED", "DEPENDENCY", "MERGE", "ASSIGN", "REJECT", "REVISE", "LAUNCH_ROLE", "RETIRE_ROLE"
]  # fmt: skip
_MESSAGE: Final[TypeAdapter[Message]] = TypeAdapter(Message)
_OF_TYPE: Final = {
    get_args(model.model_fields["type"].annotation)[0]: model for model in get_args(get_args(Message)[0])
}
_MULTI: Final = frozenset({"acceptance_criteria", "depends_on", "required_skills"})
_PATHS: Final = frozenset({"files", "file_ownership_exclusive", "file_ownership_read_only"})
_TEXTS: Final = frozenset({"task", "state", "summary", "reason"})


def compose(kind: MessageType, given: Mapping[str, Any]) -> Message:
    """Return the message of a type with the fields that were given, cleaned.

    Args:
        kind: the type.
        given: fields by name, within their lengths; None counts as not given.

    Raises:
        InvalidInput: ``field_of_other_type``, ``missing_field``, or what a text, a name or a path is refused for.
    """
    model = _OF_TYPE[kind]
    known = [name for name in model.model_fields if name != "type"]
    said = {name: _clean(name, value) for name, value in given.items() if value not in (None, [], ())}
    for name in said:
        if name not in known:
            raise InvalidInput(
                "field_of_other_type",
                f"The type {kind} has no {name}.",
                f"It may have: {', '.join(known)}.",
                field=name,
            )
    for name, field in model.model_fields.items():
        if name != "type" and field.is_required() and not said.get(name):
            raise InvalidInput("missing_field", f"The type {kind} needs {name}.", f"Give {name}.", field=name)
    return _MESSAGE.validate_python({"type": kind, **said})


def load(stored: str) -> Message:
    """Return the message of its stored form."""
    return _MESSAGE.validate_json(stored)


def dump(message: Message) -> str:
    """Return the stored form of a message: JSON of what it says."""
    return message.model_dump_json(exclude_defaults=True)


def texts_of(message: Message) -> dict[str, Any]:
    """Return what a message says by field, as JSON values; its type left out."""
    return message.model_dump(mode="json", exclude_defaults=True, exclude={"type", "importance"})


def _clean(name: str, value: Any) -> Any:
    if name in _TEXTS:
        return _text(name, value)
    if name in _MULTI:
        return tuple(_text(name, each) for each in value)
    if name in _PATHS:
        return tuple(Pattern.of(each).text for each in value)
    if name == "to":
        return tuple(dict.fromkeys(clean_agent_id(each) for each in value))
    return tuple(value) if isinstance(value, list) else value


def _text(name: str, value: str) -> str:
    try:
        return sanitize_agent_message(value).value.strip()
    except InvalidInput as error:
        raise InvalidInput(
            error.code, error.message, error.hint, **{**error.details, "field": name}
        ) from None
