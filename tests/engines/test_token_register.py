"""The register of session tokens, on both engines: what counts, what is revoked, what is dropped."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.exc import IntegrityError

from securecontext.boundaries.identity import token_register
from securecontext.boundaries.policy import Role
from securecontext.boundaries.tokens import TTL_SECONDS
from securecontext.storage.tables import ROLES, tokens
from securecontext.types.errors import Unauthenticated

NOW = datetime(2026, 3, 1, 12, 0, 0, 250_000, tzinfo=UTC)
LATER = NOW + timedelta(seconds=TTL_SECONDS)


def issue(connection, agent="alice", role=Role.WORKER, project="p", by=None, moment=NOW):
    issuer = "uid:1000" if by is None else token_register.issuer(f"agent:{by.aid}", by.tid)
    return token_register.issue(
        connection, agent=agent, role=role, project=project, issued_by=issuer, key="k1", moment=moment
    )


def revoke(connection, **which):
    """(meant, issued by them) that count no longer."""
    done = token_register.revoke(connection, **{"project": "p", "moment": NOW, **which})
    return done.named, done.issued


def refusal(connection, token, moment=NOW):
    with pytest.raises(Unauthenticated) as caught:
        token_register.check(connection, token, moment)
    return caught.value.code


def test_the_roles_of_the_table_are_those_of_the_policy(engine: Engine) -> None:
    assert tuple(Role) == ROLES
    with engine.begin() as connection:
        for role in Role:
            issue(connection, role=role)
        assert token_register.count(connection, "p", NOW) == len(Role)
    with pytest.raises(IntegrityError), engine.begin() as connection:
        issue(connection, role="root")


def test_a_token_counts_until_its_time_is_over(engine: Engine) -> None:
    with engine.begin() as connection:
        said = issue(connection)
        row = token_register.check(connection, said.tid, NOW)
        assert (row.agent, row.role, row.project, row.session) == ("alice", "worker", "p", said.sid)
        assert said.exp - said.iat == TTL_SECONDS
        assert refusal(connection, said.tid, LATER) == "token_expired"
        assert token_register.count(connection, "p", LATER) == 0


def test_a_token_that_was_never_entered_does_not_count(engine: Engine) -> None:
    with engine.begin() as connection:
        issue(connection)
        assert refusal(connection, "tok_never") == "token_revoked"


def test_rt_s2_04_one_agents_tokens_are_revoked_and_no_others(engine: Engine) -> None:
    with engine.begin() as connection:
        first, second, other, elsewhere = (
            issue(connection), issue(connection), issue(connection, "bob"), issue(connection, project="q"),
        )  # fmt: skip
        assert revoke(connection, agent="alice") == (2, 0)
        for gone in (first, second):
            assert refusal(connection, gone.tid) == "token_revoked"
        for still in (other, elsewhere):
            assert token_register.check(connection, still.tid, NOW).revoked_at is None
        assert revoke(connection, agent="alice") == (0, 0)


def test_one_token_or_every_one_is_revoked(engine: Engine) -> None:
    with engine.begin() as connection:
        first, second, third = issue(connection), issue(connection), issue(connection, project="q")
        assert revoke(connection, project="q", token=first.tid) == (0, 0)
        assert revoke(connection, token=first.tid) == (1, 0)
        assert token_register.count(connection, "p", NOW) == 1
        assert revoke(connection) == (1, 0)
        assert refusal(connection, second.tid) == "token_revoked"
        assert token_register.check(connection, third.tid, NOW)


def test_w_20_a_revoked_token_takes_with_it_whatever_it_issued_to_the_last_generation(engine: Engine) -> None:
    with engine.begin() as connection:
        boss, other = issue(connection, "boss"), issue(connection, "other")
        first = issue(connection, "dev", by=boss)
        second = issue(connection, "dev", by=first)
        third = issue(connection, "boss", by=second)  # the name of the boss, and not its token
        apart = issue(connection, "dev", by=other)
        assert revoke(connection, token=first.tid) == (1, 2)
        for gone in (first, second, third):
            assert refusal(connection, gone.tid) == "token_revoked"
        for still in (boss, other, apart):
            assert token_register.check(connection, still.tid, NOW)
        late = issue(connection, "late", by=boss)
        assert revoke(connection, agent="boss") == (1, 1)
        assert refusal(connection, late.tid) == "token_revoked"
        assert revoke(connection) == (2, 0)


def test_w_20_a_token_that_has_ended_does_not_live_on_in_what_it_issued(engine: Engine) -> None:
    before = LATER - timedelta(seconds=5)
    with engine.begin() as connection:
        boss = issue(connection, "boss")
        child = issue(connection, "dev", by=boss, moment=before)
        assert refusal(connection, boss.tid, LATER) == "token_expired"
        assert revoke(connection, token=boss.tid, moment=LATER) == (0, 1)
        assert refusal(connection, child.tid, LATER) == "token_revoked"


def test_w_20_a_session_that_is_named_like_a_token_has_issued_nothing_for_it(engine: Engine) -> None:
    """A person's session is a claim: it may be the id of a token, and is taken for none."""
    with engine.begin() as connection:
        boss = issue(connection, "boss")
        by_person = token_register.issue(
            connection,
            agent="a",
            role=Role.WORKER,
            project="p",
            issued_by=f"uid:1000/{boss.tid}",
            key="k1",
            moment=NOW,
        )
        elsewhere = issue(connection, "b", project="q", by=boss)
        assert revoke(connection, token=boss.tid) == (1, 0)
        assert token_register.check(connection, by_person.tid, NOW)
        assert token_register.check(connection, elsewhere.tid, NOW)


def test_w_22_no_column_could_hold_the_token_or_its_mac(engine: Engine) -> None:
    with engine.begin() as connection:
        said = issue(connection)
        (row,) = connection.execute(select(tokens)).mappings()
    assert dict(row) == {
        "token": said.tid, "agent": "alice", "role": "worker", "project": "p", "session": said.sid,
        "issued_at": "2026-03-01T12:00:00.000000Z", "expires_at": "2026-03-02T12:00:00.000000Z",
        "revoked_at": None, "issued_by": "uid:1000",
    }  # fmt: skip


def test_rows_of_ended_tokens_are_dropped_in_the_end_and_stay_refused(engine: Engine) -> None:
    with engine.begin() as connection:
        said = issue(connection)
        token_register.drop_old(connection, LATER)
        assert len(token_register.every(connection, "p")) == 1
        token_register.drop_old(connection, LATER + token_register.KEPT + timedelta(seconds=1))
        assert token_register.every(connection, "p") == []
        assert refusal(connection, said.tid) == "token_revoked"
