"""The text that a session starts with: pure, within its budget, always closed."""

from hypothesis import given
from hypothesis import strategies as st

from securecontext.memory.facts import Fact
from securecontext.memory.recall import Material, compose
from securecontext.memory.sessions import Event, WorkingState

NOW = "2026-03-01T12:00:00.000000Z"
FENCE = "f00dcafe"


def fact(number: int, value: str = "v", importance: int = 3, **more: str) -> Fact:
    fields = {"agent": "default", "provenance": "EXTRACTED", "trust": "agent", **more}
    return Fact(
        number, fields["agent"], f"key{number}", value, importance, "active", None, NOW,
        fields["provenance"], fields["trust"], "uid:0",
    )  # fmt: skip


def material(facts=(), summary=None, checkpoint=None, events=()):
    return Material(facts, summary, checkpoint, events, "Project x.", "default", 100)


texts = st.text(max_size=400)
states = st.builds(
    WorkingState,
    files=st.lists(texts, max_size=15).map(tuple),
    commands=st.lists(texts, max_size=6).map(tuple),
    plan=st.lists(texts, max_size=40).map(tuple),
    last_words=texts,
)


@given(
    values=st.lists(st.tuples(st.text(max_size=600), st.integers(1, 5)), max_size=60),
    summary=st.none() | st.text(max_size=8_000),
    state=st.none() | states,
    events=st.lists(texts, max_size=20),
    tokens=st.integers(100, 2_500),
)
def test_whatever_is_stored_the_budget_holds_and_the_fence_is_closed(values, summary, state, events, tokens):
    facts = sorted((fact(n, v, i) for n, (v, i) in enumerate(values)), key=lambda f: -f.importance)
    shown = compose(
        material(
            facts,
            None if summary is None else (NOW, summary, "d1"),
            None if state is None else (NOW, state),
            [Event(n, "s", "command", text, NOW) for n, text in enumerate(events)],
        ),
        fence=FENCE,
        tokens=tokens,
    )
    assert len(shown.text) <= tokens * 4
    lines = shown.text.split("\n")
    assert lines.count(f"[{FENCE}") == 1 and lines.count(f"{FENCE}]") == 1
    assert shown.left_out == len(facts) - sum(line.startswith("- *") for line in lines)
    assert (f"{shown.left_out} more facts are stored" in lines[-1]) == (shown.left_out > 0)


def test_critical_facts_leave_room_for_summary_and_working_state():
    facts = [fact(n, "x" * 400, 5) for n in range(250)]
    state = WorkingState(files=("/p/a.py",), plan=("[pending] write",))
    shown = compose(material(facts, (NOW, "what was done", "d1"), (NOW, state)), fence=FENCE, tokens=1_500)
    assert "what was done" in shown.text
    assert "- plan: [pending] write" in shown.text and "- files changed: /p/a.py" in shown.text


def test_without_them_facts_have_the_whole_page():
    facts = [fact(n, "x" * 100, 5) for n in range(250)]
    alone = compose(material(facts), fence=FENCE, tokens=1_500)
    beside = compose(material(facts, (NOW, "short", "d1")), fence=FENCE, tokens=1_500)
    assert alone.left_out < beside.left_out
    assert len(alone.text) > 6_000 - 500


def test_a_group_is_announced_only_with_a_fact_in_it():
    facts = [fact(1, "x" * 200, 5), fact(2, "y" * 200, 3)]
    for tokens in range(100, 260, 5):
        lines = compose(material(facts), fence=FENCE, tokens=tokens).text.split("\n")
        for title in ("Critical facts:", "Normal facts:"):
            if title in lines:
                assert lines[lines.index(title) + 1].startswith("- *")


def test_marks_tell_whose_how_known_and_where_from():
    facts = [
        fact(1, agent="alice"), fact(2, trust="external"), fact(3, trust="imported", provenance="INFERRED"),
        fact(4, provenance="AMBIGUOUS"), fact(5, trust="person", provenance="UNKNOWN"),
    ]  # fmt: skip
    text = compose(material(facts), fence=FENCE, tokens=1_500).text
    for line in (
        "- *** key1 (alice): v", "- *** key2 [external]: v", "- *** key3 [imported] [INFERRED]: v",
        "- *** key4 [AMBIGUOUS]: v", "- *** key5: v",
    ):  # fmt: skip
        assert line in text.split("\n"), line
