"""The command line's side of its door. Starts the service if nobody answers."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from dataclasses import dataclass
from typing import Any

from securecontext import __version__, handover, rendezvous
from securecontext.types.errors import Unavailable, ZcError, told
from securecontext.types.ids import new_id

START_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Reply:
    """A call that was done."""

    text: str
    structured: dict[str, Any]


class Client:
    """One connection to the service, as a person.

    Args:
        home: the data folder.
        project_path: folder of the project.

    Raises:
        Unavailable: the service cannot be reached or started; the message says why.
    """

    def __init__(self, home: str, project_path: str | None = None) -> None:
        headers = rendezvous.caller_headers(version=__version__)
        headers["session"] = f"cli-{os.getsid(0)}"  # one stream for the commands of a terminal
        if project_path is not None:
            headers["project-path"] = project_path
        try:
            self._socket = handover.reach(home, START_SECONDS)
        except (rendezvous.ServiceAway, OSError) as error:
            raise Unavailable("service_away", str(error), "See `zc service logs` and `zc doctor`.") from error
        self._file = self._socket.makefile("rb")
        with contextlib.suppress(OSError):  # it may be gone already: the missing greeting says so
            self._socket.sendall(rendezvous.preamble("rpc/1", headers))
        greeting = self._line()
        if not greeting:
            why = rendezvous.reason(home) or "The service closed the connection."
            raise Unavailable("service_away", why, "See `zc service logs`.")
        said = json.loads(greeting)
        if said.get("ok") is False:  # this client is refused, before any call
            self.close()
            raise refused(said)

    def call(self, operation: str, arguments: dict[str, Any]) -> Reply:
        """Return the answer of an operation.

        Raises:
            ZcError: what the service refused with.
        """
        asked = {"operation": operation, "arguments": arguments, "key": new_id("key")}
        with contextlib.suppress(OSError):  # it may have gone: then there is no answer either
            self._socket.sendall(_line_of(asked))
        line = self._line()
        if not line:
            raise Unavailable(
                "service_stopped", "The service went away in the middle of the call.", "Call again."
            )
        got = json.loads(line)
        if got["ok"]:
            return Reply(got["text"], got["structured"])
        raise refused(got)

    def close(self) -> None:
        """End the connection."""
        self._file.close()
        self._socket.close()

    def _line(self) -> bytes:
        try:
            return self._file.readline()
        except OSError:
            return b""


def _line_of(asked: dict[str, Any]) -> bytes:
    """Return the line of a request; text as it is, because escapes are up to three times as long."""
    try:
        return json.dumps(asked, ensure_ascii=False).encode() + b"\n"
    except UnicodeEncodeError:  # a lone surrogate stays an escape, for the service to refuse
        return json.dumps(asked).encode() + b"\n"


def refused(got: dict[str, Any]) -> ZcError:
    """Return the error that an answer carries."""
    return told(got.get("class", ""), got["structured"]["error"])


def control(connection: socket.socket, request: dict[str, Any]) -> dict[str, Any]:
    """Send one request to the control door of a running service and return its answer, or its refusal."""
    return at_door("control/1", connection, request)


def at_door(door: str, connection: socket.socket, request: dict[str, Any]) -> dict[str, Any]:
    """Send one request to a door that answers one, and return its answer, or its refusal; empty if it went away."""
    with connection:
        with contextlib.suppress(OSError):  # it may have refused already: what it said is still to be read
            connection.sendall(
                rendezvous.preamble(door, {"version": __version__}) + json.dumps(request).encode() + b"\n"
            )
        with connection.makefile("rb") as file:
            line = file.readline()
    answer: dict[str, Any] = json.loads(line or b"{}")
    return answer
