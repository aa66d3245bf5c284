"""Whatever leaves the machine goes through `boundaries/egress`: no other module knows how to reach another machine.

Import-linter holds the libraries; here are sockets, and parts of the standard library below a name that has other uses.
What a PostgreSQL driver or the operator's own `git push` sends goes where the operator's settings say.
"""

from __future__ import annotations

import ast

import pytest

from tests.house.source import imported_as, parsed, resolved

DOOR = "src/securecontext/boundaries/egress/network.py"
CLIENTS = ("http.client", "urllib.request", "xmlrpc.client", "asyncio.open_connection", "socket.create_connection",
           "socket.getaddrinfo", "socket.gethostbyname", "ssl.", "anyio.connect_tcp")  # fmt: skip
CONNECTS = {".connect", ".connect_ex", ".sendto"}
ALLOWED = {
    DOOR: "the door's own hands",
    "src/securecontext/boundaries/egress/door.py": "the door, by those hands",
    "src/securecontext/boundaries/egress/upstream.py": "a gateway's way to the upstreams that its operator names",
    "src/securecontext/http/reach.py": "certificates for what comes in",
    "src/securecontext/sandbox/attacks.py": "what a rung is attacked with, on loopback and within the sandbox alone",
    "src/securecontext/sandbox/targets.py": "the same: who is attacked",
    "src/securecontext/rendezvous.py": "the user's own service, over a unix socket",
    "src/securecontext/handover.py": "the same, by way of rendezvous",
    "src/securecontext/mcp/shim.py": "the same, by way of rendezvous",
    "plugin/hooks/entry.py": "the same, standing alone",
}


def ways_out(tree: ast.Module) -> list[str]:
    """Return what in a module reaches, or may reach, another machine."""
    names = imported_as(tree)
    sockets = _has_sockets(tree)
    found: list[str] = []
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=aliases):
                found += [alias.name for alias in aliases if f"{alias.name}.".startswith(CLIENTS)]
            case ast.ImportFrom(module=str(module), names=aliases):
                found += [
                    name
                    for alias in aliases
                    if (name := f"{module}.{alias.name}").startswith(CLIENTS)
                    or f"{module}.".startswith(CLIENTS)
                ]
            case ast.Call(func=function):
                name = resolved(function, names)
                if name.startswith(CLIENTS) or (sockets and "." + name.rpartition(".")[2] in CONNECTS):
                    found.append(name)
    return found


def _has_sockets(tree: ast.Module) -> bool:
    """Say whether a module knows of sockets; databases connect too, where nothing of a socket is named."""
    return any(
        isinstance(node, ast.Import | ast.ImportFrom)
        and any(
            name in ("socket", "_socket")
            for name in (getattr(node, "module", None), *(alias.name for alias in node.names))
        )
        for node in ast.walk(tree)
    )


def test_no_module_but_those_of_egress_reaches_another_machine() -> None:
    found = {
        path: ways
        for folder in ("src", "plugin")
        for path, tree in parsed(folder)
        if path not in ALLOWED and (ways := ways_out(tree))
    }
    assert found == {}, "send it through boundaries/egress/"


def test_the_door_is_what_it_is_taken_for() -> None:
    assert "socket.getaddrinfo" in ways_out(dict(parsed("src"))[DOOR])


@pytest.mark.parametrize(
    "code",
    [
        "import http.client",
        "from http import client",
        "from urllib.request import urlopen",
        "import urllib.request as r",
        "import socket\nsocket.create_connection(('a.org', 80))",
        "import socket as s\nc = s.socket()\nc.connect(('a.org', 80))",
        "import asyncio\nasyncio.open_connection('a.org', 80)",
        "from socket import getaddrinfo\ngetaddrinfo('a.org', 80)",
    ],
)
def test_another_way_out_would_be_noticed(code: str) -> None:
    assert ways_out(ast.parse(code))
