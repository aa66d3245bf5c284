"""Step 3: what is refused says which argument and why, and never repeats it; what is taken is clean."""

import json
from typing import Annotated, Any, Literal, get_args, get_origin

import pytest
from pydantic import BaseModel, Field

from securecontext.boundaries.policy import Permission
from securecontext.pipeline import fields
from securecontext.pipeline.intake import Intake, parse, redact_output
from securecontext.pipeline.operation import CATALOGUE, Effects, Input, Operation, Output
from securecontext.types.errors import InvalidInput

SECRET = "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"
MARK = "zanzibar-quokka"


class Part(Input):
    name: fields.Key


class Everything(Input):
    """One field of each kind."""

    key: fields.Key
    value: fields.Value | None = None
    number: fields.Importance = 3
    flag: fields.Flag = False
    queries: fields.Queries | None = None
    choice: Annotated[Literal["left", "right"] | None, fields.Plain()] = None
    other: fields.Key | None = None
    bare: dict[str, int] | None = None
    parts: Annotated[list[Part] | None, Field(max_length=2)] = None
    named: Annotated[str | None, Field(min_length=3, max_length=20), fields.Words(10, plain=True)] = None


OPERATION: Operation[Any, Any] = Operation(
    name="try",
    function=lambda context, given: Output(),
    given=Everything,
    output=Output,
    permission=Permission.STATUS_READ,
    effects=Effects.READS,
    audience="agent",  # type: ignore[arg-type]
    render=lambda out: "done",
    summary="Try.",
    description="Try.",
)


def take(**arguments: object) -> Intake:
    return parse(OPERATION, arguments)


def refusal(arguments: dict[str, object]) -> InvalidInput:
    with pytest.raises(InvalidInput) as caught:
        parse(OPERATION, arguments)
    error = caught.value
    assert MARK not in json.dumps(error.as_dict())
    assert error.hint
    return error


@pytest.mark.parametrize(
    ("arguments", "code", "field"),
    [
        ({}, "missing_argument", "key"),
        ({"key": "k", "extra": MARK}, "unknown_argument", "extra"),
        ({"key": 5}, "wrong_type", "key"),
        ({"key": [MARK]}, "wrong_type", "key"),
        ({"key": None}, "wrong_type", "key"),
        ({"key": "k", "number": MARK}, "wrong_type", "number"),
        ({"key": "k", "number": "3"}, "wrong_type", "number"),
        ({"key": "k", "number": 3.5}, "wrong_type", "number"),
        ({"key": "k", "number": True}, "wrong_type", "number"),
        ({"key": "k", "number": 0}, "out_of_range", "number"),
        ({"key": "k", "number": 6}, "out_of_range", "number"),
        ({"key": "k", "flag": 1}, "wrong_type", "flag"),
        ({"key": "k", "flag": "true"}, "wrong_type", "flag"),
        ({"key": "k", "choice": MARK}, "unknown_value", "choice"),
        ({"key": "k" * 101}, "too_long", "key"),
        ({"key": "k", "value": MARK * 1_000}, "too_long", "value"),
        ({"key": "k", "queries": []}, "too_few", "queries"),
        ({"key": "k", "queries": [MARK] * 11}, "too_many", "queries"),
        ({"key": "k", "queries": [5]}, "wrong_type", "queries.0"),
        ({"key": "k", "parts": [{"name": 1}]}, "wrong_type", "parts.0.name"),
        ({"key": "k", "parts": [{"name": "n"}] * 3}, "too_many", "parts"),
        ({"key": "k", "named": "ab"}, "empty", "named"),
        ({"key": MARK + "\0"}, "nul_character", "key"),
        ({"key": MARK + "\x1b"}, "control_character", "key"),
        ({"key": MARK + "\n"}, "control_character", "key"),
        ({"key": "k", "value": MARK + "\x07"}, "control_character", "value"),
        ({"key": "k", "value": MARK + "\u202e"}, "bidi_control", "value"),
        ({"key": MARK + "\ud800"}, "lone_surrogate", "key"),
        ({"key": "k", "queries": ["fine", MARK + "\0"]}, "nul_character", "queries"),
        ({"key": "k", "other": MARK + "\0"}, "nul_character", "other"),
        ({"key": " \u200b "}, "empty", "key"),
    ],
)
def test_each_refusal_has_its_code_and_names_its_field(arguments, code, field):
    error = refusal(arguments)
    assert (error.code, error.details["field"]) == (code, field)


@pytest.mark.parametrize(
    ("arguments", "limit"),
    [({"key": "k" * 101}, 100), ({"key": "k", "value": "v" * 4_001}, 4_000),
     ({"key": "k", "queries": ["q"] * 11}, 10), ({"key": "k", "named": "n" * 11}, 10)],
)  # fmt: skip
def test_what_is_too_long_is_told_the_limit(arguments, limit):
    error = refusal(arguments)
    assert error.details["limit"] == limit
    assert str(limit) in error.message


