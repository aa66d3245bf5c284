"""Memory against a model: whatever people and agents do, what counts is what the model says, and search knows it."""

from __future__ import annotations

import itertools
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from securecontext.boundaries.keyring.bodies import MARK
from securecontext.types.classification import CLASSIFICATIONS, SEALED, highest, rank
from tests.house_case import PERSON, make_house

KEYS = st.sampled_from(["db", "queue", "cache", "api_client"])
WORDS = ("alpaca", "buzzard", "cheetah", "dolphin", "echidna", "flamingo")
VALUES = st.lists(st.sampled_from(WORDS), min_size=1, max_size=300).map(" ".join)
IMPORTANCE = st.integers(1, 5)
CLASSES = st.none() | st.sampled_from(CLASSIFICATIONS)


@dataclass
class Version:
    """A value of a key; `instead` are the versions that it took the place of."""

    key: str
    value: str
    importance: int
    number: int
    classification: str = "internal"
    instead: list[Version] = field(default_factory=list)


class MemoryMachine(RuleBasedStateMachine):
    """Random remembering, superseding, editing, undoing and forgetting in one notebook."""

    @initialize()
    def open(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="zc-machine-"))
        self.house = make_house(self.root / "house")
        self.house.recall()
        self.current: dict[str, Version] = {}
        self.numbers = itertools.count()

    def teardown(self) -> None:
        if hasattr(self, "house"):
            self.house.app.close()
            shutil.rmtree(self.root)

    def _set(
        self, key: str, value: str, importance: int, other: str | None = None, given: str | None = None
    ) -> None:
        old = self.current.get(key)
        gone = [v for v in (old, self.current.get(other) if other else None) if v is not None]
        known = given or highest([v.classification for v in gone] or self._sealed_before(key)) or "internal"
        same = (value, importance, known)
        if other is None and old is not None and (old.value, old.importance, old.classification) == same:
            return
        for version in gone:
            del self.current[version.key]
        self.current[key] = Version(key, value, importance, next(self.numbers), known, gone)
        if known in SEALED:
            for version in self._chain():
                if version.key == key:
                    version.classification = max(version.classification, known, key=rank)

    def _sealed_before(self, key: str) -> list[str]:
        """The classes of earlier sealed values of a key under which nothing counts."""
        return [row[0] for row in self.sealed_rows if row[1] == key]

    def _look(self) -> None:
        query = "SELECT classification, key FROM facts WHERE state IN ('replaced', 'superseded')"
        self.sealed_rows = [row for row in self.house.sql(query) if row[0] in SEALED]

    @rule(key=KEYS, value=VALUES, importance=IMPORTANCE, classification=CLASSES)
    def remember(self, key: str, value: str, importance: int, classification: str | None) -> None:
        self._look()
        self.house.remember(
            key, value, importance, **({"classification": classification} if classification else {})
        )
        self._set(key, value, importance, given=classification)

    @rule(key=KEYS, other=KEYS, value=VALUES)
    def supersede(self, key: str, other: str, value: str) -> None:
        self._look()
        answer = self.house.ask("zc_remember", {"key": key, "value": value, "supersedes": other})
        if other == key:
            assert answer.error is None
            self._set(key, value, 3)
        elif other not in self.current:
            assert answer.error is not None and answer.error.code == "nothing_to_supersede"
        else:
            assert answer.error is None
            self._set(key, value, 3, other)

    @rule(key=KEYS, value=VALUES)
    def edit(self, key: str, value: str) -> None:
        answer = self.house.ask("memory.edit", {"key": key, "value": value}, who=PERSON)
        assert (answer.error is None) == (key in self.current)
        if key in self.current:
            self._set(key, value, self.current[key].importance)

    @rule(key=KEYS)
    def undo(self, key: str) -> None:
        answer = self.house.ask("memory.undo", {"key": key}, who=PERSON)
        assert (answer.error is None) == (key in self.current)
        taken = self.current.pop(key, None)
        for version in taken.instead if taken else []:
            self.current.setdefault(version.key, version)

    @rule(key=KEYS)
    def forget(self, key: str) -> None:
        answer = self.house.ask("zc_forget", {"key": key})
        assert answer.error is None
        self.current.pop(key, None)
        for version in self._chain():
            version.instead = [v for v in version.instead if v.key != key]

    def _chain(self) -> list[Version]:
        out, waiting = [], list(self.current.values())
        while waiting:
            version = waiting.pop()
            out.append(version)
            waiting += version.instead
        return out

    @invariant()
    def what_counts_is_what_the_model_says(self) -> None:
        if not hasattr(self, "house"):
            return
        listed = self.house.do("memory.list", PERSON)["facts"]
        assert {f["key"]: (f["value"], f["importance"], f["classification"]) for f in listed} == {
            k: (v.value, v.importance, v.classification) for k, v in self.current.items()
        }

    @invariant()
    def a_value_lies_there_as_it_is_or_sealed_as_its_class_says(self) -> None:
        if not hasattr(self, "house"):
            return
        for value, classification in self.house.sql("SELECT value, classification FROM facts"):
            assert value.startswith(MARK) == (classification in SEALED)
            assert classification not in SEALED or not any(word in value.lower() for word in WORDS)

    @invariant()
    def the_index_holds_what_counts_and_nothing_else(self) -> None:
        if not hasattr(self, "house"):
            return
        house = self.house
        chunks = house.sql("SELECT chunk, tokens FROM chunks ORDER BY chunk")
        assert chunks == house.sql("SELECT rowid, tokens FROM chunks_fts ORDER BY rowid")
        parents = house.sql("SELECT DISTINCT parent FROM chunks WHERE parent_kind = 'fact' ORDER BY parent")
        assert parents == house.sql(
            "SELECT fact FROM facts WHERE state IN ('active', 'archived')"
            " AND classification NOT IN ('confidential', 'restricted') ORDER BY fact"
        )
        for word in WORDS:
            found = {hit["source"].removeprefix("memory:default:") for hit in house.search(word)}
            assert found == {k for k, v in self.current.items() if word in v.value.split()}


TestMemory = MemoryMachine.TestCase
TestMemory.settings = settings(max_examples=12, stateful_step_count=14, deadline=None)
