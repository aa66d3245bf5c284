"""The ledger with its tree, checkpoints, anchors, epochs and a second project beside it, under honest use and attack.

What is anchored outside the database cannot be changed, cut off or put back without a name for it; what is not yet
anchored can be cut off with its heads, which is why no rule here does that.
"""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from securecontext.boundaries.ledger.signers import enlist
from securecontext.boundaries.ledger.verdict import Status
from securecontext.boundaries.ledger.verify import GRACE, verify
from tests.ledger_case import LOG, MOMENT, Case, draft
from tests.property.test_ledger_machine import COLUMNS, DEEP, DEPTH, NUMBERS, PLACE, SESSIONS, LedgerMachine

OTHER = "log_other"
PLACED = COLUMNS["ledger_entries"][3:]
"""What an entry holds beside its place."""


class AnchoredMachine(LedgerMachine):
    """Checkpoints, epochs and deaths keep a ledger sound; any single attack on what they protect is named."""

    tables = (*LedgerMachine.tables, "ledger_tiles", "ledger_checkpoints", "ledger_sequencers")

    def __init__(self):
        super().__init__()
        self.anchored = 0
        self.copies = []
        """Of the whole database, each with the leaves that were anchored then."""

    @initialize()
    def open(self):
        super().open()
        self.other = Case(self.connection, self.keyring, OTHER)
        self.other.append(draft("s1", body={"of": "another project"}), draft("s2"))
        self.other.sequence()

    # honest use

    @rule()
    def checkpoint(self):
        signed = self.case.sequence()
        if signed is not None:
            self.anchored = signed.point.size

    @rule()
    def keep_a_copy(self):
        self.copies = [*self.copies[-2:], (self.anchored, self._dump())]

    @rule(session=st.sampled_from(SESSIONS))
    def epoch_ends(self, session):
        self._end_begun()
        self.keyring.end_epoch()
        self.append([(session, "of the new epoch")])

    @rule(session=st.sampled_from(SESSIONS), signed=st.booleans())
    def service_dies_within_an_epochs_end(self, session, signed):
        """The root of the new epoch was used and never stored; the old one goes on."""
        if signed:
            self._end_begun()
        else:
            self.keyring.begin_epoch()
        self.append([(session, "of an epoch that did not begin")])
        self.restart()

    def _end_begun(self):
        ending = self.keyring.begin_epoch()
        enlist(self.keyring, MOMENT)
        for case in (self.other, self.case):
            signed = case.sequence(closing=ending)
        if signed is not None:
            self.anchored = signed.point.size

    def restart(self):
        super().restart()
        self.other.keyring = self.keyring

    @rule()
    def restarts(self):
        self.restart()

    # attacks, each undone

    @rule(row=NUMBERS, to=st.none() | st.integers(-300, 300) | st.sampled_from((-(2**62), 2**62)))
    @precondition(lambda self: self.anchored)
    def move_a_leaf(self, row, to):
        """To nowhere, to the place of another, before the first, behind the last."""
        self.case.sql("DROP INDEX IF EXISTS ux_ledger_entries_leaf")
        leaf = row % self.anchored
        self._attacked(
            lambda: self.case.sql(
                "UPDATE ledger_entries SET leaf_index = :to WHERE log = :log AND leaf_index = :leaf",
                to=to, log=LOG, leaf=leaf,
            )
        )  # fmt: skip

    @rule(one=NUMBERS, other=NUMBERS)
    @precondition(lambda self: self.anchored > 1)
    def exchange_two_leaves(self, one, other):
        self.case.sql("DROP INDEX IF EXISTS ux_ledger_entries_leaf")
        places = {"log": LOG, "a": one % self.anchored, "b": other % self.anchored}
        self._attacked(
            lambda: self.case.sql(
                "UPDATE ledger_entries SET leaf_index = :a + :b - leaf_index"
                " WHERE log = :log AND leaf_index IN (:a, :b)",
                **places,
            )
        )

    @rule(flip=NUMBERS, row=NUMBERS)
    @precondition(lambda self: self.anchored)
    def flip_a_bit_of_a_tile(self, flip, row):
        tiles = self.case.rows(
            "SELECT level, tile, hashes FROM ledger_tiles WHERE log = :log ORDER BY 1, 2", log=LOG
        )
        level, tile, hashes = tiles[row % len(tiles)]
        changed = bytearray(hashes)
        changed[flip // 8 % len(changed)] ^= 1 << flip % 8
        self._attacked(
            lambda: self.case.sql(
                "UPDATE ledger_tiles SET hashes = :new WHERE log = :log AND level = :level AND tile = :tile",
                new=bytes(changed), log=LOG, level=level, tile=tile,
            )
        )  # fmt: skip

    @rule(row=NUMBERS, name=st.sampled_from(("log", "size", "kid", "note")), at=NUMBERS)
    @precondition(lambda self: self.anchored)
    def change_a_checkpoint(self, row, name, at):
        """A bit of its note, its size, its key, its log; ``created_at`` is told to nobody and is no evidence."""
        size, kid, note = self._checkpoint(row)
        where = at % len(note)
        new = {
            "log": OTHER,
            "size": size + 1 + at,
            "kid": kid + "x",
            "note": note[:where] + ("A" if note[where] != "A" else "B") + note[where + 1 :],
        }[name]
        self._attacked(
            lambda: self.case.sql(
                f"UPDATE ledger_checkpoints SET {name} = :new WHERE log = :log AND size = :size AND kid = :kid",
                new=new, log=LOG, size=size, kid=kid,
            ),
            also=(Status.ROLLED_BACK,),
        )  # fmt: skip

    @rule(row=NUMBERS, other=NUMBERS)
    @precondition(lambda self: self.anchored)
    def replace_a_checkpoint(self, row, other):
        """By the note of another one of ours, or of the other project."""
        size, kid, _ = self._checkpoint(row)
        notes = [found[0] for found in self.case.rows("SELECT note FROM ledger_checkpoints ORDER BY note")]
        self._attacked(
            lambda: self.case.sql(
                "UPDATE ledger_checkpoints SET note = :new WHERE log = :log AND size = :size AND kid = :kid",
                new=notes[other % len(notes)], log=LOG, size=size, kid=kid,
            )
        )  # fmt: skip

    @rule(row=NUMBERS)
    @precondition(lambda self: self.anchored)
    def take_a_checkpoint_away(self, row):
        size, kid, _ = self._checkpoint(row)
        self._attacked(
            lambda: self.case.sql(
                "DELETE FROM ledger_checkpoints WHERE log = :log AND size = :size AND kid = :kid",
                log=LOG, size=size, kid=kid,
            ),
            also=(Status.ROLLED_BACK,),
        )  # fmt: skip

    def _checkpoint(self, number):
        query = "SELECT size, kid, note FROM ledger_checkpoints WHERE log = :log ORDER BY size, kid"
        rows = self.case.rows(query, log=LOG)
        return rows[number % len(rows)]

    @rule(row=NUMBERS, of=NUMBERS)
    def put_an_entry_of_another_project_in_the_place_of_ours(self, row, of):
        target = self._pick("ledger_entries", row)
        others = self.case.rows(f"SELECT {PLACE} FROM ledger_entries WHERE log = :log ORDER BY 1", log=OTHER)
        names = ", ".join(PLACED)
        self._attacked(
            lambda: self.case.sql(
                f"UPDATE ledger_entries SET ({names}) = (SELECT {names} FROM ledger_entries WHERE {PLACE} = :b)"
                f" WHERE {PLACE} = :a",
                a=target, b=others[of % len(others)][0],
            )
        )  # fmt: skip

    @rule(leaf=st.integers(-300, 300), count=st.integers(1, 3), first=st.booleans())
    @precondition(lambda self: self.keyring.kid.rpartition(".")[2] != "0")
    def forge_under_an_erased_key(self, leaf, count, first):
        kid = f"{self.keyring.signer}.0"
        newest = self.case.rows("SELECT max(entry) FROM ledger_entries")[0][0]
        self._attacked(
            lambda: self.case.forge(kid, range(leaf, leaf + count), entry=-1_000_000 if first else newest)
        )

    @rule(which=NUMBERS)
    @precondition(lambda self: self.copies)
    def put_the_database_back(self, which):
        """To a copy from before the last anchor; a younger one is what may be cut off unseen."""
        anchored, copy = self.copies[which % len(self.copies)]
        if anchored < self.anchored:
            self._attacked(lambda: self._put_back(copy), also=(Status.ROLLED_BACK,))

    @rule(which=st.sampled_from(("gone", "cut", "another", "line")), at=NUMBERS)
    @precondition(lambda self: self.anchored)
    def replace_the_anchors(self, which, at):
        """Whoever has the anchors in his hand leaves a ledger that nothing vouches for, and that is said."""
        path = self.case.anchors.path
        whole = path.read_bytes()
        lines = whole.splitlines(keepends=True)
        changed = {
            "gone": b"",
            "cut": b"".join(line for line in lines if b'"log_test"' not in line),
            "another": b"".join(lines).replace(b'"log_test"', b'"log_else"'),
            "line": b"".join(lines[: at % len(lines)]) + b"{}\n" + b"".join(lines[at % len(lines) :]),
        }[which]
        path.write_bytes(changed)
        with self.connection.begin():
            verdict = verify(
                self.connection, LOG, self.keyring, anchors=[self.case.anchors], moment=MOMENT + 2 * GRACE
            )
        path.write_bytes(whole)
        assert verdict.status in (Status.UNANCHORED, Status.TAMPERED), verdict.as_text()


TestAnchoredMachine = AnchoredMachine.TestCase
TestAnchoredMachine.settings = settings(DEEP, max_examples=12 * DEPTH // 100)
