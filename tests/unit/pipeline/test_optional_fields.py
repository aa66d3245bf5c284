"""What the corridor makes of arguments, where a field may be left out."""

from __future__ import annotations

import pytest

import securecontext.operations  # noqa: F401 - declares the catalogue
from securecontext.pipeline.intake import parse
from securecontext.pipeline.operation import CATALOGUE
from securecontext.types.errors import InvalidInput


@pytest.mark.parametrize(
    ("said", "code"), [("a\0b", "nul_character"), ("\ud800", "lone_surrogate"), ("q" * 2001, "too_long")]
)
def test_questions_are_cleaned(said: str, code: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse(CATALOGUE["zc_search"], {"queries": [said]})
    assert caught.value.code == code


def test_a_secret_in_a_question_is_redacted_before_anything_sees_it() -> None:
    secret = "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"
    intake = parse(CATALOGUE["zc_search"], {"queries": [f"where is {secret}"]})
    assert secret not in str(intake.given) and intake.redactions
