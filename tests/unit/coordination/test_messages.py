"""The nine types: a closed union, whose fields are cleaned and belong to their type."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from securecontext.boundaries.policy import Permission
from securecontext.coordination import messages
from securecontext.storage.tables import BROADCASTS
from securecontext.types.errors import InvalidInput

WHOLE: dict[str, Any] = {
    "to": ["alice"],
    "task": "write the parser",
    "summary": "two\nlines",
    "files": ["src/parser"],
    "importance": 5,
    "depends_on": ["lexer"],
    "acceptance_criteria": ["it parses", "it is tested"],
    "complexity_estimate": 5,
    "file_ownership_exclusive": ["src/parser/**/*.py"],
    "file_ownership_read_only": ["docs"],
    "task_dependencies": [1, 2**63 - 1],
    "required_skills": ["parsing"],
    "estimated_tokens": 1_000_000_000,
}


def test_the_types_are_the_same_everywhere() -> None:
    assert set(get_args(messages.MessageType)) == set(BROADCASTS)
    for kind in BROADCASTS:
        assert Permission(f"broadcast.{kind.lower().replace('_', '-')}")


def test_a_structured_assign_comes_back_as_it_was_said() -> None:
    said = messages.compose("ASSIGN", WHOLE)
    assert messages.load(messages.dump(said)) == said
    told = messages.texts_of(said)
    assert {name: told[name] for name in WHOLE if name != "importance"} == {
        name: value for name, value in WHOLE.items() if name != "importance"
    }


@pytest.mark.parametrize("kind", BROADCASTS)
def test_each_type_says_what_it_has_and_refuses_what_it_has_not(kind: str) -> None:
    needed = {"task": "t", "state": "developer"}
    fields = {"state", "reason", "acceptance_criteria", "depends_on", "complexity_estimate"}
    taken = set()
    for name in sorted(fields):
        value: Any = ["x"] if name in ("acceptance_criteria", "depends_on") else 3 if "com" in name else "x"
        try:
            messages.compose(kind, {**_needed(kind, needed), name: value})  # type: ignore[arg-type]
            taken.add(name)
        except InvalidInput as error:
            assert error.code == "field_of_other_type" and error.details["field"] == name
    assert (
        taken
        == {
            "ASSIGN": {"acceptance_criteria", "complexity_estimate", "depends_on"},
            "STATUS": {"state"},
            "PROPOSED": set(),
            "DEPENDENCY": {"depends_on", "reason"},
            "MERGE": {"reason"},
            "REJECT": {"reason"},
            "REVISE": {"reason"},
            "LAUNCH_ROLE": {"state"},
            "RETIRE_ROLE": {"state", "reason"},
        }[kind]
    )


def _needed(kind: str, values: dict[str, str]) -> dict[str, str]:
    wanted = {"ASSIGN": "task", "LAUNCH_ROLE": "state", "RETIRE_ROLE": "state"}.get(kind)
    return {wanted: values[wanted]} if wanted else {}


@pytest.mark.parametrize(
    ("kind", "field"), [("ASSIGN", "task"), ("LAUNCH_ROLE", "state"), ("RETIRE_ROLE", "state")]
)
def test_what_a_type_needs_is_missed(kind: Any, field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        messages.compose(kind, {"summary": "x"})
    assert (caught.value.code, caught.value.details["field"]) == ("missing_field", field)


@pytest.mark.parametrize("field", ["task", "summary", "acceptance_criteria", "depends_on", "required_skills"])
@pytest.mark.parametrize(
    ("text", "code"),
    [("<script>x</script>", "markup"), ("see ../../etc", "traversal"), ("a\u200bb", "hidden_character"),
     ("x\u202ey", "bidi_control"), ("&lt;img src=x onerror=y&gt;", "markup")],
)  # fmt: skip
def test_every_text_goes_through_the_check_of_messages(field: str, text: str, code: str) -> None:
    value: Any = text if field in ("task", "summary") else [text]
    with pytest.raises(InvalidInput) as caught:
        messages.compose("ASSIGN", {"task": "t", field: value})
    assert (caught.value.code, caught.value.details["field"]) == (code, field)


@pytest.mark.parametrize("field", ["files", "file_ownership_exclusive", "file_ownership_read_only"])
def test_t_b07_a_path_that_leads_out_is_refused_not_dropped(field: str) -> None:
    """T_B07: files with ways up out of the project."""
    for path in ("../x", "a/../../x", "/etc/passwd", "..\\x", "%2e%2e/x"):
        with pytest.raises(InvalidInput):
            messages.compose("ASSIGN", {"task": "t", field: ["ok.py", path]})


def test_a_name_that_is_no_agent_is_no_recipient() -> None:
    with pytest.raises(InvalidInput) as caught:
        messages.compose("STATUS", {"to": ["alice", "not an agent"]})
    assert caught.value.code == "bad_agent_id"
