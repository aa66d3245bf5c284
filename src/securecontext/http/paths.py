"""Paths that programs know from the predecessor: other names, methods and fields for the operations that there are.

Each line leads to one operation, through the same corridor; nothing is done here. A path that is an operation's own
route takes both names of a field. What a line does not name is an argument of the operation, or is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Result = Mapping[str, Any]
PROJECT = "projectPath"
"""Names the project's folder, at every path of this module."""
TOKEN = "session_token"  # noqa: S105 - the name of a field
"""Shows the session token of the agent that speaks, at the paths where one speaks in a name."""


@dataclass(frozen=True, slots=True)
class Path:
    """One line.

    Attributes:
        method: of the request; a GET has its fields in the query.
        path: below ``/api/v1``.
        operation: what it leads to.
        names: fields of the request that stand for an argument of another name.
        claim: the field that names the notebook of the caller, as ``X-ZC-Agent`` does; empty for none.
        labels: fields that are taken and change nothing.
        shows_token: whether `TOKEN` may be shown.
        tells: members that the answer has beside the usual ones, made from its result.
    """

    method: Literal["GET", "POST"]
    path: str
    operation: str
    names: Mapping[str, str] = field(default_factory=dict)
    claim: str = ""
    labels: frozenset[str] = frozenset()
    shows_token: bool = False
    tells: Mapping[str, Callable[[Result], Any]] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """Its name in the OpenAPI document."""
        return f"{self.method.lower()}_{self.path.strip('/').replace('/', '_').replace('-', '_')}"


def _member(name: str, default: Any = None) -> Callable[[Result], Any]:
    """Return what reads a member of a result; those that stand at their default are not in it."""
    return lambda result: result.get(name, default)


def _by_role(result: Result) -> dict[str, dict[str, int]]:
    states = ("queued", "claimed", "done", "failed")
    return {each["role"]: {state: each.get(state, 0) for state in states} for each in result.get("roles", ())}


def _said(result: Result) -> dict[str, Any]:
    return {name: result[name] for name in ("id", "type")}


_NOTEBOOK = {"agentId": "agent_id"}
_HITS = {"results": _member("hits", [])}

PATHS: tuple[Path, ...] = (
    Path("POST", "/remember", "zc_remember", _NOTEBOOK,
         tells={"count": _member("count"), "max": _member("limit")}),
    Path("POST", "/forget", "zc_forget", _NOTEBOOK, tells={"deleted": _member("forgotten")}),
    Path("GET", "/recall", "zc_recall_context", _NOTEBOOK, labels=frozenset({"role"}),
         tells={"count": _member("count"), "max": _member("limit")}),
    Path("POST", "/summarize", "zc_summarize_session"),
    Path("GET", "/status", "zc_status", _NOTEBOOK),
    Path("POST", "/index", "zc_index", tells={"source": _member("source")}),
    Path("POST", "/search", "zc_search", claim="agentId", tells=_HITS),
    Path("POST", "/search-global", "zc_search_global", tells=_HITS),
    Path("GET", "/explain", "zc_search", {"query": "queries"}, labels=frozenset({"depth"}), tells=_HITS),
    Path("POST", "/broadcast", "zc_broadcast", _NOTEBOOK, shows_token=True, tells={"message": _said}),
    Path("GET", "/broadcasts", "broadcast.list", {"sinceId": "since_id", "agentId": "agent"},
         tells={"broadcasts": _member("broadcasts", [])}),
    Path("POST", "/replay", "zc_replay", {"fromId": "from_id"}, shows_token=True,
         tells={"broadcasts": _member("broadcasts", [])}),
    Path("POST", "/ack", "zc_ack", {"id": "broadcast_id", **_NOTEBOOK}, shows_token=True),
    Path("GET", "/chain", "zc_verify_audit_chain",
         tells={"totalRows": _member("entries", 0), "brokenAt": _member("broken_at")}),
    Path("POST", "/set-key", "channel.set"),
    Path("POST", "/issue-token", "zc_issue_token", _NOTEBOOK, tells={"token": _member("token")}),
    Path("POST", "/revoke-token", "zc_revoke_token", _NOTEBOOK, tells={"revoked": _member("revoked", 0)}),
    Path("POST", "/verify-token", "token.verify",
         tells={"valid": _member("valid", False), "payload": _member("payload")}),
    Path("GET", "/queue/stats-by-role", "zc_queue_stats", tells={"byRole": _by_role}),
    Path("GET", "/queue/in-flight", "queue.in-flight", tells={"count": _member("count", 0)}),
)  # fmt: skip
"""Every line; no two have method and path in common."""
