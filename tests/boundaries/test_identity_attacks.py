"""Attacks on who one is: forged, foreign, revoked and missing tokens, other agents' notebooks, stolen databases."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import sqlite3
from dataclasses import replace
from datetime import timedelta

import pytest

from securecontext.boundaries.policy import Role, Standing
from securecontext.boundaries.tokens import TTL_SECONDS
from securecontext.pipeline.callers import introduce
from securecontext.types.errors import Denied, Unauthenticated
from tests.house_case import AGENT, PERSON, named
from tests.identity_case import OPERATOR, PHRASE, TERMINAL, call, holder, issue, shown, with_operator


@pytest.fixture
def operator(house):
    return with_operator(house)


def refused(house, token, **headers):
    with pytest.raises(Denied) as caught:
        shown(house, token, **headers)
    return caught.value.code


def told(token):
    body = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))


def retold(token, **changes):
    """The token with other claims and the MAC it had."""
    said = {**told(token), **changes}
    plain = json.dumps(said, sort_keys=True, separators=(",", ":")).encode()
    return f"zcst.{base64.urlsafe_b64encode(plain).decode().rstrip('=')}.{token.rsplit('.', 1)[1]}"


def test_rt_s2_06_a_token_makes_its_holder_the_agent_it_names(house, operator):
    caller = shown(house, issue(house, operator, "alice", Role.DEVELOPER))
    assert call(house, caller, "zc_remember", key="db", value="PostgreSQL").error is None
    entry = house.entries(1)[0]
    assert (entry["stream"], entry["outcome"], entry["agent"]) == (
        f"agent:alice/{caller.principal.session}", "ok", "",
    )  # fmt: skip
    assert house.sql("SELECT agent, created_by FROM facts") == [("alice", "agent:alice")]


@pytest.mark.parametrize(
    "changes",
    [
        {"aid": "bob"},
        {"role": "orchestrator"},
        {"ph": "prj_other"},
        {"sid": "ses_other"},
        {"tid": "tok_other"},
        {"exp": 1 << 39},
    ],
    ids=str,
)
def test_rt_s2_01_claims_that_were_changed_are_refused(house, operator, changes):
    token = issue(house, operator)
    assert retold(token) == token
    assert refused(house, retold(token, **changes)) == "token_wrong"


@pytest.mark.only_in_files("reads or edits the project's file by hand")
def test_rt_s2_01_agent_a_forges_a_row_of_b_and_verification_finds_it(house, operator):
    """With all that A has: its token, and the database's file. It copies its own entry into B's stream."""
    for agent in ("alice", "bob"):
        caller = shown(house, issue(house, operator, agent))
        assert call(house, caller, "zc_remember", key="k", value=f"said by {agent}").error is None
    assert house.do("audit.verify", PERSON)["status"] in ("OK", "UNANCHORED")
    streams = house.sql("SELECT stream, seq FROM ledger_entries WHERE stream LIKE 'agent:%' ORDER BY stream")
    (alice, _), (bob, seq) = streams[0], streams[-1]
    assert alice.startswith("agent:alice/") and bob.startswith("agent:bob/")
    connection = sqlite3.connect(house.app.stores.path(house.project.id))
    with connection:
        connection.execute(
            "UPDATE ledger_entries SET (canonical, mac, body_digest) ="
            " (SELECT replace(canonical, 'alice', 'bob'), mac, body_digest FROM ledger_entries WHERE stream = ?)"
            " WHERE stream = ? AND seq = ?",
            (alice, bob, seq),
        )
    connection.close()
    verdict = house.do("audit.verify", PERSON)
    assert verdict["status"] == "TAMPERED" and verdict["broken_at"]["stream"] == bob


def test_rt_s2_02_the_token_of_a_names_no_b(house, operator):
    token = issue(house, operator, "alice")
    assert refused(house, token, agent="bob") == "token_of_other_agent"
    assert shown(house, token, agent="alice").principal.agent == "alice"


@pytest.mark.parametrize("token", ["zcst.", "zcst.x", "x", "Bearer", " ", "zcst..", "0" * 64, "\udc80"])
def test_rt_s2_03_what_is_no_token_is_refused_and_is_not_taken_for_none(house, token):
    assert refused(house, token) == "token_malformed"


def test_rt_s2_04_a_revoked_token_is_refused_at_the_door_and_on_a_connection_that_is_open(house, operator):
    token = issue(house, operator, "alice")
    caller = shown(house, token)
    assert call(house, caller, "zc_status").error is None
    house.do("zc_revoke_token", operator, agent_id="alice")
    assert refused(house, token) == "token_revoked"
    answer = call(house, caller, "zc_remember", key="k", value="v")
    assert answer.error is not None and answer.error.code == "token_revoked"
    assert house.entries(1)[0]["outcome"] == "token_revoked"
    assert house.shown() == {}


def test_a_token_ends_on_a_connection_that_is_open(house, operator):
    caller = shown(house, issue(house, operator))
    house.moment += timedelta(seconds=TTL_SECONDS)
    answer = call(house, caller, "zc_status")
    assert answer.error is not None and answer.error.code == "token_expired"


def test_rt_s2_05_a_tokens_project_wins_over_any_path(house, operator):
    token = issue(house, operator)
    other = house.fresh_project("another")
    caller = shown(house, token, **{"project-path": other.folder})
    assert caller.project is not None and caller.project.id == house.project.id
    assert call(house, caller, "zc_remember", key="here", value="v").error is None
    assert house.shown() == {"here": "v"}
    answer = house.ask("zc_remember", {"key": "k", "value": "v"}, who=caller.principal, project=other)
    assert isinstance(answer.error, Unauthenticated) and answer.error.code == "token_of_other_project"


def test_rt_s2_05_a_token_does_not_read_other_projects(house, operator):
    other = house.fresh_project("another")
    assert house.ask("zc_remember", {"key": "k", "value": "quetzal"}, project=other).error is None
    for role in Role:
        caller = shown(house, issue(house, operator, "alice", role))
        answer = call(house, caller, "zc_search_global", queries=["quetzal"])
        assert (
            answer.error is not None and answer.error.code == "not_permitted" and "quetzal" not in answer.text
        )


def test_w_19_a_token_is_checked_wherever_it_is_shown_and_none_is_no_key(house, operator):
    """Leaving the token out gives a single session's rights, and no wrong one falls back to them."""
    for standing in Standing:
        with pytest.raises(Unauthenticated):
            introduce(house.app, standing, "mcp", 1000, {"token": "zcst.wrong"})
    for role in ("orchestrator", "person"):
        bare = introduce(house.app, Standing.AGENT, "mcp", 1000, {"role": role, "agent": role}).principal
        assert (bare.role, bare.token, bare.agent) == (None, "", "")
        assert house.refused("zc_issue_token", bare, agent_id="x", role="worker") == "not_permitted"
        assert house.refused("zc_revoke_token", bare, every=True) == "not_permitted"


