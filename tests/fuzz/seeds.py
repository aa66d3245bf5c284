"""Writes the corpus: well-formed inputs of every kind, always the same ones. Run it when a format has changed:

python -m tests.fuzz.seeds
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from securecontext.boundaries import chain, tree
from securecontext.boundaries.canonical import canonical
from securecontext.boundaries.keyring import key_file
from securecontext.boundaries.keyring.envelope import begin
from securecontext.boundaries.ledger import bundle
from securecontext.boundaries.ledger.notes import Checkpoint, signer_of
from securecontext.boundaries.ledger.signers import Signers, line_of
from securecontext.boundaries.policy import Role
from securecontext.boundaries.tokens import Claims
from securecontext.types.ids import timestamp
from tests.fuzz.targets import CORPUS, LOG, NOW, OLD, ROOT, TOKENS, YOUNG

TS = timestamp(NOW)
ENTRIES = 7


def signers() -> list[bytes]:
    """The two lines of a list of signers."""
    return [line_of(OLD.public, NOW, None), line_of(YOUNG.public, NOW, OLD)]


def entries() -> Iterator[tuple[bytes, bytes, bytes]]:
    """Canonical bytes, MAC and body of the entries of two streams in turn."""
    prev = {stream: chain.genesis(LOG, stream) for stream in ("uid:1000/a", "uid:1000/b")}
    for number in range(ENTRIES):
        stream, body = ("uid:1000/a", "uid:1000/b")[number % 2], canonical({"n": number})
        digest = chain.body_digest(bytes(16), body)
        entry = chain.Entry(
            LOG, stream, number // 2 + 1, OLD.public.kid, TS, "call", "uid:1000", "dev", digest, prev[stream]
        )
        data, mac = chain.encode(entry), bytes([number]) * 32
        prev[stream] = chain.entry_hash(data, mac)
        yield data, mac, body


def point(size: int) -> Checkpoint:
    """The checkpoint of so many entries."""
    growing = tree.Growing()
    for data, mac, _ in list(entries())[:size]:
        growing.append(tree.leaf_hash(data + mac))
    return Checkpoint(LOG, size, growing.root())


def bundles() -> Iterator[tuple[str, bytes]]:
    """An export with bodies, and the proof of an entry."""
    notes = [OLD.sign(point(3).text()), YOUNG.sign(point(ENTRIES).text())]
    shown = [
        bundle.entry_line(leaf, data, mac, bytes(16), body)
        for leaf, (data, mac, body) in enumerate(entries())
    ]
    listed = Signers(signers())
    yield "export", b"\n".join([*bundle.head_lines(LOG, listed, notes), *shown])
    node = tree.nodes_of(tree.leaf_hash(data + mac) for data, mac, _ in entries())
    proof = bundle.inclusion_line(4, ENTRIES, tree.inclusion_proof(4, ENTRIES, node))
    yield "proof", b"\n".join([*bundle.head_lines(LOG, listed, notes[1:]), shown[4], proof])


def anchors() -> bytes:
    """Two lines of anchors."""
    lines = []
    for size, keys in ((3, OLD), (ENTRIES, YOUNG)):
        note = keys.sign(point(size).text())
        lines.append(canonical({"log": LOG, "size": size, "kid": signer_of(note), "ts": TS, "note": note}))
    return b"".join(line + b"\n" for line in lines)


def all_of_them() -> Iterator[tuple[str, str, bytes]]:
    """Target, name and bytes of each input."""
    issued = int(NOW.timestamp()) - 1
    claims = Claims("tok_1", "alice", Role.WORKER, "prj_1", "ses_1", issued, issued + 3600)
    yield "token", "token", TOKENS.sign(claims).encode()
    yield "token", "claims", canonical({**_plain(claims)})
    yield "note", "checkpoint", YOUNG.sign(point(ENTRIES).text()).encode()
    yield "note", "text", point(ENTRIES).text().encode()
    yield "signers", "two", b"\n".join(signers())
    for name, data in bundles():
        yield "bundle", name, data
    yield "anchors", "two", anchors()
    yield "entry", "entry", next(entries())[0]
    yield (
        "canonical",
        "mixed",
        '{"a":[1,-0.5,1e21,true,null,"\\u20ac\\u0007"],"\u00e9":{"\U0001f600":"","b":2}}'.encode(),
    )
    yield "key_file", "file", key_file.written(begin(ROOT, TS), ROOT)
    yield "root_file", "ledger", b"securecontext-root v1 ledger sig_a 3 " + b"A" * 86 + b"==\n"
    yield "opening", "mcp", b"mcp/1\nproject-path: /srv/p%25\nversion: 0.1.0\nagent: dev\n\n"
    yield "opening", "hook", b"hook/1 tool-used\nproject-path: /srv/p\n\n"
    yield "hook", "tool", json.dumps(HOOK).encode()
    yield "object", "arguments", b'{"key": "db", "value": "sqlite", "importance": 3}'
    for name, text in TEXTS.items():
        for target in ("text", "secrets"):
            yield target, name, text.encode()
    for name, path in (
        ("plain", "src/a b/\u00e9.py"),
        ("up", "a/../../etc/passwd"),
        ("device", "a/NUL.txt"),
        ("code", "a%252e%252e/b"),
    ):
        yield "path", name, path.encode()
    for name, url in (
        ("name", "https://user.example.com:443/a%2Fb?q=1#part"),
        ("v4", "http://8.8.8.8/"),
        ("v6", "https://[2606:4700:4700::1111]/x"),
        ("punycode", "https://xn--mnchen-3ya.de/"),
        ("odd", "http://0177.0.0.1@127.1:80\\[::ffff:1.2.3.4]"),
    ):
        yield "url", name, url.encode()


def _plain(claims: Claims) -> dict[str, object]:
    return {name: getattr(claims, name) for name in claims.__slots__} | {"role": str(claims.role)}


HOOK = {
    "session_id": "0b7c", "cwd": "/srv/p", "hook_event_name": "PostToolUse", "tool_name": "Bash",
    "tool_use_id": "toolu_1",
    "tool_input": {"command": "git status", "file_path": "/srv/p/a", "todos": [{"content": "a", "status": "pending"}]},
    "tool_response": {"task": {"id": "1"}}, "duration_ms": 3, "source": "startup",
}  # fmt: skip
TEXTS = {
    "prose": "Na\u00efve caf\u00e9 \U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f"
    " costs 5 < 7\nVec<u8> a && b",
    "markup": 'see <a href="java&#x73;cript:x"> %3Cimg src=x onerror=y\\u003e ..%2f..%2f',
    "secrets": "key AKIA" + "ABCDEFGHIJKLMNOP password=hunter2hunter2 https://user:" + "pass@host -----BEGIN"
    " RSA PRIVATE KEY-----\nMIIB\n-----END RSA PRIVATE KEY----- ghp_" + "a1B2" * 9,
}  # fmt: skip


def main() -> None:
    """Write them all."""
    for target, name, data in all_of_them():
        (CORPUS / target).mkdir(parents=True, exist_ok=True)
        (CORPUS / target / name).write_bytes(data)


if __name__ == "__main__":
    main()