def test_an_unknown_argument_with_a_hostile_name_is_shown_as_one_short_line():
    error = refusal({"key": "k", "x\n\u202e" + "y" * 500: 1})
    assert error.code == "unknown_argument"
    assert len(error.details["field"]) <= 60
    assert not set("\n\u202e") & set(str(error))
    assert "\ud800" not in str(refusal({"key": "k", "x\ud800": 1}))


def test_the_hint_lists_the_arguments():
    assert "key, value, number" in refusal({}).hint


def test_exactly_the_limit_is_taken_whole():
    taken = take(key="k" * 100, value="v" * 4_000)
    assert (len(taken.given.key), len(taken.given.value)) == (100, 4_000)


def test_an_argument_is_private_by_default():
    taken = take(key="k", value="v", number=2, flag=True, queries=["q"], choice="left", bare={"b": 1, "a": 2})
    assert taken.plain == {"key": "k", "number": 2, "flag": True, "choice": "left"}
    assert taken.digested == {"value": "v", "queries": '["q"]', "bare": '{"a":2,"b":1}'}


def test_what_was_not_given_is_not_told():
    taken = take(key="k", value=None)
    assert (taken.plain, taken.digested) == ({"key": "k"}, {})


def test_the_text_behind_a_digest_is_json_and_does_not_depend_on_python():
    taken = take(key="k", parts=[{"name": "é"}])
    assert taken.digested == {"parts": '[{"name":"é"}]'}


def test_secrets_are_taken_out_and_told_by_field_type_and_fingerprint():
    taken = take(key="k", value=f"the token is {SECRET} now", queries=["fine", f"where is {SECRET}?"])
    assert SECRET not in taken.given.model_dump_json() + str(taken.plain) + str(taken.digested)
    assert [r.field for r in taken.redactions] == ["value", "queries"]
    assert {r.type for r in taken.redactions} == {"github_pat"}
    assert all(len(r.fingerprint) == 16 for r in taken.redactions)


def test_a_field_that_may_be_absent_is_cleaned_like_any_other():
    taken = take(key="k", other=f"x {SECRET}")
    assert SECRET not in str(taken)
    assert [r.field for r in taken.redactions] == ["other"]


def test_white_space_around_a_name_means_nothing_and_within_a_value_stays():
    taken = take(key="  db  ", value="  indented\n")
    assert (taken.given.key, taken.given.value) == ("db", "  indented\n")


def test_line_ends_become_one_kind_and_letters_one_form():
    taken = take(key="cafe\u0301", value="a\r\nb\rc")
    assert (taken.given.key, taken.given.value) == ("café", "a\nb\nc")


def test_what_is_shown_is_checked_again():
    shown = redact_output({"a": [f"x {SECRET}", 1, None], "b": {"c": SECRET}})
    assert SECRET not in json.dumps(shown)
    assert shown["a"][1:] == [1, None]


def _texts(annotation: object) -> bool:
    """Say whether a type can hold free text that nothing cleans."""
    if get_origin(annotation) is Annotated:
        inner, *marks = get_args(annotation)
        return not any(isinstance(m, fields.Words) for m in marks) and _texts(inner)
    if get_origin(annotation) is Literal:
        return False
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return False  # its own fields are looked at by whoever reads them
    return annotation is str or any(_texts(part) for part in get_args(annotation))


PATHS = {
    ("audit.export", "file"),
    ("backup", "file"),
    ("restore", "file"),
    ("audit.prove", "file"),
    ("project.move", "folder"),
    ("audit.verify", "database"),
    ("import.predecessor", "from_folder"),
    ("ownership.check", "files"),
    ("zc_execute_file", "path"),
}
"""Paths are taken exactly as they are."""
CREDENTIALS = {("zc_broadcast", "channel_key"), ("channel.set", "key"), ("token.verify", "token")}
"""So are keys, of which the ledger is told nothing."""


PROGRAMS = {("zc_execute", "code"), ("zc_execute_file", "code")}
"""What is run is run as it is; the ledger has its digest."""
CURSORS = {("audit.tail", "cursor"), ("broadcast.list", "cursor"), ("queue.list", "cursor")}
"""Places in a list, which are looked into and stored nowhere; the ledger has their digest."""


def test_no_operation_takes_free_text_that_is_not_cleaned():
    bare = {
        (operation.name, name)
        for operation in CATALOGUE.values()
        for name, info in operation.given.model_fields.items()
        if not any(isinstance(m, fields.Words | fields.Structure) for m in info.metadata)
        and _texts(info.annotation)
    }
    assert bare <= PATHS | CREDENTIALS | PROGRAMS | CURSORS
    for operation, name in CREDENTIALS:
        marks = CATALOGUE[operation].given.model_fields[name].metadata
        assert any(isinstance(m, fields.Credential) for m in marks)
