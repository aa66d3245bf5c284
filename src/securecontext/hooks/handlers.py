"""What Claude Code's hooks report, parsed here so that the hook itself need not: bytes in, exit code and bytes out.

A hook of memory fails open: whatever goes wrong is logged, and the client's session goes on. Before a write the hook
is told whether another agent holds the file, or that nobody could look. Of a tool call only its
name, its outcome, a path, the first line of a command (redacted) and the to-do list are kept, never a content.
Payloads: https://code.claude.com/docs/en/hooks
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from securecontext.boundaries import limits
from securecontext.operations.sessions import LONGEST_MS
from securecontext.pipeline.call import Answer
from securecontext.pipeline.callers import Caller
from securecontext.pipeline.corridor import Corridor
from securecontext.types.errors import InvalidInput, ZcError
from securecontext.types.ids import hook_session
from securecontext.validators.input import clean_text
from securecontext.validators.secrets import redact, scan

log = logging.getLogger("securecontext.hooks")

_CHARACTERS = 3_900
_LOOK_AHEAD = 4_000
"""Characters beyond a cut that are searched for secrets which begin before it."""
_FILE_KEYS = ("file_path", "notebook_path", "path")
_UNCHECKED = 3
"""The exit code that tells the hook of a write that nobody could look; it knows how strict its user is."""
_UNDELIVERED = 9
"""The exit code that tells the hook of what could not be handed on to where it is kept: the hook spools it."""
_OWN_TOOLS = "mcp__plugin_securecontext_zc-ctx__"


@dataclass(frozen=True, slots=True)
class HookAnswer:
    """What the hook prints and how it ends."""

    exit: int = 0
    stdout: bytes = b""
    stderr: bytes = b""
    trouble: ZcError | None = None
    """Why what was reported could not be entered; the hook is not told."""
    refused: ZcError | None = None
    """Why it never became a call: to be entered as such."""

    def wire(self) -> bytes:
        """Return the bytes for the hook: a line with exit code and lengths, then both texts."""
        head = f"exit {self.exit} {len(self.stdout)} {len(self.stderr)}\n".encode()
        return head + self.stdout + self.stderr


OPEN = HookAnswer()
"""No opinion: the session goes on."""


def session_of(payload: dict[str, Any]) -> str:
    """Return the client's session id, in the form that a stream may be named by; a secret is replaced."""
    given = str(payload.get("session_id", ""))[:_LOOK_AHEAD]
    name = hook_session(given)
    found = scan(given) or scan(name)
    return hook_session(f"redacted-{found[0].fingerprint}") if found else name


def parse(raw: bytes) -> dict[str, Any]:
    """Return the payload; an empty object for what is none."""
    try:
        payload = json.loads(raw)
    except (ValueError, RecursionError):
        return {}
    return payload if isinstance(payload, dict) else {}


def answer(corridor: Corridor, caller: Caller, event: str, payload: dict[str, Any]) -> HookAnswer:
    """Return what the hook of an event prints."""
    if event == "ping":  # asked by `zc doctor`, which runs the installed hook
        return HookAnswer(stdout=b"pong")
    handler = _HANDLERS.get(event)
    if handler is None:
        log.warning("a hook reported the unknown event %r", event[:40])
        return HookAnswer(
            refused=InvalidInput("unknown_event", "No hook has this event.", "Run `zc install claude-code`.")
        )
    if not caller.has_project:
        return OPEN if caller.trouble is None else refused(event, caller.trouble)
    return handler(corridor, in_session(caller, payload), payload)


def in_session(caller: Caller, payload: dict[str, Any]) -> Caller:
    """Return the caller as one of the client's session that the payload names."""
    return replace(caller, principal=replace(caller.principal, session=session_of(payload)))


def refused(event: str, error: ZcError) -> HookAnswer:
    """Return what a hook prints whose caller is refused: at the session's start one line, for a person to act on."""
    if event == "pre-write":
        return HookAnswer(_UNCHECKED, refused=error)
    if event != "session-start":
        return HookAnswer(refused=error)
    said = _say({"systemMessage": f"SecureContext could not recall: {error.message} {error.hint}"})
    return replace(said, refused=error)


def _session_start(corridor: Corridor, caller: Caller, payload: dict[str, Any]) -> HookAnswer:
    done = _call(corridor, caller, "session.start", {"source": _text(payload.get("source"), 40) or "startup"})
    if done.error is not None:  # a call, and entered as one
        return replace(refused("session-start", done.error), refused=None)
    context = done.text[: limits.HOOK_CHARACTERS - 500]
    return _say({"hookSpecificOutput": {"hookEventName": "SessionStart", "additionalContext": context}})


