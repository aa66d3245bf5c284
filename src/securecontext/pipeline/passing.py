"""A call as one service passes it on to another, and what comes back: both as JSON.

The gateway's side writes calls and reads answers, the upstream's reads calls and writes answers. The session token and
the idempotency key are not part of it: they go beside it, where no log of bodies has them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from securecontext.boundaries.policy import Standing
from securecontext.pipeline.call import Answer, Call
from securecontext.types.errors import InvalidInput, told

PATH: Final = "/gateway/v1"
"""Where an upstream takes calls over HTTP."""
_TEXTS: Final = ("operation", "session", "client_session", "agent")


class NoAnswer(Exception):
    """Bytes that are no answer of a service's."""


@dataclass(frozen=True, slots=True)
class Passed:
    """A call that a gateway passes on; who calls is said by the session token beside it.

    Attributes:
        operation: its name.
        arguments: JSON object, in words that hold on every machine.
        hook: whether a hook of the agent's session calls, which has a hook's rights alone.
        session: of the hook: the client's own.
        client_session: of an agent: the client's own, unverified; empty where it tells none.
        agent: the name that the client claims; must be the token's, or empty.
    """

    operation: str
    arguments: Mapping[str, Any]
    hook: bool = False
    session: str = ""
    client_session: str = ""
    agent: str = ""

    @classmethod
    def of(cls, call: Call) -> Passed:
        """Return a call of this service's as it is passed on."""
        who, hook = call.principal, call.principal.standing is Standing.HOOK
        session = who.session if hook else ""
        return cls(call.operation, call.arguments, hook, session, who.client_session, who.claimed_agent)

    def as_bytes(self) -> bytes:
        """Return it as JSON; text as it is, because escapes are up to three times as long."""
        told_of = {name: getattr(self, name) for name in (*_TEXTS, "hook")}
        plain = told_of | {"arguments": dict(self.arguments)}
        try:
            return json.dumps(plain, ensure_ascii=False).encode()
        except UnicodeEncodeError:  # a lone surrogate stays an escape, for the other service to refuse
            return json.dumps(plain).encode()


def parse_passed(asked: Mapping[str, Any]) -> Passed:
    """Return the call that a body says.

    Args:
        asked: a JSON object.

    Raises:
        InvalidInput: ``not_a_passed_call``.
    """
    texts = {name: asked.get(name, "") for name in _TEXTS}
    arguments, hook = asked.get("arguments"), asked.get("hook", False)
    known = asked.keys() <= {*_TEXTS, "arguments", "hook"}
    fits = all(isinstance(text, str) for text in texts.values()) and isinstance(hook, bool)
    if not (known and fits and isinstance(arguments, dict) and texts["operation"]):
        raise InvalidInput(
            "not_a_passed_call",
            "This is not how a gateway passes a call on.",
            "Use gateway and upstream of one version.",
        )
    return Passed(arguments=arguments, hook=hook, **texts)


def answer_bytes(answer: Answer) -> bytes:
    """Return an answer as JSON on one line, without its end."""
    out: dict[str, Any] = {"ok": answer.error is None, "text": answer.text, "structured": answer.structured}
    if answer.error is not None:
        out["class"] = type(answer.error).__name__
    return json.dumps(out).encode()


def parse_answer(raw: bytes) -> Answer:
    """Return the answer that bytes say.

    Raises:
        NoAnswer: they say none.
    """
    try:
        got = json.loads(raw)
        text, structured = got["text"], got["structured"]
        if not (isinstance(text, str) and isinstance(structured, dict)):
            raise TypeError
        if got["ok"] is True:
            if not text:
                raise TypeError
            return Answer(structured, text)
        return Answer(structured, text, told(str(got.get("class", "")), structured["error"]))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise NoAnswer from error
