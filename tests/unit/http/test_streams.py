"""What is kept for clients that come back: bounded, and each session's own."""

from __future__ import annotations

import asyncio

from mcp.server.streamable_http import EventMessage, EventStore
from mcp_types import JSONRPCNotification, JSONRPCResponse

from securecontext.http.streams import Events


def answer(text: str = "x") -> JSONRPCResponse:
    return JSONRPCResponse(jsonrpc="2.0", id=1, result={"text": text})


NOTICE = JSONRPCNotification(jsonrpc="2.0", method="notifications/message")


def replayed(store: EventStore, last: str) -> tuple[str | None, list[EventMessage]]:
    """What a client that saw this event last is sent, and the stream it is put on."""
    sent: list[EventMessage] = []

    async def send(event: EventMessage) -> None:
        sent.append(event)

    return asyncio.run(store.replay_events_after(last, send)), sent


def kept(store: EventStore, stream: str, message: object) -> str:
    return asyncio.run(store.store_event(stream, message))  # type: ignore[arg-type]


def test_only_what_followed_on_the_same_stream_is_sent_again() -> None:
    store = Events(100, 10_000).of_session()
    primed = kept(store, "1", None)
    kept(store, "2", answer("another request's"))
    notice = kept(store, "1", NOTICE)
    stream, sent = replayed(store, primed)
    assert stream == "1"
    assert [(event.message, event.event_id) for event in sent] == [(NOTICE, notice)]


def test_a_stream_that_had_its_answer_is_not_kept_open() -> None:
    store = Events(100, 10_000).of_session()
    primed = kept(store, "1", None)
    kept(store, "1", answer())
    stream, sent = replayed(store, primed)
    assert stream is None
    assert [event.message for event in sent] == [answer()]


def test_sessions_see_nothing_of_each_other() -> None:
    events = Events(100, 10_000)
    mine, other = events.of_session(), events.of_session()
    primed = kept(mine, "1", None)
    theirs = kept(other, "1", None)
    kept(other, "1", answer("theirs"))
    assert replayed(mine, primed) == ("1", [])
    assert replayed(mine, theirs) == (None, [])


def test_ids_that_are_none_bring_nothing() -> None:
    store = Events(100, 10_000).of_session()
    kept(store, "1", answer())
    for last in ("", "x", "-1", "0", "99", "9" * 5000, "\uff11"):
        assert replayed(store, last) == (None, [])


def test_the_oldest_goes_when_there_are_too_many() -> None:
    store = Events(3, 10_000).of_session()
    numbers = [kept(store, "1", NOTICE) for _ in range(4)]
    assert replayed(store, numbers[0]) == (None, [])
    assert len(replayed(store, numbers[1])[1]) == 2


def test_the_oldest_goes_when_they_are_too_large() -> None:
    events = Events(1000, 5_000)
    store = events.of_session()
    first = kept(store, "1", answer("x" * 3_000))
    assert replayed(store, first) == ("1", [])
    kept(events.of_session(), "1", answer("x" * 3_000))
    assert replayed(store, first) == (None, [])


def test_one_that_is_larger_than_all_room_is_not_kept() -> None:
    store = Events(1000, 5_000).of_session()
    primed = kept(store, "1", None)
    kept(store, "1", answer("x" * 6_000))
    assert replayed(store, primed) == (None, [])
    assert replayed(store, kept(store, "1", None)) == ("1", [])
