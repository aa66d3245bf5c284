"""The ledger's proofs, and what a call's way through all checks costs; in one process, on a ledger of its own."""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial

from sqlalchemy import create_engine

from bench.bulk import grow
from bench.figures import Figure, median, percentile
from bench.floors import milliseconds
from bench.home import Home
from bench.texts import sentence
from securecontext.app import App
from securecontext.boundaries import tree
from securecontext.boundaries.identity import token_register
from securecontext.boundaries.ledger import tiles
from securecontext.boundaries.ledger.tiles import Tiles
from securecontext.boundaries.policy import Principal, Role, Standing
from securecontext.operations.memory import RememberInput, remember
from securecontext.pipeline.call import Call
from securecontext.pipeline.operation import Context
from securecontext.pipeline.world import Project
from securecontext.settings import Settings
from securecontext.storage.port import Transaction
from securecontext.storage.tables import metadata
from securecontext.types.ids import new_id

MILLION = 1_000_000
LEAVES_AT_ONCE = 50_000


def measure(at: Home, entries: int, chance: random.Random) -> list[Figure]:
    """Return the figures of a ledger of so many entries.

    Args:
        at: its folder is made below this one.
        entries: how large the ledger is; a million is measured where it is a million, else reckoned from the rate.
        chance: for texts and places.
    """
    folder = at.root / "ledger"
    folder.mkdir(mode=0o700)
    app = App(Settings(home=folder, user_home=at.root, calls_per_second=1e6))
    project = new_id("prj")
    try:
        seconds = grow(app, project, entries)
        built = Figure(f"{entries:,} entries appended, placed, signed and anchored", entries / seconds, "1/s")
        return [
            built,
            *_checks(app, project, entries),
            *_corridor(app, chance),
            *_proofs(chance),
        ]
    finally:
        app.close()


def _checks(app: App, project: str, entries: int) -> list[Figure]:
    store = app.store(project)
    begun, cpu = time.perf_counter(), time.process_time()
    verdict = app.ledgers.verify_store(store, whole=True)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - begun
    if verdict.status != "OK" or verdict.checked <= entries:
        raise RuntimeError(verdict.as_text())
    what = "full check of 1,000,000 entries" + (
        "" if entries == MILLION else f", from the rate at {entries:,}"
    )
    said = (
        f"seconds of one core; {wall * MILLION / entries:.1f} s went by on a machine that others use as well"
    )
    took = []
    for _ in range(20):
        grow(app, project, 50)
        begun = time.perf_counter()
        verdict = app.ledgers.verify_store(store)
        took.append((time.perf_counter() - begun) * 1000)
        if verdict.status != "OK" or not verdict.incremental:
            raise RuntimeError(verdict.as_text())
    return [
        Figure("full check", entries / cpu, "1/s"),
        Figure(what, cpu * MILLION / entries, "s", 20, note=said),
        Figure(f"incremental check at {entries:,}, 50 new entries, median", median(took), "ms", 50),
        Figure("the same, slowest", max(took), "ms"),
    ]


def _proofs(chance: random.Random) -> list[Figure]:
    """Return what inclusion proofs cost at a million leaves: a tree of that size in a database, read anew each time."""
    engine = create_engine("sqlite://")
    metadata.create_all(engine)
    growing = tree.Growing()
    with engine.connect() as connection:
        for first in range(0, MILLION, LEAVES_AT_ONCE):
            leaves = (hashlib.sha256(str(n).encode()).digest() for n in range(first, first + LEAVES_AT_ONCE))
            tiles.append(connection, "log", Tiles(connection, "log"), growing, leaves)
        root = growing.root()
        made, checked = [], []
        for leaf in (chance.randrange(MILLION) for _ in range(200)):
            begun = time.perf_counter()
            proof = tree.inclusion_proof(leaf, MILLION, Tiles(connection, "log").node)
            made.append((time.perf_counter() - begun) * 1000)
            digest = hashlib.sha256(str(leaf).encode()).digest()
            begun = time.perf_counter()
            holds = tree.included(digest, leaf, MILLION, proof, root)
            checked.append((time.perf_counter() - begun) * 1000)
            if not holds:
                raise RuntimeError("a proof does not hold")
    engine.dispose()
    return [
        Figure("inclusion proof at 1,000,000 leaves, made, p99", percentile(made, 0.99), "ms", 5),
        Figure("the same, checked, p99", percentile(checked, 0.99), "ms", 1),
    ]


def _corridor(app: App, chance: random.Random, times: int = 300) -> list[Figure]:
    """Return what the corridor adds to a call: the whole way, against the same function in the same writer alone."""
    project = Project(new_id("prj"), "bench")
    moment = datetime.now(UTC)
    claims = app.machine.write(
        lambda transaction: token_register.issue(
            transaction.connection, agent="alice", role=Role.DEVELOPER, project=project.id, issued_by="bench",
            key=app.credentials.key_id,
            moment=moment,
        )
    )  # fmt: skip
    token = app.credentials.sign(claims)
    store = app.store(project.id)

    known = app.credentials.identify(token)
    shown = Principal(
        f"agent:{known.aid}", Standing.AGENT, "mcp", known.sid, agent=known.aid, role=known.role, project=known.ph,
        token=known.tid,
    )  # fmt: skip

    def walk(number: int) -> None:
        given = {"key": f"decision-{number % 80}", "value": sentence(chance), "importance": 3}
        answer = app.corridor.walk(
            Call(new_id("call", 12), "zc_remember", given, shown, datetime.now(UTC), project)
        )
        if answer.error is not None:
            raise answer.error

    def bare(number: int) -> None:
        who = Principal("agent:alice", Standing.AGENT, "mcp", claims.sid, agent="alice", role=Role.DEVELOPER)
        given = RememberInput(key=f"decision-{number % 80}", value=sentence(chance), importance=3)

        def job(transaction: Transaction) -> None:
            remember(
                Context(
                    app,
                    who,
                    project,
                    transaction.connection,
                    transaction,
                    store.text,
                    app.bodies,
                    datetime.now(UTC),
                ),
                given,
            )

        store.write(job)

    def alternating(
        first: Callable[[int], None], second: Callable[[int], None]
    ) -> tuple[list[float], list[float]]:
        took: tuple[list[float], list[float]] = ([], [])
        for number in range(times):
            for each, work in zip(took, (first, second), strict=True):
                each += milliseconds(partial(work, number), 1)
        return took

    whole, room = alternating(walk, bare)
    return [
        Figure("`zc_remember` with a session token, in process, median", median(whole), "ms"),
        Figure("its function in the same writer, alone, median", median(room), "ms"),
        Figure(
            "the corridor's share (token, policy, contracts, redaction, ledger)",
            median(whole) - median(room),
            "ms",
            1.5,
        ),
    ]
