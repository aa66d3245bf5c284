"""``zc mcp``: what Claude Code starts. A thin pipe between its standard streams and the user's service.

Standard library only; run as a file by ``python -I -S`` it needs 10 MB and a few dozen milliseconds. It adds an
idempotency key to each tool call, so that a call may be sent again; when the service goes away in mid-session (it was
killed, updated, or stopped), the shim starts or finds the next one, replays the handshake, swallows the second answer
to it, and resends what was not answered. The client notices one slower call.

Where there is no service to be had when a session begins, the shim shakes hands by itself: a client that is refused
there gives the server up for the session, or for longer. It then lists no tools, answers with the reason, tries again
now and then, and tells the client to look anew once a service answers.
"""

from __future__ import annotations

import json
import os
import select
import socket
import sys
import time

if __name__ == "__main__":  # run as a file: the package is not on the path of an isolated interpreter
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from securecontext import __version__, handover, rendezvous

KEY = "securecontext/idempotency-key"
UNSENT = "securecontext/unsent"
"""Method that tells the service of a message that is too large to be sent on, so that it refuses and enters it."""
TRIES = 3
"""Connections in a row on which the same messages were sent without any answer, until they are answered by us."""
START_SECONDS = 20.0
LAST_SECONDS = 5.0
"""How long a client that has closed its end is still owed the answers to what it asked."""
PAUSE, LONGEST_PAUSE = 5.0, 60.0
"""Seconds until a session without a service looks for one again; each pause is twice the one before."""
ROOM = 1 << 20
"""Bytes that may wait in one direction; until they have gone, nothing more is read from the other side."""
CHUNK = 1 << 18
SERVER_ERROR, METHOD_NOT_FOUND = -32000, -32601
"""Numbers of JSON-RPC errors."""
OLDEST_PROTOCOL = "2024-11-05"
PIPE_CHUNK = 4096
"""What a pipe that is ready takes without blocking."""


