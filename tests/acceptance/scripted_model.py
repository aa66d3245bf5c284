"""A model that plays from a script: the Messages API on loopback, for a real client without an account.

In a test::

    with ScriptedModel({"dev": [Call("Bash", {"command": "true"}), Say("done")]}) as model:
        ...  # run the client with ANTHROPIC_BASE_URL=model.url and ANTHROPIC_AUTH_TOKEN=dev
        model.requests("dev")

From a shell (prints the URL, then serves until it is killed)::

    python scripted_model.py SCRIPT.json [--log REQUESTS.jsonl] [--port 0]

The bearer token names the agent, and each agent has its own list of steps. Every request that offers tools
gets the agent's next step; when there is none left it says "done". A request without tools (a title), or for
a summary (a compaction), gets the text of `summary` and takes no step. Every request is kept, as it arrived.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Call:
    """The model calls ``tool``.

    ``<<REGEX>>`` in a string of ``input`` becomes group 1 of its match in the last tool result. ``tokens`` is
    what the request is said to have cost; a large number makes the client compact.
    """

    tool: str
    input: Mapping[str, Any] = field(default_factory=dict)
    tokens: int = 10


@dataclass(frozen=True)
class Say:
    """The model ends its turn with ``text``."""

    text: str
    tokens: int = 10


Step = Call | Say


@dataclass(frozen=True)
class Request:
    """One request of the client: agent, path, the body as parsed, and whether it took a step."""

    agent: str
    path: str
    body: dict[str, Any]
    stepped: bool

    @property
    def text(self) -> str:
        """The whole request as JSON, to look for words in."""
        return json.dumps(self.body, ensure_ascii=False)

    @property
    def results(self) -> list[str]:
        """The texts of the tool results in the last message."""
        messages = self.body.get("messages") or [{}]
        content = messages[-1].get("content")
        blocks = content if isinstance(content, list) else []
        return [_plain(block.get("content")) for block in blocks if block.get("type") == "tool_result"]


def _plain(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(block.get("text", "") for block in content or [])


def _filled(value: Any, last: str) -> Any:
    match value:
        case str():

            def found(mark: re.Match[str]) -> str:
                hit = re.search(mark[1], last)
                return hit[1] if hit else ""

            return re.sub(r"<<(.+?)>>", found, value)
        case Mapping():
            return {name: _filled(inner, last) for name, inner in value.items()}
        case list() | tuple():
            return [_filled(inner, last) for inner in value]
    return value


class ScriptedModel:
    """The server; a context manager. ``script`` maps an agent's name (or ``*`` for any) to its steps."""

    def __init__(
        self, script: Mapping[str, Sequence[Step]], *, log: Path | None = None, port: int = 0
    ) -> None:
        self.summary = "<analysis>none</analysis>\n<summary>\nA summary by the scripted model.\n</summary>"
        self._script = script
        self._left: dict[str, Iterator[Step]] = {}
        self._seen: list[Request] = []
        self._log = log
        self._lock = threading.Lock()
        self._answers = 0
        model = self

        class Door(_Door):
            owner = model

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Door)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> ScriptedModel:
        threading.Thread(target=self.serve, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def serve(self) -> None:
        """Serve until `__exit__`."""
        self._server.serve_forever(poll_interval=0.05)

    def requests(self, agent: str | None = None, *, stepped: bool | None = True) -> list[Request]:
        """Return the requests so far, of one agent; ``stepped=None`` includes those that took no step."""
        with self._lock:
            seen = list(self._seen)
        return [r for r in seen if agent in (None, r.agent) and stepped in (None, r.stepped)]

    def answer(self, agent: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Record a request and return the message that answers it."""
        stepped = bool(body.get("tools")) and "count_tokens" not in path and not _asks_for_summary(body)
        request = Request(agent, path, body, stepped)
        with self._lock:
            self._seen.append(request)
            self._answers += 1
            number = self._answers
            if self._log is not None:
                with self._log.open("a", encoding="utf-8") as out:
                    line = {"agent": agent, "path": path, "stepped": stepped, "body": body}
                    out.write(json.dumps(line) + "\n")
            step: Step = Say(self.summary)
            if stepped:
                if agent not in self._left:
                    self._left[agent] = iter(self._script.get(agent, self._script.get("*", ())))
                step = next(self._left[agent], Say("done"))
        block: dict[str, Any] = (
            {"type": "text", "text": step.text}
            if isinstance(step, Say)
            else {
                "type": "tool_use",
                "id": f"toolu_{number:06d}",
                "name": step.tool,
                "input": _filled(step.input, "\n".join(request.results)),
            }
        )
        return {
            "id": f"msg_{number:06d}",
            "type": "message",
            "role": "assistant",
            "model": body.get("model", "scripted"),
            "content": [block],
            "stop_reason": "end_turn" if isinstance(step, Say) else "tool_use",
            "stop_sequence": None,
            "usage": {"input_tokens": step.tokens, "output_tokens": 5},
        }


def _asks_for_summary(body: Mapping[str, Any]) -> bool:
    """Whether the client compacts: its last message then ends by asking for a ``<summary>`` block.

    The tag alone says nothing: the client's own notes, and texts that are recalled, hold it as well.
    """
    messages = body.get("messages") or [{}]
    content = messages[-1].get("content")
    texts = [block for block in content or [] if isinstance(block, dict) and block.get("type") == "text"]
    text = content if isinstance(content, str) else _plain(texts)
    return "followed by a <summary> block" in text[-1500:]


def _events(message: dict[str, Any]) -> bytes:
    """Return ``message`` as the stream of server-sent events that the API would send."""
    block = message["content"][0]
    if block["type"] == "text":
        opened, delta = {"type": "text", "text": ""}, {"type": "text_delta", "text": block["text"]}
    else:
        opened = {**block, "input": {}}
        delta = {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}
    ended = {"stop_reason": message["stop_reason"], "stop_sequence": None}
    stream: list[dict[str, Any]] = [
        {"type": "message_start", "message": {**message, "content": [], "stop_reason": None}},
        {"type": "content_block_start", "index": 0, "content_block": opened},
        {"type": "content_block_delta", "index": 0, "delta": delta},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": ended, "usage": {"output_tokens": 5}},
        {"type": "message_stop"},
    ]
    return "".join(f"event: {e['type']}\ndata: {json.dumps(e)}\n\n" for e in stream).encode()


class _Door(BaseHTTPRequestHandler):
    owner: ScriptedModel
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _send(self, data: bytes, kind: str = "application/json") -> None:
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def do_HEAD(self) -> None:
        self._send(b"")

    def do_GET(self) -> None:
        self._send(b"{}")

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("content-length", 0))) or b"{}")
        bearer = self.headers.get("authorization", "").removeprefix("Bearer ").strip()
        message = self.owner.answer(bearer or self.headers.get("x-api-key", ""), self.path, body)
        if "count_tokens" in self.path:
            self._send(b'{"input_tokens": 10}')
        elif body.get("stream"):
            self._send(_events(message), "text/event-stream")
        else:
            self._send(json.dumps(message).encode())


def main() -> None:
    """Serve a script from a file: ``{"agent": [{"call": "Bash", "input": {…}}, {"say": "text"}]}``."""
    layout = argparse.RawDescriptionHelpFormatter
    options = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    options.add_argument("script", type=Path)
    options.add_argument("--log", type=Path)
    options.add_argument("--port", type=int, default=0)
    given = options.parse_args()
    script = {
        agent: [
            Say(s["say"], s.get("tokens", 10))
            if "say" in s
            else Call(s["call"], s.get("input", {}), s.get("tokens", 10))
            for s in steps
        ]
        for agent, steps in json.loads(given.script.read_text(encoding="utf-8")).items()
    }
    model = ScriptedModel(script, log=given.log, port=given.port)
    print(model.url, flush=True)
    model.serve()


if __name__ == "__main__":
    sys.exit(main())
