"""Step 3: arguments in, a typed value out, or a refusal that says which argument and why.

Also the two places where secrets are taken out: before anything is stored, and before anything is shown.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Annotated, Any, get_args, get_origin

from pydantic import ValidationError
from pydantic_core import to_jsonable_python

from securecontext.boundaries import limits
from securecontext.pipeline.fields import Credential, Plain, Structure, Words, cleaned
from securecontext.pipeline.operation import Input, Operation, Redaction
from securecontext.types.errors import InvalidInput
from securecontext.validators.input import one_line
from securecontext.validators.secrets import is_sensitive_name, redact, redact_value

ARGUMENT_CODES = {
    "missing": ("missing_argument", "is missing"),
    "extra_forbidden": ("unknown_argument", "is not an argument of this operation"),
    "string_too_long": ("too_long", "is longer than {max_length} characters"),
    "too_long": ("too_many", "has more than {max_length} items"),
    "too_short": ("too_few", "needs at least {min_length} item(s)"),
    "string_too_short": ("empty", "is empty"),
    "greater_than_equal": ("out_of_range", "must be at least {ge}"),
    "less_than_equal": ("out_of_range", "must be at most {le}"),
    "string_unicode": ("lone_surrogate", "is not valid Unicode"),
    "literal_error": ("unknown_value", "must be one of {expected}"),
    "enum": ("unknown_value", "must be one of {expected}"),
}
"""What pydantic finds wrong with an argument: our code for it, and our words."""
WRONG_TYPE = ("wrong_type", "")


@dataclass(frozen=True, slots=True)
class Intake:
    """Parsed arguments.

    Attributes:
        given: the operation's input model, cleaned and redacted.
        plain: what the ledger's body may carry as it is.
        digested: what it may carry only as a salted digest: a text as it is, anything else as its JSON with sorted
            names and no spaces.
        redactions: secrets that were taken out.
    """

    given: Input
    plain: dict[str, Any] = field(default_factory=dict)
    digested: dict[str, str] = field(default_factory=dict)
    redactions: tuple[Redaction, ...] = ()


def parse(operation: Operation[Any, Any], arguments: Mapping[str, Any]) -> Intake:
    """Return the typed arguments of a call.

    Raises:
        InvalidInput: an argument is missing, unknown, of the wrong type, too long, or holds characters that no
            stored text may hold.
    """
    try:
        given: Input = operation.given.model_validate(dict(arguments))
    except ValidationError as error:
        raise _refusal(operation, error) from None
    texts: dict[str, Any] = {}
    plain: dict[str, Any] = {}
    digested: dict[str, str] = {}
    redactions: list[Redaction] = []
    for name, (words, is_plain) in _kinds(type(given)).items():
        value = getattr(given, name)
        if name not in given.model_fields_set or value is None:
            continue
        if isinstance(words, Structure):
            value = texts[name] = clean_structure(value, name, words, redactions)
        elif words is not None:
            value = texts[name] = _clean(value, name, words, redactions)
        if is_plain:
            plain[name] = value
        else:
            digested[name] = value if isinstance(value, str) else _json(value)
    return Intake(given.model_copy(update=texts), plain, digested, tuple(redactions))


@lru_cache(maxsize=256)
def _kinds(model: type[Input]) -> dict[str, tuple[Words | Structure | None, bool]]:
    """Return for each field how its text is cleaned, and whether the ledger carries it as it is.

    Left out is what the ledger is told nothing of.
    """
    out: dict[str, tuple[Words | Structure | None, bool]] = {}
    for name, info in model.model_fields.items():
        marks = [*info.metadata, *_marks(info.annotation)]
        if any(isinstance(m, Credential) for m in marks):
            continue
        words = next((m for m in marks if isinstance(m, Words | Structure)), None)
        plain = isinstance(words, Words) and words.plain
        out[name] = words, plain or any(isinstance(m, Plain) for m in marks)
    return out


def _marks(annotation: Any) -> list[Any]:
    """Return the marks of a type's parts: those of ``Key`` in ``Key | None`` are not the field's own."""
    own = list(annotation.__metadata__) if get_origin(annotation) is Annotated else []
    return own + [mark for part in get_args(annotation) for mark in _marks(part)]


def _json(value: Any) -> str:
    plain = to_jsonable_python(value)
    return json.dumps(plain, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def _clean(value: Any, name: str, words: Words, redactions: list[Redaction]) -> Any:
    if isinstance(value, list):
        return [_clean(item, name, words, redactions) for item in value]
    found = cleaned(value, name, words)
    redactions.extend(Redaction(field=name, type=f.type, fingerprint=f.fingerprint) for f in found.findings)
    return found.text


def clean_structure(
    value: dict[str, Any], name: str, structure: Structure, redactions: list[Redaction]
) -> dict[str, Any]:
    """Return a JSON object with every text in it cleaned and redacted; a blank one is left as it is.

    Raises:
        InvalidInput: ``too_large``, ``too_deep`` or ``not_json``, or a text in it is refused; see `validators.input`.
    """
    try:
        size = len(json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8", "surrogatepass"))
    except (ValueError, TypeError, RecursionError):
        raise InvalidInput(
            "not_json", f"The {name} is not a JSON object.", "Leave NaN and infinity out.", field=name
        ) from None
    if size > structure.limit:
        raise InvalidInput(
            "too_large",
            f"The {name} takes {size} bytes as JSON; at most {structure.limit} are taken.",
            "Store what is large elsewhere, with zc_index or in a file, and name it here.",
            limit=structure.limit,
            field=name,
        )
    words = Words(structure.limit, multiline=True)

    def clean(node: Any, depth: int) -> Any:
        if depth > limits.PAYLOAD_DEPTH:
            raise InvalidInput(
                "too_deep",
                f"The {name} is nested more than {limits.PAYLOAD_DEPTH} levels deep.",
                "Flatten it.",
                field=name,
            )
        if isinstance(node, str):
            return node if not node.strip() and node.isprintable() else _clean(node, name, words, redactions)
        if isinstance(node, list):
            return [clean(item, depth + 1) for item in node]
        if isinstance(node, dict):
            out: dict[str, Any] = {}
            for key, item in node.items():
                free = _free(clean(key, depth), out)
                out[free] = hidden(free, item) if is_sensitive_name(free) else clean(item, depth + 1)
            return out
        return node

    def hidden(key: str, item: Any) -> Any:
        """Return what is left of what stands under a name that says that it is a secret."""
        left = redact_value({key: item})
        assert isinstance(left, dict)  # noqa: S101 - for the type checker
        if left[key] != item:
            redactions.append(Redaction(field=name, type="sensitive_name", fingerprint=""))
        return left[key]

    cleaned_value: dict[str, Any] = clean(value, 1)
    return cleaned_value


def _free(key: str, taken: Mapping[str, Any]) -> str:
    """Return a name that is not taken: two that were different may be the same once they are redacted."""
    free, number = key, 2
    while free in taken:
        free, number = f"{key}#{number}", number + 1
    return free


def redact_output(value: Any, seen: dict[str, str] | None = None) -> Any:
    """Return a JSON value with the secrets in its texts redacted: what is shown is checked again.

    Args:
        value: the names of its members are our own and stay as they are.
        seen: texts of this very answer with what they became; an answer says many things twice.
    """
    seen = {} if seen is None else seen
    if isinstance(value, str):
        if value not in seen:
            seen[value] = redact(value).text
        return seen[value]
    if isinstance(value, list):
        return [redact_output(item, seen) for item in value]
    if isinstance(value, dict):
        return {key: redact_output(item, seen) for key, item in value.items()}
    return value


def _refusal(operation: Operation[Any, Any], error: ValidationError) -> InvalidInput:
    first = error.errors(include_url=False, include_input=False)[0]
    where = one_line(".".join(str(part) for part in first["loc"]), 60) or "arguments"
    code, words = ARGUMENT_CODES.get(first["type"], WRONG_TYPE)
    context = {k: v for k, v in first.get("ctx", {}).items() if isinstance(v, str | int | float)}
    reason = (
        words.format(**context)
        if words
        else f"has the wrong type ({first['msg'][:1].lower() + first['msg'][1:]})"
    )
    known = ", ".join(operation.given.model_fields) or "none"
    if "max_length" in context:
        context["limit"] = context["max_length"]
    return InvalidInput(
        code,
        f"{operation.name}: {where} {reason}.",
        f"Arguments of {operation.name}: {known}.",
        field=where,
        **{k: v for k, v in context.items() if k in ("limit", "min_length", "ge", "le")},
    )
