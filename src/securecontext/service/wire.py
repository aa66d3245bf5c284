"""The opening of a connection: which door, and what the client says of itself."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from securecontext.boundaries.limits import PREAMBLE_BYTES
from securecontext.rendezvous import DOORS
from securecontext.types.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Opening:
    """A parsed preamble.

    Attributes:
        door: ``mcp``, ``hook``, ``rpc`` or ``control``.
        word: what follows the door on its line: the event of a hook.
        headers: claims of the client, by lower-case name.
    """

    door: str
    word: str
    headers: dict[str, str]


async def read_opening(reader: asyncio.StreamReader) -> Opening:
    """Read the lines that open a connection; see `rendezvous.preamble`.

    Raises:
        InvalidInput: they are not what any client of ours sends.
    """
    try:
        raw = await reader.readuntil(b"\n\n")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
        raise _malformed() from error
    if len(raw) > PREAMBLE_BYTES:
        raise _malformed()
    return parse_opening(raw)


def parse_opening(raw: bytes) -> Opening:
    """Return the parsed preamble.

    Raises:
        InvalidInput: it names no door, or a line is no header.
    """
    lines = raw.decode("utf-8", "surrogateescape").rstrip("\n").split("\n")
    door, _, word = lines[0].partition(" ")
    if door not in DOORS:
        raise _malformed()
    headers: dict[str, str] = {}
    for line in lines[1:]:
        name, separator, value = line.partition(": ")
        if not separator:
            name, separator, value = line.partition(":")
        if not separator or not name:
            raise _malformed()
        headers[name.lower()] = value.replace("%0A", "\n").replace("%0D", "\r").replace("%25", "%")
    return Opening(door.partition("/")[0], word, headers)


def _malformed() -> InvalidInput:
    return InvalidInput(
        "bad_preamble",
        "This socket does not understand how the connection was opened.",
        "Use `zc`, the plugin, or an MCP client with `zc mcp`.",
    )
