"""Bytes of a connection: how it is opened, its lines, our greeting, and its end."""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import dataclass

from securecontext import __version__
from securecontext.boundaries.limits import PREAMBLE_BYTES
from securecontext.rendezvous import DOORS
from securecontext.types.errors import InvalidInput


class LineTooLong(Exception):
    """A line is longer than any message may be: what follows it cannot be told apart any more."""


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


async def read_line(reader: asyncio.StreamReader) -> bytes:
    """Return the next line with its end; without one where the client has ended.

    Raises:
        LineTooLong: see there.
    """
    try:
        return await reader.readline()
    except ValueError as error:
        raise LineTooLong from error


async def hang_up(writer: asyncio.StreamWriter, seconds: float) -> None:
    """Close a connection: what is written still goes out, but a client that does not read is not waited for long."""
    writer.close()
    try:
        async with asyncio.timeout(seconds):
            await writer.wait_closed()
    except OSError:
        writer.transport.abort()
    except asyncio.CancelledError:
        writer.transport.abort()
        raise


def greeting() -> bytes:
    """Return the line that every client but a hook is answered first."""
    return (
        json.dumps({"service": "securecontext", "version": __version__, "pid": os.getpid()}).encode() + b"\n"
    )
