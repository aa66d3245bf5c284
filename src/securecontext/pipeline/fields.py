"""Kinds of input fields: how a text is cleaned, and what the ledger may know of it.

A field that says nothing is told to the ledger as a salted digest: an argument is private by default.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from securecontext.boundaries import limits
from securecontext.contracts.agent import AGENT_ID_LIMIT
from securecontext.contracts.task import ROLE_LIMIT, TASK_ID_LIMIT
from securecontext.types.classification import Classification
from securecontext.types.errors import InvalidInput
from securecontext.validators.input import clean_text
from securecontext.validators.secrets import Redacted, redact


@dataclass(frozen=True, slots=True)
class Words:
    """Free text: cleaned, and secrets in it are redacted before anything else sees it.

    Attributes:
        limit: characters; a longer text is refused, never cut.
        multiline: whether line ends may stay.
        plain: whether the ledger's body carries it as it is; otherwise as a salted digest.
        strip: whether white space at its ends is meaningless, as in a name.
    """

    limit: int
    multiline: bool = False
    plain: bool = False
    strip: bool = False


@dataclass(frozen=True, slots=True)
class Structure:
    """A JSON object of the caller's own: each text in it, names included, is cleaned and redacted as `Words` are.

    Attributes:
        limit: bytes of it as JSON.
    """

    limit: int


@dataclass(frozen=True, slots=True)
class Plain:
    """Numbers, flags, ids and names from a closed set, which the ledger carries as they are."""


@dataclass(frozen=True, slots=True)
class Credential:
    """A key that a call shows: taken exactly as it is, and told to the ledger in no form, not even as a digest."""


@dataclass(frozen=True, slots=True)
class FilePath:
    """A path. The service runs in a folder of its own, so the command line makes it absolute."""


def refuse_relative(path: str) -> None:
    """Refuse a path that would be looked for in the service's own folder.

    Raises:
        InvalidInput: it is not absolute.
    """
    if not path.startswith("/"):
        raise InvalidInput("relative_path", "The path is not absolute.", "Name it from / on.")


def cleaned(text: str, name: str, words: Words) -> Redacted:
    """Return a text as it may be stored, with what was redacted in it.

    Raises:
        InvalidInput: it is too long, or holds characters that no stored text may hold.
    """
    clean = clean_text(text, field=name, limit=words.limit, multiline=words.multiline)
    found = redact(clean.strip() if words.strip else clean)
    if len(found.text) > words.limit:
        raise InvalidInput(
            "too_long",
            f"The {name} holds a secret; with that redacted it is longer than {words.limit} characters.",
            "Leave the secret out; nothing was stored.",
            limit=words.limit,
            length=len(found.text),
            field=name,
        )
    return found


KEY = Words(limits.KEY_CHARACTERS, plain=True, strip=True)
VALUE = Words(limits.VALUE_CHARACTERS, multiline=True)

Key = Annotated[str, Field(max_length=limits.KEY_CHARACTERS), KEY]
Value = Annotated[str, Field(max_length=limits.VALUE_CHARACTERS), VALUE]
Summary = Annotated[
    str, Field(max_length=limits.SUMMARY_CHARACTERS), Words(limits.SUMMARY_CHARACTERS, multiline=True)
]
Source = Annotated[
    str, Field(max_length=limits.SOURCE_CHARACTERS), Words(limits.SOURCE_CHARACTERS, plain=True, strip=True)
]
Content = Annotated[
    str, Field(max_length=limits.CONTENT_CHARACTERS), Words(limits.CONTENT_CHARACTERS, multiline=True)
]
Queries = Annotated[
    list[str], Field(min_length=1, max_length=limits.QUERIES), Words(limits.QUERY_CHARACTERS, multiline=True)
]
Provenance = Annotated[Literal["EXTRACTED", "INFERRED", "AMBIGUOUS", "UNKNOWN"], Plain()]
"""How a text is known; see `storage.tables.PROVENANCES`."""
Class = Annotated[Classification | None, Plain()]
"""Who may see a text; None keeps the class of what it takes the place of. See `types.classification`."""
Importance = Annotated[int, Field(ge=1, le=5), Plain()]
Flag = Annotated[bool, Plain()]
Number = Annotated[int, Plain()]
Name = Annotated[str, Field(max_length=200), Words(200, plain=True)]
Agent = Annotated[str, Field(max_length=AGENT_ID_LIMIT), Words(AGENT_ID_LIMIT, plain=True)]
"""A notebook's name, before `clean_agent_id`."""
TaskId = Annotated[str, Field(max_length=TASK_ID_LIMIT), Words(TASK_ID_LIMIT, plain=True)]
"""Before `clean_task_id`."""
Role = Annotated[str, Field(max_length=ROLE_LIMIT), Words(ROLE_LIMIT, plain=True)]
"""Before `clean_role`."""
Payload = Annotated[dict[str, Any], Structure(limits.PAYLOAD_BYTES)]
Fence = Annotated[int, Field(ge=1, le=2**53 - 1), Plain()]
Path = Annotated[str, Field(max_length=4096), FilePath()]
"""A path is taken exactly as it is; whoever uses it checks it."""
OptionalPath = Annotated[str | None, Field(max_length=4096), FilePath()]