class Shim:
    """One client's session: what it said that a new service must hear again.

    Both directions are moved as far as each side takes them, so that neither can block the other.

    Args:
        home: the data folder.
        command: how to start a service; None for this interpreter's own.
    """

    def __init__(self, home: str, command: list[str] | None = None) -> None:
        self.home = home
        self.command = command
        self.session = "mcp-" + os.urandom(6).hex()
        # Once: the folder that the session began in may be removed while it goes on.
        self.headers = {**rendezvous.caller_headers(version=__version__), "session": self.session}
        self.socket: socket.socket | None = None
        self.from_client = bytearray()
        self.to_client = bytearray()
        self.from_service = bytearray()
        self.to_service = bytearray()
        self.client_open = True
        self.initialize: dict[str, object] | None = None
        self.initialized: bytes | None = None
        self.swallowed: str | None = None
        self.pending: dict[str, bytes] = {}
        self.fruitless = 0
        self.greeted = False
        self.calls = 0
        self.alone = False
        self.pause = PAUSE
        self.look_at = 0.0
        self.told = ""

    def run(self) -> int:
        """Serve until the client closes its end; return the exit code."""
        last = 0.0
        while True:
            if not self.client_open:
                last = last or time.monotonic() + LAST_SECONDS
                left = last - time.monotonic()
                waiting = self.to_client or (self.socket is not None and self.pending)
                if not waiting or left <= 0:
                    self._drop()
                    return 0
                ready = self._await(left)
            elif self.alone and self.socket is None:
                ready = self._await(max(self.look_at - time.monotonic(), 0.0))
                if time.monotonic() >= self.look_at:
                    self._connect()
            else:
                ready = self._await(None)
            if 1 in ready[1] and not self._write_client():
                self._drop()
                return 0
            if self.socket is not None and self.socket in ready[1]:
                self._write_service()
            if self.socket is not None and self.socket in ready[0]:
                self._read_service()
            if 0 in ready[0]:
                self._read_client()

    def _await(self, seconds: float | None) -> tuple[list[socket.socket | int], list[socket.socket | int]]:
        """Wait until something can be moved; return what can be read and what can be written."""
        readable: list[socket.socket | int] = []
        writable: list[socket.socket | int] = []
        if self.client_open and len(self.to_service) < ROOM:
            readable.append(0)
        if self.to_client:
            writable.append(1)
        if self.socket is not None:
            if len(self.to_client) < ROOM:
                readable.append(self.socket)
            if self.to_service:
                writable.append(self.socket)
        ready = select.select(readable, writable, [], seconds)
        return ready[0], ready[1]

    # From the client

    def _read_client(self) -> None:
        try:
            data = os.read(0, CHUNK)
        except OSError:
            data = b""
        if not data:
            self.client_open = False
            return
        searched = len(self.from_client)
        self.from_client += data
        while (end := self.from_client.find(b"\n", searched)) >= 0:
            line = bytes(memoryview(self.from_client)[:end])
            del self.from_client[: end + 1]
            searched = 0
            if line.strip():
                self._forward(line)

    def _forward(self, line: bytes) -> None:
        """Send one message on, remembering it for as long as it is unanswered."""
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            message = None
        if not isinstance(message, dict):
            self._send(line, None)
            return
        ident, method = message.get("id"), message.get("method")
        if method == "initialize":
            self.initialize = message
        elif method == "notifications/initialized":
            self.initialized = line
        elif method == "notifications/cancelled":
            params = message.get("params")
            wanted = params.get("requestId") if isinstance(params, dict) else None
            for name in _names(wanted):
                self.pending.pop(name, None)
        elif method == "tools/call":
            line = self._keyed(message)
        asks = method is not None and isinstance(ident, str | int) and not isinstance(ident, bool)
        too_long = len(line) >= rendezvous.LINE_BYTES
        if too_long or rendezvous.crowded(line):  # the service is told that, and refuses what it does not see
            code = "line_too_long" if too_long else "too_many_values"
            unsent = {"jsonrpc": "2.0", "method": UNSENT, "params": {"code": code}}
            line = json.dumps(unsent | {"id": ident} if asks else unsent).encode()
        self._send(line, json.dumps(ident) if asks else None)

    def _keyed(self, message: dict[str, object]) -> bytes:
        params = message.get("params")
        if isinstance(params, dict):
            meta = params.get("_meta")
            meta = dict(meta) if isinstance(meta, dict) else {}
            self.calls += 1
            meta.setdefault(KEY, f"{self.session}-{self.calls}-{os.urandom(4).hex()}")
            message = {**message, "params": {**params, "_meta": meta}}
        try:
            return json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode()
        except UnicodeEncodeError:  # a lone surrogate stays the escape that it was, for the service to refuse
            return json.dumps(message, separators=(",", ":")).encode()

    # To the service

    def _send(self, line: bytes, asked: str | None) -> None:
        """Queue a line; one that asks is kept until it is answered, others may be lost with their session."""
        if asked is not None:
            self.pending[asked] = line
        if self.socket is None:
            if asked is not None or not self.alone:  # nobody waits for what a lone shim is told
                self._connect(() if asked is not None else (line,))
        else:
            self.to_service += line + b"\n"

    def _connect(self, loose: tuple[bytes, ...] = ()) -> None:
        """Reach a service, and queue for it the session so far and what is unanswered."""
        why = rendezvous.reason(self.home) if self.fruitless else ""
        if why:
            self._give_up(f"The service does not start: {why}")
            return
        if self.fruitless >= TRIES:
            self._give_up("The service goes away whenever this call is made. See `zc service logs`.")
            return
        self.fruitless += 1
        try:
            self.socket = handover.reach(self.home, START_SECONDS, self.command)
        except (OSError, rendezvous.ServiceAway) as error:
            self._give_up(str(error))
            return
        self.socket.setblocking(False)
        self.from_service.clear()
        self.greeted = False
        out = [rendezvous.preamble("mcp/1", self.headers)]
        self.swallowed = None
        if self.initialize is not None and json.dumps(self.initialize.get("id")) not in self.pending:
            self.swallowed = f"again-{os.urandom(6).hex()}"
            out.append(json.dumps({**self.initialize, "id": self.swallowed}).encode() + b"\n")
            if self.initialized is not None:
                out.append(self.initialized + b"\n")
        out += [line + b"\n" for line in (*self.pending.values(), *loose)]
        self.to_service = bytearray().join(out)

    def _write_service(self) -> None:
        assert self.socket is not None  # noqa: S101 - the caller selected on it
        try:
            with memoryview(self.to_service) as waiting, waiting[:CHUNK] as part:
                sent = self.socket.send(part)
            del self.to_service[:sent]
        except BlockingIOError:
            return
        except OSError:
            self.to_service.clear()  # what it has answered is still to be read: reading finds the end

    def _drop(self) -> None:
        self.to_service.clear()
        if self.socket is not None:
            self.socket.close()
            self.socket = None

    def _give_up(self, why: str, code: str = "service_away", hint: str = "Run `zc doctor`.") -> None:
        """Answer everything that waits: the handshake by ourselves, the rest with what is wrong and what to do."""
        self._drop()
        self.fruitless = 0
        waiting, self.pending = self.pending, {}
        said = f"{why} {hint}" if hint not in why else why
        for ident, line in waiting.items():
            self._answer_alone(json.loads(ident), json.loads(line), code, said, hint)
        self.look_at = time.monotonic() + self.pause
        self.pause = min(self.pause * 2, LONGEST_PAUSE)
        if why == self.told:
            return
        self.told = why
        try:
            sys.stderr.write(f"zc mcp: {why}\n")
            sys.stderr.flush()
        except OSError:
            pass  # nobody listens there

    def _answer_alone(
        self, ident: object, message: dict[str, object], code: str, said: str, hint: str
    ) -> None:
        """Answer one request without a service."""
        method, params = message.get("method"), message.get("params")
        if method == "initialize":
            self.alone = True
            wanted = params.get("protocolVersion") if isinstance(params, dict) else None
            result: dict[str, object] = {
                "protocolVersion": wanted if isinstance(wanted, str) else OLDEST_PROTOCOL,
                "capabilities": {"tools": {"listChanged": True}},
                "serverInfo": {"name": "zc-ctx", "version": __version__},
                "instructions": f"SecureContext has no memory to offer now. {said}",
            }
        elif method == "tools/list" and self.alone:
            result = {"tools": []}
        elif method == "server/discover":  # a client of that protocol falls back to the handshake
            self._refuse(ident, code, said, hint, number=METHOD_NOT_FOUND)
            return
        else:
            self._refuse(ident, code, said, hint)
            return
        self._answer(json.dumps({"jsonrpc": "2.0", "id": ident, "result": result}).encode())

    def _refuse(self, ident: object, code: str, message: str, hint: str, number: int = SERVER_ERROR) -> None:
        error = {"code": number, "message": message, "data": {"code": code, "hint": hint}}
        self._answer(json.dumps({"jsonrpc": "2.0", "id": ident, "error": error}).encode())

    # From the service

    def _read_service(self) -> None:
        assert self.socket is not None  # noqa: S101 - the caller selected on it
        try:
            data = self.socket.recv(CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:  # it is gone: if somebody waits for an answer, get another one at once
            self._drop()
            if self.pending:
                self._connect()
            return
        searched = len(self.from_service)
        self.from_service += data
        while self.socket is not None and (end := self.from_service.find(b"\n", searched)) >= 0:
            line = bytes(memoryview(self.from_service)[:end])
            del self.from_service[: end + 1]
            searched = 0
            self._deliver(line)

    def _deliver(self, line: bytes) -> None:
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            message = None
        if not self.greeted:
            self.greeted = True
            self._greet(message if isinstance(message, dict) else {})
            return
        if isinstance(message, dict) and "method" not in message:
            if self.swallowed is not None and message.get("id") == self.swallowed:
                self.swallowed = None
                if self.alone:
                    self.alone = False
                    self._answer(b'{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}')
                return
            if self.pending.pop(json.dumps(message.get("id")), None) is not None:
                self.fruitless = 0
        self._answer(line)

    def _greet(self, greeting: dict[str, object]) -> None:
        """Look whether a service of ours answers, or refuses this client, which it says on the same line."""
        if greeting.get("service") == "securecontext":
            self.pause, self.told = PAUSE, ""
            return
        structured = greeting.get("structured")
        error = structured.get("error") if isinstance(structured, dict) else None
        if isinstance(error, dict):
            self._give_up(str(error.get("message")), str(error.get("code")), str(error.get("hint")))
        else:
            self._give_up("What answers on the service's socket is no service of this program.")

    def _answer(self, line: bytes) -> None:
        self.to_client += line + b"\n"

    def _write_client(self) -> bool:
        """Hand the client what it takes now; False when it listens no more."""
        try:
            with memoryview(self.to_client) as waiting, waiting[:PIPE_CHUNK] as part:
                sent = os.write(1, part)
            del self.to_client[:sent]
        except BlockingIOError:
            return True
        except OSError:
            return False
        return True


def _names(ident: object) -> list[str]:
    """Return under which names a cancelled request may be pending: the service takes "7" and 7 for one."""
    names = [json.dumps(ident)]
    if isinstance(ident, int):
        names.append(json.dumps(str(ident)))
    elif isinstance(ident, str) and ident.isascii() and ident.isdigit() and len(ident) < 20:
        names.append(str(int(ident)))
    return names


def main() -> int:
    """Run the shim on the standard streams."""
    if "--home" in sys.argv[1:-1]:
        os.environ["ZC_HOME"] = sys.argv[sys.argv.index("--home") + 1]
    try:
        return Shim(rendezvous.home()).run()
    except KeyboardInterrupt:
        return 0


if __name__ == "__main__":
    sys.exit(main())