def test_w_19_a_token_counts_less_than_a_person_at_every_door(house, operator):
    """A token shown at the person's own door makes an agent, never a person with a token."""
    token = issue(house, operator, "alice", Role.ORCHESTRATOR)
    caller = introduce(house.app, Standing.PERSON, "cli", 1000, {"token": token}, terminal=TERMINAL)
    assert (caller.principal.standing, caller.principal.terminal) == (Standing.AGENT, "")
    answer = call(house, caller, "memory.list")
    assert answer.error is not None and answer.error.code == "not_permitted"


def test_w_20_nobody_but_an_orchestrator_or_the_operator_issues_or_revokes(house, operator):
    asking = [AGENT, PERSON, replace(OPERATOR, terminal="tty9.9.9"), replace(OPERATOR, terminal="")]
    asking += [
        holder(house, issue(house, operator, "a", role)) for role in Role if role is not Role.ORCHESTRATOR
    ]
    for who in asking:
        for name, arguments in (
            ("zc_issue_token", {"agent_id": "eve", "role": "orchestrator"}),
            ("zc_revoke_token", {"every": True}),
        ):
            assert house.refused(name, who, **arguments) in ("not_permitted", "operator_locked")
    boss = holder(house, issue(house, operator, "boss", Role.ORCHESTRATOR))
    assert issue(house, boss, "dev", Role.DEVELOPER)


def test_w_20_a_revoked_orchestrator_issues_nothing(house, operator):
    boss = holder(house, issue(house, operator, "boss", Role.ORCHESTRATOR))
    house.do("zc_revoke_token", operator, agent_id="boss")
    assert house.refused("zc_issue_token", boss, agent_id="x", role="worker") == "token_revoked"


def test_w_20_what_a_revoked_orchestrator_issued_ends_with_it(house, operator):
    boss = shown(house, issue(house, operator, "boss", Role.ORCHESTRATOR))
    second = shown(house, issue(house, boss.principal, "second", Role.ORCHESTRATOR))
    worker = issue(house, second.principal, "worker")
    apart = shown(house, issue(house, operator, "apart"))
    told = house.do("zc_revoke_token", operator, agent_id="boss")
    assert (told["revoked"], told["issued_by_them"], told["active"]) == (3, 2, 1)
    assert refused(house, worker) == "token_revoked"
    answer = call(house, second, "zc_issue_token", agent_id="x", role="worker")
    assert answer.error is not None and answer.error.code == "token_revoked"
    assert call(house, apart, "zc_status").error is None


