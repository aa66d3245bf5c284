"""What a gateway makes of bytes that come back: an answer as it was, a refusal of the door, or nothing of ours."""

from __future__ import annotations

import json

import pytest

from securecontext.boundaries.egress.upstream import Reply, Unreached
from securecontext.pipeline.call import Answer, refusal
from securecontext.pipeline.passing import NoAnswer, answer_bytes, parse_answer, parse_passed
from securecontext.pipeline.upstreams import _answer_of
from securecontext.types.errors import BY_NAME, InvalidInput

PROBLEM = {"detail": "No.", "code": "some_code", "hint": "Do.", "details": {"limit": 3}}


@pytest.mark.parametrize("kind", BY_NAME.values())
def test_an_answer_is_after_the_way_what_it_was_before(kind: type) -> None:
    error = kind("some_code", "No.", "Do.", limit=3)
    came = _answer_of(Reply(200, b"\n\n" + answer_bytes(refusal(error))))
    assert (type(came.error), came.structured, came.text) == (kind, {"error": error.as_dict()}, str(error))
    done = Answer({"key": "ä\u2028", "list": [1, None]}, "Done: ä\nand on.")
    assert parse_answer(answer_bytes(done)) == done


@pytest.mark.parametrize(
    ("status", "name"),
    [(400, "InvalidInput"), (401, "Unauthenticated"), (403, "Denied"), (413, "InvalidInput"),
     (429, "LimitReached"), (503, "Unavailable")],
)  # fmt: skip
def test_a_refusal_of_the_door_has_its_class_by_its_status(status: int, name: str) -> None:
    error = _answer_of(Reply(status, json.dumps(PROBLEM).encode())).error
    assert error is not None
    assert (type(error).__name__, error.code, error.details) == (name, "some_code", {"limit": 3})


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (301, b""), (307, b"{}"), (200, b""), (200, b"<html>"), (200, b"[]"), (200, b"null"), (200, b'{"ok":true}'),
        (200, b'{"ok":true,"text":"","structured":{}}'), (200, b'{"ok":true,"text":1,"structured":{}}'),
        (200, b'{"ok":false,"text":"x","structured":{}}'), (200, b'{"ok":false,"text":"x","structured":{"error":[]}}'),
        (200, b'{"ok":"yes","text":"x","structured":{}}'), (200, b"[" * 100_000), (404, b"{}"), (500, b"{}"),
        (502, json.dumps(PROBLEM).encode()), (503, b"<html>"), (401, b'{"code":"x"}'), (204, b""),
    ],
)  # fmt: skip
def test_what_is_no_answer_of_ours_is_not_taken_for_one(status: int, body: bytes) -> None:
    with pytest.raises(Unreached):
        _answer_of(Reply(status, body))


def test_an_error_that_is_none_is_no_answer() -> None:
    with pytest.raises(NoAnswer):
        parse_answer(b'{"ok":false,"text":"x","structured":{"error":{"code":1,"message":"m","hint":"h"}}}')


@pytest.mark.parametrize(
    "asked",
    [
        {}, {"operation": "zc_status"}, {"operation": "", "arguments": {}}, {"operation": 1, "arguments": {}},
        {"operation": "zc_status", "arguments": []}, {"operation": "zc_status", "arguments": {}, "hook": "yes"},
        {"operation": "zc_status", "arguments": {}, "agent": None},
        {"operation": "zc_status", "arguments": {}, "project": "/elsewhere"},
    ],
)  # fmt: skip
def test_what_no_gateway_sends_is_refused(asked: dict[str, object]) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_passed(asked)
    assert caught.value.code == "not_a_passed_call"
