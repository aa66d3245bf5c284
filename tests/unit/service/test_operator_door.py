"""The operator's door: what was asked and how it ended is entered, the passphrase nowhere."""

from __future__ import annotations

import json

import pytest
from tests.identity_case import PHRASE, TERMINAL

from securecontext.service.operator_door import attend
from securecontext.types.errors import ZcError


def ask(house, terminal=TERMINAL, **request):
    return attend(house.app, 1000, terminal, json.dumps(request).encode())


def refusal(house, terminal=TERMINAL, **request):
    with pytest.raises(ZcError) as caught:
        ask(house, terminal, **request)
    return caught.value.code


def entries(house):
    with house.app.machine.read() as connection:
        return [
            (row.kind, row.stream, row.body["operation"], row.body["outcome"])
            for row in house.app.ledgers.tail(connection, 20)
            if row.stream.endswith("/operator")
        ][::-1]


def test_each_request_is_an_entry_and_the_passphrase_is_in_none(house):
    assert ask(house, do="init", passphrase=PHRASE) == {"ok": True}
    assert refusal(house, do="unlock", passphrase="quetzal umbrella wrong") == "wrong_passphrase"
    assert ask(house, do="unlock", passphrase=PHRASE) == {"ok": True}
    house.app.operator.refuse_locked(TERMINAL)
    assert ask(house, do="lock") == {"ok": True}
    stream = "uid:1000/operator"
    assert entries(house) == [
        ("call", stream, "operator.init", "ok"),
        ("refusal", stream, "operator.unlock", "wrong_passphrase"),
        ("call", stream, "operator.unlock", "ok"),
        ("call", stream, "operator.lock", "ok"),
    ]
    stored = house.bytes_on_disk()
    assert PHRASE.encode() not in stored and b"quetzal" not in stored


def test_w_20_without_a_terminal_nobody_becomes_the_operator(house):
    for do in ("init", "unlock"):
        assert refusal(house, "", do=do, passphrase=PHRASE) == "no_terminal"
    assert [entry[3] for entry in entries(house)] == ["no_terminal", "no_terminal"]


@pytest.mark.parametrize(
    "line",
    [
        *(b"", b"x", b"[]", b"5", b"{}", b"\xff", b"[" * 9_999),
        *(b'{"do": "reset"}', b'{"do": ["init"]}', b'{"do": "init", "passphrase": 5}'),
    ],
    ids=range(10),
)
def test_what_is_no_request_is_refused(house, line):
    with pytest.raises(ZcError) as caught:
        attend(house.app, 1000, TERMINAL, line)
    assert caught.value.code == "unknown_request"
    assert entries(house) == [("refusal", "uid:1000/operator", "operator.unknown", "unknown_request")]