def _before_writing(corridor: Corridor, caller: Caller, payload: dict[str, Any]) -> HookAnswer:
    given = payload.get("tool_input")
    given = given if isinstance(given, dict) else {}
    named = [given[key] for key in _FILE_KEYS if isinstance(given.get(key), str)]
    folder = payload.get("cwd") if isinstance(payload.get("cwd"), str) else "/"
    unread = isinstance(payload.get("unread_bytes"), int)
    if not named and not unread:
        return OPEN
    files = [
        (file if file.startswith("/") else f"{folder}/{file}").encode("utf-8", "replace").decode()
        for file in named
    ]
    done = _call(corridor, caller, "ownership.check", {"files": files, "unread": unread})
    if done.error is None:
        return OPEN
    if done.error.code != "file_held":
        return HookAnswer(_UNCHECKED, trouble=done.error)
    reason = f"{done.error.message} {done.error.hint}"
    decision = {
        "hookEventName": "PreToolUse",
        "permissionDecision": "deny",
        "permissionDecisionReason": reason,
    }
    return _say({"hookSpecificOutput": decision})


def _tool_used(corridor: Corridor, caller: Caller, payload: dict[str, Any]) -> HookAnswer:
    return _observed(corridor, caller, payload, "ok")


def _tool_failed(corridor: Corridor, caller: Caller, payload: dict[str, Any]) -> HookAnswer:
    return _observed(corridor, caller, payload, "failed")


def _observed(corridor: Corridor, caller: Caller, payload: dict[str, Any], outcome: str) -> HookAnswer:
    tool = _text(payload.get("tool_name"), 190)
    ident = _text(payload.get("tool_use_id"), 190)
    if not tool and isinstance(
        payload.get("unread_bytes"), int
    ):  # too large to look into: it happened all the same
        tool = "unknown"
    if not tool or _own(tool, payload):
        return OPEN
    given = payload.get("tool_input")
    given = given if isinstance(given, dict) else {}
    arguments: dict[str, Any] = {"tool": tool, "tool_use_id": ident or "none", "outcome": outcome}
    duration = payload.get("duration_ms")
    if isinstance(duration, int) and not isinstance(duration, bool) and 0 <= duration <= LONGEST_MS:
        arguments["duration_ms"] = duration
    file = next((given[k] for k in _FILE_KEYS if isinstance(given.get(k), str)), payload.get("file_path"))
    for name, value in (
        ("file", file),
        ("command", given.get("command")),
        ("error", payload.get("error")),
        ("task", _task(given, payload.get("tool_response")) if tool in _TASK_TOOLS else ""),
        ("spooled_at", payload.get("spooled_at")),
    ):
        text = _text(
            value, 40 if name == "spooled_at" else _CHARACTERS, multiline=name in ("command", "error")
        )
        if text:
            arguments[name] = text
    plan = _plan(given)
    if plan:
        arguments["plan"] = plan
    key = observation_key(payload, outcome) or _spooled_as(payload)
    return _note(corridor, caller, "session.observed", arguments, key)


def _own(tool: str, payload: dict[str, Any]) -> bool:
    """Say whether a call went to our own server, which has entered it already.

    The client names the server; where it does not, its name for the tool counts, which only a plugin of our name has
    unless a project's own server is made to look like it.
    """
    server = payload.get("mcp_server")
    from_plugin = server.get("source") == "plugin" if isinstance(server, dict) else True
    return tool.startswith(_OWN_TOOLS) and from_plugin


def observation_key(payload: dict[str, Any], outcome: str) -> str:
    """Return what makes a reported tool call one and the same however often it is told; empty where nothing does."""
    ident = _text(payload.get("tool_use_id"), 80)
    return f"{session_of(payload)}:{ident}:{outcome}" if ident else ""


def _spooled_as(payload: dict[str, Any]) -> str:
    """Return the key of a note from the spool, so that one that is read twice is entered once."""
    name = _text(payload.get("spooled_as"), 80)
    return f"spool:{name}" if name else ""


_TASK_TOOLS = frozenset({"TaskCreate", "TaskUpdate"})