def test_w_20_a_token_revoked_while_its_call_waits_issues_nothing(house, operator):
    """The door and the corridor asked before; the transaction that issues asks again."""
    boss = holder(house, issue(house, operator, "boss", Role.ORCHESTRATOR))
    asked = house.app.credentials.check

    def revoked_just_after(token):
        asked(token)
        house.do("zc_revoke_token", operator, agent_id="boss")

    house.app.credentials.check = revoked_just_after
    assert house.refused("zc_issue_token", boss, agent_id="x", role="worker") == "token_revoked"
    assert house.do("token.list", operator)["tokens"] == []


def test_w_20_an_orchestrator_revokes_in_its_own_project_alone(house, operator):
    boss = holder(house, issue(house, operator, "boss", Role.ORCHESTRATOR))
    other = house.fresh_project("another")
    answer = house.ask("zc_issue_token", {"agent_id": "far", "role": "worker"}, who=operator, project=other)
    far = answer.structured["token"]
    assert house.refused("zc_revoke_token", boss, agent_id="far") == "no_such_token"
    assert house.do("zc_revoke_token", boss, every=True)["revoked"] == 1
    assert shown(house, far).project.id == other.id


def test_w_22_the_database_holds_no_token_no_mac_and_no_key(house, operator):
    """Whoever steals the databases can make no token: not even the answer of the call that issued one is kept."""
    answer = house.ask(
        "zc_issue_token", {"agent_id": "alice", "role": "orchestrator"}, who=operator, key="retried"
    )
    token = answer.structured["token"]
    boss = shown(house, token)
    again = call(house, boss, "zc_issue_token", agent_id="bob", role="worker").structured["token"]
    house.app.close()
    keys = house.app.settings.home / "keys"
    stored = b"\0".join(
        p.read_bytes() for p in house.app.settings.home.rglob("*") if p.is_file() and p.parent != keys
    )
    secret = house.app.credentials._key._key
    for secrets in (token, again):
        for part in secrets.split(".")[1:]:
            assert part.encode() not in stored
    for form in (secret, secret.hex().encode(), base64.b64encode(secret)):
        assert form not in stored


@pytest.mark.only_in_files("reads or edits the project's file by hand")
def test_w_22_no_stored_value_is_the_key(house, operator):
    """The predecessor's key was a row of the database; every value of ours is tried as one."""
    token = issue(house, operator)
    body, _, mac = token.rpartition(".")
    house.app.close()
    for file in (house.app.settings.home / "machine.db", house.app.stores.path(house.project.id)):
        connection = sqlite3.connect(file)
        names = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for name in names:
            for row in connection.execute(f'SELECT * FROM "{name}"'):
                for value in row:
                    key = value if isinstance(value, bytes) else str(value).encode()
                    assert hmac.new(key, body.encode(), hashlib.sha256).hexdigest() != mac
        connection.close()


def test_a_retry_of_issuing_is_not_answered_from_what_was_kept(house, operator):
    asked = {"agent_id": "alice", "role": "worker"}
    first, second = (house.ask("zc_issue_token", asked, who=operator, key="same") for _ in range(2))
    assert first.structured["token"] != second.structured["token"]


@pytest.mark.parametrize("name", ["zc_remember", "zc_recall_context", "zc_forget", "zc_status"])
def test_w_27_a_token_opens_no_other_notebook(house, operator, name):
    given = {"zc_remember": {"key": "k", "value": "v"}, "zc_forget": {"key": "k"}}.get(name, {})
    for role in Role:
        caller = shown(house, issue(house, operator, "alice", role))
        answer = call(house, caller, name, agent_id="bob", **given)
        assert answer.error is not None and answer.error.code == "other_agent"


def test_w_27_a_claim_opens_a_notebook_only_where_there_is_no_token(house, operator):
    house.remember("mine", "alice's own", who=named("alice"))
    bob = shown(house, issue(house, operator, "bob"))
    assert "alice's own" not in call(house, bob, "zc_recall_context").text
    assert call(house, bob, "zc_search", queries=["alice's own"]).structured.get("hits", []) == []


def test_the_passphrase_is_nowhere_on_the_disk(house, operator):
    house.app.close()
    assert PHRASE.encode() not in house.bytes_on_disk()
