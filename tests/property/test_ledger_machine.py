"""The ledger under random honest use and one random attack at a time, undone again before the next."""

import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from securecontext.boundaries.audit import Ledger
from securecontext.boundaries.keys import Keyring
from securecontext.boundaries.ledger.verdict import Status
from securecontext.storage.tables import ledger_bodies, ledger_entries, ledger_heads
from tests.ledger_case import LOG, MOMENT, Case, draft, sqlite_engine

SESSIONS = ("s1", "s2", "s3")
TABLES = {table.name: table for table in (ledger_entries, ledger_bodies, ledger_heads)}
COLUMNS = {
    "ledger_entries": ("log", "stream", "seq", "canonical", "mac", "kid", "ts", "kind", "principal",
                       "claimed_agent", "body_digest", "prev"),
    "ledger_bodies": ("log", "stream", "seq", "salt", "body"),
    "ledger_heads": ("log", "stream", "seq", "head", "mac"),
}  # fmt: skip
PLACE = "(log || char(31) || stream || char(31) || seq)"
"""What names a row of any of the tables: not all of them have a rowid."""
NUMBERS = st.integers(0, 10_000)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-9, 9)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=5,
)


class LedgerMachine(RuleBasedStateMachine):
    """Appends, commits, rollbacks and restarts keep a ledger sound; any single attack is named."""

    tables = tuple(TABLES)
    """What an attacker writes to, and what is put back after him."""

    def __init__(self):
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.engine = sqlite_engine()
        self.connection = self.engine.connect()
        self.written = 1

    @initialize()
    def open(self):
        self.keyring = Keyring.open(Path(self.folder.name) / "keys")
        self.case = Case(self.connection, self.keyring)

    def teardown(self):
        self.connection.close()
        self.engine.dispose()
        self.folder.cleanup()

    # honest use

    @rule(batch=st.lists(st.tuples(st.sampled_from(SESSIONS), json_values), min_size=1, max_size=6))
    def append(self, batch):
        self.case.append(*[draft(session, body={"value": value}) for session, value in batch])
        self.written += len(batch)

    @rule(session=st.sampled_from(SESSIONS))
    def append_and_roll_back(self, session):
        transaction = self.connection.begin()
        self.case.ledger.append(self.connection, [draft(session)], MOMENT)
        transaction.rollback()
        self.case.ledger.rolled_back()

    @rule(session=st.sampled_from(SESSIONS))
    def commit_is_lost_on_the_way(self, session):
        with self.connection.begin():
            self.case.ledger.append(self.connection, [draft(session)], MOMENT)
        self.case.ledger.rolled_back()
        self.written += 1

    @rule()
    def restart(self):
        self.keyring = self.case.keyring = Keyring.open(Path(self.folder.name) / "keys")
        self.case.ledger = Ledger(LOG, self.keyring)

    @invariant()
    def untouched_is_ok(self):
        if hasattr(self, "case"):
            verdict = self.case.verify()
            assert verdict.status is Status.OK, verdict.as_text()
            assert verdict.entries == self.written

    # attacks, each undone

    def _dump(self):
        return {name: self.case.rows(f"SELECT * FROM {name}") for name in self.tables}

    def _attacked(self, change, also=()):
        """Do the change, demand that it is named, and put everything back.

        Args:
            change: what the attacker does.
            also: answers beside ``TAMPERED`` that name it.
        """
        before = self._dump()
        change()
        changed = self._dump() != before
        verdict = self.case.verify()
        if changed:
            assert verdict.status in (Status.TAMPERED, *also), verdict.as_text()
            assert verdict.broken_at is not None or verdict.status in also
        self._put_back(before)

    def _put_back(self, before):
        with self.connection.begin():
            for name, rows in before.items():
                self.connection.exec_driver_sql(f"DELETE FROM {name}")
                for row in rows:
                    marks = ",".join("?" * len(row))
                    self.connection.exec_driver_sql(f"INSERT INTO {name} VALUES ({marks})", tuple(row))

    def _pick(self, table, number):
        rows = self.case.rows(
            f"SELECT {PLACE} FROM {table} WHERE log = :log ORDER BY log, stream, seq", log=LOG
        )
        return rows[number % len(rows)][0]

    @rule(
        table=st.sampled_from(sorted(TABLES)), column=NUMBERS, row=NUMBERS, flip=NUMBERS, blank=st.booleans()
    )
    def edit(self, table, column, row, flip, blank):
        name = COLUMNS[table][column % len(COLUMNS[table])]
        rowid = self._pick(table, row)
        if (table, name) == ("ledger_heads", "mac") and self._key_is_erased(rowid):
            return  # nobody can check it any more: the tree speaks for the entry that the head names
        old = self.case.rows(f"SELECT {name} FROM {table} WHERE {PLACE} = :r", r=rowid)[0][0]
        if isinstance(old, int):
            new = old + 1000 + flip
        elif blank:
            new = b"" if isinstance(old, bytes) else ""
        elif isinstance(old, bytes):
            data = bytearray(old)
            data[flip // 8 % len(data)] ^= 1 << flip % 8
            new = bytes(data)
        else:
            new = old + "x"
        if table != "ledger_entries" and name == "log":
            new = "log_elsewhere"
        self._attacked(
            lambda: self.case.sql(f"UPDATE {table} SET {name} = :new WHERE {PLACE} = :r", new=new, r=rowid)
        )

    def _key_is_erased(self, head):
        named = "SELECT kid FROM ledger_entries WHERE (log || char(31) || stream || char(31) || seq) = :r"
        return self.keyring.erased(self.case.rows(named, r=head)[0][0])

    @rule(table=st.sampled_from(sorted(TABLES)), row=NUMBERS)
    def delete(self, table, row):
        rowid = self._pick(table, row)
        self._attacked(lambda: self.case.sql(f"DELETE FROM {table} WHERE {PLACE} = :r", r=rowid))

    @rule(row=NUMBERS, cut=st.booleans())
    def delete_entry_and_body(self, row, cut):
        rowid = self._pick("ledger_entries", row)
        stream, seq = self.case.rows(f"SELECT stream, seq FROM ledger_entries WHERE {PLACE} = :r", r=rowid)[0]

        def change():
            for name in ("ledger_entries", "ledger_bodies"):
                self.case.sql(
                    f"DELETE FROM {name} WHERE stream = :s AND seq {'>=' if cut else '='} :q", s=stream, q=seq
                )

        self._attacked(change)

    @rule(row=NUMBERS, to=st.sampled_from(SESSIONS))
    def insert_a_copy(self, row, to):
        rowid = self._pick("ledger_entries", row)
        names = ", ".join(name for name in COLUMNS["ledger_entries"] if name not in ("stream", "seq"))
        self._attacked(
            lambda: self.case.sql(
                f"INSERT INTO ledger_entries (stream, seq, {names}) SELECT :to, "
                f"1 + coalesce((SELECT max(seq) FROM ledger_entries WHERE stream = :to), 0), {names} "
                f"FROM ledger_entries WHERE {PLACE} = :r",
                to=f"uid:1000/{to}", r=rowid,
            )
        )  # fmt: skip

    @rule(one=NUMBERS, other=NUMBERS, whole=st.booleans())
    @precondition(lambda self: self.written > 2)
    def swap(self, one, other, whole):
        """Exchange two entries' content (reorder, or swap between streams), or their bodies."""
        table = "ledger_entries" if whole else "ledger_bodies"
        names = [name for name in COLUMNS[table] if name not in ("log", "stream", "seq")]
        first, second = self._pick(table, one), self._pick(table, other)
        query = f"SELECT {', '.join(names)} FROM {table} WHERE {PLACE} = :r"
        rows = {first: self.case.rows(query, r=second)[0], second: self.case.rows(query, r=first)[0]}
        sets = ", ".join(f"{name} = :{name}" for name in names)

        def change():
            for rowid, row in rows.items():
                self.case.sql(
                    f"UPDATE {table} SET {sets} WHERE {PLACE} = :r",
                    r=rowid,
                    **dict(zip(names, row, strict=True)),
                )

        self._attacked(change)

    @rule(to=NUMBERS, of=NUMBERS)
    @precondition(lambda self: self.written > 2)
    def replace_a_head_by_another(self, to, of):
        target, source = self._pick("ledger_heads", to), self._pick("ledger_heads", of)
        self._attacked(
            lambda: self.case.sql(
                "UPDATE ledger_heads SET (seq, head, mac) = "
                f"(SELECT seq, head, mac FROM ledger_heads WHERE {PLACE} = :b) WHERE {PLACE} = :a",
                a=target, b=source,
            )
        )  # fmt: skip

    @rule(tables=st.sets(st.sampled_from(sorted(TABLES)), min_size=1))
    def empty(self, tables):
        self._attacked(lambda: [self.case.sql(f"DELETE FROM {name}") for name in tables])


DEPTH = settings.default.max_examples
"""100, and more under the profile of `make soak`."""
DEEP = settings(
    max_examples=40 * DEPTH // 100,
    stateful_step_count=25 if DEPTH <= 100 else 60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestLedgerMachine = LedgerMachine.TestCase
TestLedgerMachine.settings = DEEP
