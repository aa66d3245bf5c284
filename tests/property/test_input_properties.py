"""Whatever the string, the door accepts or refuses it; what it accepts is safe to store and to show."""

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from securecontext.types.errors import InvalidInput
from securecontext.validators.input import clean_agent_id, clean_text, one_line

anything = st.text(
    alphabet=st.characters() | st.characters(categories=["Cs", "Cc", "Cf", "Mn", "Zs"]), max_size=120
)


@given(anything, st.booleans(), st.integers(min_value=1, max_value=100))
def test_text_is_clean_or_refused(raw, multiline, limit):
    try:
        clean = clean_text(raw, field="value", limit=limit, multiline=multiline)
    except InvalidInput as error:
        assert error.code and error.hint and error.details["field"] == "value"
        return
    assert clean.encode("utf-8")
    assert 0 < len(clean) <= limit
    assert clean.strip()
    assert unicodedata.is_normalized("NFC", clean)
    allowed = {"\t", "\n"} if multiline else set()
    assert all(c in allowed or unicodedata.category(c) != "Cc" for c in clean)
    assert clean_text(clean, field="value", limit=limit, multiline=multiline) == clean


@given(anything)
def test_names_are_clean_or_refused(raw):
    try:
        assert clean_agent_id(clean_agent_id(raw)) == clean_agent_id(raw)
    except InvalidInput as error:
        assert error.code


@given(anything, st.integers(min_value=0, max_value=150))
def test_one_line_is_one_line_and_says_what_is_missing(text, limit):
    line = one_line(text, limit)
    assert line.encode("utf-8") or not line
    assert len(line.splitlines()) <= 1
    assert len(line) <= max(limit, len("… [+120 characters]"))
    whole = one_line(text, 1000)
    if line != whole:
        shown, _, missing = line.rpartition("… [+")
        assert whole.startswith(shown)
        assert len(shown) + int(missing.removesuffix(" characters]")) == len(whole)