def _task(given: dict[str, Any], response: object) -> str:
    """Return one task as a call of the client's changed it, as JSON: its id, and what is new of status and subject."""
    made = response.get("task") if isinstance(response, dict) else None
    ident = _text(made.get("id") if isinstance(made, dict) else given.get("taskId"), 40)
    if not ident:
        return ""
    status = _text(given.get("status"), 40) or ("pending" if isinstance(made, dict) else "")
    told = {"id": ident, "status": status, "subject": _text(given.get("subject"), 150).replace("\n", " ")}
    return json.dumps({name: value for name, value in told.items() if value}, ensure_ascii=False)


def _plan(given: dict[str, Any]) -> list[str]:
    """Return the to-do list that the client's own tool was given, one line an item."""
    todos = given.get("todos")
    if not isinstance(todos, list):
        return []
    out = []
    for item in todos[:40]:
        if isinstance(item, dict) and isinstance(item.get("content"), str):
            out.append(_text(f"[{item.get('status', '?')}] {item['content']}", 300))
    return [line for line in out if line]


def _checkpoint(corridor: Corridor, caller: Caller, payload: dict[str, Any]) -> HookAnswer:
    reason = "compaction: " + (_text(payload.get("trigger"), 40) or "unknown")
    return _note(corridor, caller, "session.checkpoint", {"reason": reason}, _spooled_as(payload))


def _compacted(corridor: Corridor, caller: Caller, payload: dict[str, Any]) -> HookAnswer:
    summary = _summary(_text(payload.get("compact_summary"), limits.CONTENT_CHARACTERS))
    return _note(corridor, caller, "session.compacted", {"summary": summary}) if summary else OPEN


def _summary(text: str) -> str:
    """Return the summary without the tags around it and without the analysis that a client lets go before it."""
    _, tag, inside = text.partition("<summary>")
    if tag:
        before, closing, _ = inside.rpartition("</summary>")
        return (before if closing else inside).strip()
    before, tag, rest = text.partition("<analysis>")
    return (before + rest.partition("</analysis>")[2]).strip() if tag else text.strip()


def _session_end(corridor: Corridor, caller: Caller, payload: dict[str, Any]) -> HookAnswer:
    reason = _text(payload.get("reason"), 60) or "other"
    given = {"reason": reason, "ended": True}
    return _note(corridor, caller, "session.checkpoint", given, _spooled_as(payload))


def _stop(corridor: Corridor, caller: Caller, payload: dict[str, Any]) -> HookAnswer:
    said = _text(payload.get("last_assistant_message"), _CHARACTERS, multiline=True)
    return _note(corridor, caller, "session.turn", {"said": said} if said else {}, _spooled_as(payload))


_HANDLERS: dict[str, Callable[[Corridor, Caller, dict[str, Any]], HookAnswer]] = {
    "session-start": _session_start,
    "pre-write": _before_writing,
    "tool-used": _tool_used,
    "tool-failed": _tool_failed,
    "pre-compact": _checkpoint,
    "post-compact": _compacted,
    "session-end": _session_end,
    "stop": _stop,
}


def _note(
    corridor: Corridor, caller: Caller, operation: str, arguments: dict[str, object], key: str = ""
) -> HookAnswer:
    done = _call(corridor, caller, operation, arguments, key)
    if done.error is None:
        return OPEN
    undelivered = done.error.code == "upstream_unreachable"
    return HookAnswer(_UNDELIVERED if undelivered else 0, trouble=done.error)


def _call(
    corridor: Corridor, caller: Caller, operation: str, arguments: dict[str, object], key: str = ""
) -> Answer:
    done = caller.call(corridor, operation, arguments, key)
    if done.error is not None:
        log.warning("%s of %s was refused: %s", operation, caller.principal.session, done.error.code)
    return done


def _text(value: object, limit: int, *, multiline: bool = False) -> str:
    """Return the beginning of a text, in a form that intake takes; a cut is marked. Empty where nothing is left.

    Secrets are taken out before the cut, which could leave half of one that nobody recognises.
    """
    if not isinstance(value, str):
        return ""
    kept = "".join(
        c if c.isprintable() or (multiline and c == "\n") else " " for c in value[: limit + _LOOK_AHEAD]
    )
    if len(kept) > limit:
        kept = redact(kept).text
    if len(kept) > limit:
        kept = kept[: limit - 1] + "…"
    try:
        return clean_text(kept, field="text", limit=limit, multiline=multiline)
    except InvalidInput:  # blank, or a heap of combining marks: nothing that anybody could read
        return ""


def _say(output: dict[str, Any]) -> HookAnswer:
    return HookAnswer(stdout=json.dumps(output, ensure_ascii=False).encode("utf-8", "replace"))
