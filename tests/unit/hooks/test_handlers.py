"""What hooks report: kept as entries and events, never a content; whatever comes in, the session goes on."""

import json
import logging

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.house_case import PERSON, make_house

from securecontext.boundaries.policy import Principal, Standing
from securecontext.hooks import handlers
from securecontext.pipeline.callers import Caller, introduce

MARK = "quetzal-umbrella-tango"
SECRET = "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"
SESSION = "95134a1e-2c36-4d08-885b-f89cbd5175c8"
EVENTS = ("session-start", "tool-used", "tool-failed", "pre-compact", "session-end", "stop")


def report(house, event, payload, session=SESSION):
    """Give the handler the bytes that the client's hook is given."""
    if isinstance(payload, dict):
        payload = {
            "session_id": session,
            "transcript_path": f"/home/dev/.claude/projects/-home-dev-project/{session}.jsonl",
            "cwd": "/home/dev/project",
            **payload,
        }
    raw = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    caller = Caller(Principal("uid:1000", Standing.HOOK, "hook", "hook-1"), house.project)
    answer = handlers.answer(house.app.corridor, caller, event, handlers.parse(raw))
    assert answer.exit == 0
    return answer


def tool(name, given, ident="toolu_000001", **more):
    return {
        "prompt_id": "4f38b1fd-0a28-4241-9376-8566f2096b5a", "permission_mode": "default",
        "hook_event_name": "PostToolUse", "tool_name": name, "tool_input": given, "tool_use_id": ident, **more,
    }  # fmt: skip


def started(house, source="startup", session=SESSION):
    answer = report(house, "session-start", {"hook_event_name": "SessionStart", "source": source}, session)
    said = json.loads(answer.stdout)["hookSpecificOutput"]
    assert said["hookEventName"] == "SessionStart"
    assert len(said["additionalContext"]) <= 10_000
    return said["additionalContext"]


def observed(house):
    return [e for e in house.entries(100) if e["operation"] == "session.observed"]


def events(house):
    return house.sql("SELECT kind, detail FROM events ORDER BY event")


def test_a_tools_entry_names_the_tool_and_how_it_ended(house):
    report(house, "tool-failed", tool("Bash", {"command": "false"}, error="Exit code 1"))
    assert "Bash failed" in house.ask("audit.tail", {}, who=PERSON).text


# Session start


@pytest.mark.parametrize("source", ["startup", "resume", "clear", "compact"])
def test_a_session_is_told_what_is_remembered(house, source):
    house.remember("db", "PostgreSQL 16", 5)
    text = started(house, source)
    assert "***** db: PostgreSQL 16" in text
    assert house.entries(1)[0]["stream"] == f"uid:1000/claude-{SESSION}"
    assert ("session_started", source) in events(house)


def test_a_full_memory_stays_within_the_hooks_limit_and_closes_its_fence(house):
    for number in range(house.do("zc_status")["limit"]):
        house.remember(f"fact {number}", "ü" * 4_000, 5)
    text = started(house)
    fence = next(line for line in text.split("\n") if line.startswith("["))[1:]
    assert f"\n{fence}]" in text and len(text) <= 6_000


@pytest.mark.only_in_files("reads or edits the project's file by hand")
def test_a_recall_that_fails_is_told_in_one_line_and_the_session_goes_on(house):
    path = house.app.stores.path(house.project.id)
    house.app.stores.forget(house.project.id)
    path.write_bytes(b"no database " * 500)
    answer = report(house, "session-start", {"source": "startup"})
    said = json.loads(answer.stdout)
    assert set(said) == {"systemMessage"} and "\n" not in said["systemMessage"]


# Tool calls


def test_a_tool_call_is_an_entry_of_kind_observed(house):
    report(house, "tool-used", tool("Bash", {"command": "echo hi", "description": "say hi"}, duration_ms=69))
    [entry] = observed(house)
    assert (entry["kind"], entry["stream"]) == ("observed", f"uid:1000/claude-{SESSION}")
    given = entry["arguments"]
    assert (given["tool"], given["tool_use_id"], given["outcome"], given["duration_ms"]) == (
        "Bash", "toolu_000001", "ok", 69,
    )  # fmt: skip
    assert set(given["command"]) == {"digest", "length"}
    assert events(house) == [("command", "echo hi")]


@pytest.mark.parametrize(
    ("name", "given", "response"),
    [
        ("Write", {"file_path": "/p/b.txt", "content": MARK}, {"type": "create", "content": MARK}),
        ("Edit", {"file_path": "/p/b.txt", "old_string": MARK, "new_string": MARK}, {"oldString": MARK}),
        ("MultiEdit", {"file_path": "/p/b.txt", "edits": [{"old_string": MARK, "new_string": MARK}]}, {}),
        ("NotebookEdit", {"notebook_path": "/p/n.ipynb", "new_source": MARK}, {"new_source": MARK}),
        ("Read", {"file_path": "/p/b.txt"}, {"type": "text", "file": {"filePath": "/p/b.txt", "content": MARK}}),
        ("Bash", {"command": "cat b.txt"}, {"stdout": MARK, "stderr": MARK}),
        ("WebFetch", {"url": "http://localhost/", "prompt": MARK}, {"result": MARK}),
        ("Agent", {"description": "sub", "prompt": MARK}, MARK),
    ],
)  # fmt: skip
def test_no_content_of_a_tool_call_is_stored_or_logged(house, caplog, name, given, response):
    with caplog.at_level(logging.DEBUG):
        report(house, "tool-used", tool(name, given, tool_response=response))
    assert len(observed(house)) == 1
    assert MARK.encode() not in house.bytes_on_disk()
    assert MARK not in caplog.text


def test_of_a_command_only_its_first_line_is_kept(house):
    report(house, "tool-used", tool("Bash", {"command": f"cat > a.txt <<EOF\n{MARK}\nEOF"}))
    assert events(house) == [("command", "cat > a.txt <<EOF")]
    assert MARK.encode() not in house.bytes_on_disk()


@pytest.mark.parametrize(
    ("event", "payload"),
    [
        (
            "tool-used",
            tool("Bash", {"command": f"curl -H 'Authorization: Bearer {SECRET}' http://localhost"}),
        ),
        ("tool-used", tool("Edit", {"file_path": f"/p/{SECRET}.txt"})),
        ("tool-used", tool("TodoWrite", {"todos": [{"content": f"use {SECRET}", "status": "pending"}]})),
        (
            "tool-used",
            tool("TodoWrite", {"todos": [{"content": "x" * 270 + f" {SECRET}", "status": "pending"}]}),
        ),
        ("tool-failed", tool("Bash", {"command": "x"}, error=f"bad token {SECRET}")),
        ("stop", {"last_assistant_message": f"I used {SECRET}."}),
        ("stop", {"last_assistant_message": "x " * 1_940 + SECRET}),
        ("session-end", {"reason": SECRET}),
        ("session-start", {"source": SECRET}),
    ],
)
def test_secrets_are_redacted_before_they_are_stored(house, caplog, event, payload):
    """RT-S1-08."""
    with caplog.at_level(logging.DEBUG):
        report(house, event, payload)
    stored = house.bytes_on_disk()
    assert SECRET.encode() not in stored and SECRET[:16].encode() not in stored
    assert SECRET not in caplog.text


def test_a_secret_is_no_name_of_a_session(house):
    report(house, "tool-used", tool("Bash", {"command": "ls"}), session=SECRET)
    report(house, "tool-used", tool("Bash", {"command": "ls"}, "two"), session=f"{SECRET[:20]} {SECRET[20:]}")
    assert SECRET.encode() not in house.bytes_on_disk()
    assert [e["stream"].startswith("uid:1000/claude-redacted-") for e in observed(house)] == [True, True]


def test_the_same_call_reported_twice_is_one_entry(house):
    payload = tool("Write", {"file_path": "/p/b.txt", "content": "x"})
    report(house, "tool-used", payload)
    report(house, "tool-used", payload)
    assert len(observed(house)) == 1
    assert events(house) == [("file_write", "/p/b.txt")]
    report(house, "tool-used", {**payload, "tool_use_id": "toolu_000002"})
    assert len(observed(house)) == 2


def test_the_same_id_in_another_session_is_another_call(house):
    payload = tool("Write", {"file_path": "/p/b.txt"})
    report(house, "tool-used", payload)
    report(house, "tool-used", payload, session="another")
    assert len(observed(house)) == 2


def test_a_failure_is_an_event_with_its_first_line(house):
    payload = tool("Bash", {"command": "make"}, error="Exit code 2\nmake: *** no rule", is_interrupt=False)
    report(house, "tool-failed", payload)
    assert events(house) == [("error", "Bash `make`: Exit code 2")]
    assert observed(house)[0]["arguments"]["outcome"] == "failed"


def test_our_own_tools_are_not_reported_twice(house):
    report(
        house, "tool-used", tool("mcp__plugin_securecontext_zc-ctx__zc_remember", {"key": "k", "value": "v"})
    )
    assert observed(house) == []


# Working state


def test_what_compaction_loses_the_next_start_shows(house):
    todos = [
        {"content": "write the tests", "status": "in_progress", "activeForm": "writing"},
        {"content": "mend the undo", "status": "pending", "activeForm": "mending"},
    ]
    report(house, "tool-used", tool("TodoWrite", {"todos": todos}, "toolu_1"))
    report(house, "tool-used", tool("Edit", {"file_path": "/p/src/a.py"}, "toolu_2"))
    report(house, "tool-used", tool("Bash", {"command": "make test"}, "toolu_3"))
    report(house, "tool-failed", tool("Bash", {"command": "make lint"}, "toolu_4", error="exit 1"))
    report(house, "stop", {"hook_event_name": "Stop", "last_assistant_message": "Now the undo."})
    report(
        house, "pre-compact", {"hook_event_name": "PreCompact", "trigger": "auto", "custom_instructions": ""}
    )
    text = started(house, "compact")
    for part in (
        "- plan: [in_progress] write the tests; [pending] mend the undo", "- files changed: /p/src/a.py",
        "- commands: make test", "- errors: Bash `make lint`: exit 1", "- said last: Now the undo.",
    ):  # fmt: skip
        assert part in text, part


def test_a_plan_outlives_hundreds_of_calls(house):
    report(
        house,
        "tool-used",
        tool("TodoWrite", {"todos": [{"content": "the plan", "status": "pending"}]}, "toolu_p"),
    )
    for number in range(420):
        report(house, "tool-used", tool("Edit", {"file_path": f"/p/{number}"}, f"toolu_{number}"))
    report(house, "pre-compact", {"trigger": "manual"})
    assert "- plan: [pending] the plan" in started(house, "compact")


def test_the_clients_tasks_are_a_plan(house):
    made = {"tool_response": {"task": {"id": "1", "subject": "one", "description": MARK}}}
    report(house, "tool-used", tool("TaskCreate", {"subject": "one", "description": MARK}, "t1", **made))
    second = {"tool_response": {"task": {"id": "2", "subject": 'say "password"' + "\\" * 300}}}
    report(house, "tool-used", tool("TaskCreate", {"subject": 'say "password"' + "\\" * 300}, "t2", **second))
    third = {"tool_response": {"task": {"id": "3", "subject": f"rotate {SECRET}"}}}
    report(house, "tool-used", tool("TaskCreate", {"subject": f"rotate {SECRET}"}, "t3", **third))
    report(house, "tool-used", tool("TaskUpdate", {"taskId": "1", "status": "completed"}, "t4"))
    report(house, "tool-used", tool("TaskUpdate", {"taskId": "2", "status": "deleted"}, "t5"))
    report(house, "tool-failed", tool("TaskUpdate", {"taskId": "3", "status": "completed"}, "t6"))
    report(house, "tool-used", tool("TaskUpdate", {"taskId": 3, "status": ["odd"]}, "t7"))
    report(house, "pre-compact", {"trigger": "auto"})
    assert len(observed(house)) == 7
    said = started(house, "compact")
    assert "- plan: [completed] one; [pending] rotate [REDACTED:github_pat]" in said
    assert MARK not in said and SECRET not in said


def test_mere_talk_does_not_push_out_the_state_of_work(house):
    report(house, "tool-used", tool("Bash", {"command": "make release"}))
    report(house, "session-end", {"reason": "other"})
    report(house, "stop", {"last_assistant_message": "hello"}, "another")
    report(house, "session-end", {"reason": "other"}, "another")
    assert "- commands: make release" in started(house, session="third")


@pytest.mark.parametrize(
    ("told", "kept"),
    [
        ("<analysis>\nno\n</analysis>\n\n<summary>\nyes\n</summary>", "yes"),
        ("<summary>yes", "yes"),
        ("<analysis>no</analysis> yes", "yes"),
        ("yes", "yes"),
        ("<analysis>only", None),
        ("<summary></summary>", None),
        ("  ", None),
    ],
)
def test_the_summary_of_a_compaction_is_kept_bare(house, told, kept):
    started(house)
    report(house, "post-compact", {"trigger": "manual", "compact_summary": told})
    assert [c for (c,) in house.sql("SELECT content FROM documents")] == ([kept] if kept else [])


def test_a_server_that_only_looks_like_ours_is_reported(house):
    name = "mcp__plugin_securecontext_zc-ctx__zc_remember"
    server = {"name": "plugin_securecontext_zc-ctx", "source": "project"}
    report(house, "tool-used", tool(name, {}, mcp_server=server))
    report(house, "tool-used", tool("mcp__x_securecontext_zc-ctx__steal", {}, "toolu_2"))
    report(house, "tool-used", tool(name, {}, "toolu_3", mcp_server={"name": "x", "source": "plugin"}))
    assert len(observed(house)) == 2


def test_the_newest_plan_counts(house):
    for number, content in enumerate(("old idea", "new idea")):
        report(
            house,
            "tool-used",
            tool("TodoWrite", {"todos": [{"content": content, "status": "x"}]}, f"t{number}"),
        )
    report(house, "session-end", {"reason": "exit"})
    text = started(house)
    assert "[x] new idea" in text and "old idea" not in text


def test_the_end_of_a_session_without_work_keeps_nothing(house):
    report(house, "session-end", {"reason": "clear"})
    assert events(house) == [("session_ended", "clear")]


def test_one_sessions_state_is_not_anothers(house):
    report(house, "tool-used", tool("Edit", {"file_path": "/p/one.py"}), session="one")
    report(house, "tool-used", tool("Edit", {"file_path": "/p/two.py"}), session="two")
    report(house, "pre-compact", {"trigger": "auto"}, session="two")
    text = started(house, "compact", session="two")
    assert "files changed: /p/two.py" in text and "files changed: /p/one.py" not in text


# Bad input: the session goes on


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize(
    "raw",
    [b"", b"{", b"null", b"[]", b"17", b'"x"', b"\xff\xfe\x00", b"{}", b'{"a":' * 50_000, b"\0" * 1_000,
     b'{"session_id": 5, "source": [], "tool_name": {}, "tool_input": "x"}', b"9" * 10_000],
    ids=["empty", "cut", "null", "array", "number", "string", "bytes", "object", "deep", "nul", "types", "digits"],
)  # fmt: skip
def test_t46_t47_malformed_and_empty_payloads(house, event, raw):
    report(house, event, raw)


@pytest.mark.parametrize("event", EVENTS)
def test_t48_a_payload_of_a_megabyte(house, event):
    big = "x" * 1_000_000
    report(house, event, {**tool("Bash", {"command": big, "content": big}), "source": big, "reason": big,
                          "trigger": big, "last_assistant_message": big, "error": big, "todos": [big] * 3})  # fmt: skip
    assert max(len(row[0]) for row in house.sql("SELECT body FROM ledger_bodies")) < 5_000
    assert max((len(detail) for _, detail in events(house)), default=0) < 5_000


def test_t49_a_newline_cannot_make_a_second_line(house):
    report(house, "tool-used", tool("Edit\nFAKE", {"file_path": "/p/a\n- ***** fake: fact"}))
    report(
        house,
        "tool-used",
        tool("TodoWrite", {"todos": [{"content": "x\n***** fake", "status": "a\nb"}]}, "t2"),
    )
    report(house, "session-end", {"reason": "x\ny"})
    assert len(observed(house)) == 2
    assert not any(
        line.startswith(("***** fake", "- ***** fake", "FAKE")) for line in started(house).split("\n")
    )


def test_t50_a_path_that_climbs_is_only_text(house, tmp_path):
    before = sorted(p for p in tmp_path.rglob("*") if p.is_file())
    report(house, "tool-used", tool("Write", {"file_path": "../../../../etc/passwd"}), session="../../x")
    assert events(house) == [("file_write", "../../../../etc/passwd")]
    assert observed(house)[0]["stream"] == "uid:1000/claude-....x"
    known = {p.name.removesuffix("-wal").removesuffix("-shm") for p in before}
    after = {p.name.removesuffix("-wal").removesuffix("-shm") for p in tmp_path.rglob("*") if p.is_file()}
    assert after <= known | {f"{house.project.id}.db"}


def test_t53_a_nul_in_a_name_is_taken_out(house):
    report(house, "tool-used", tool("Ba\0sh", {"command": "ls\0"}))
    assert observed(house)[0]["arguments"]["tool"] == "Ba sh"
    report(house, "session-start", {"source": "\0"})
    assert ("session_started", "startup") in events(house)


@pytest.mark.parametrize(
    "text", ["\0", " ", "\n", "\u200b", "\ud800", "\u202e", "e" + "\u0301" * 100, "\U000e0041"]
)
def test_text_that_nobody_can_read_never_keeps_a_session_from_its_memory(house, text):
    house.remember("db", "PostgreSQL")
    answer = report(house, "session-start", {"source": text})
    assert "db: PostgreSQL" in json.loads(answer.stdout)["hookSpecificOutput"]["additionalContext"]
    report(house, "tool-used", tool("Edit", {"file_path": text, "command": text}, error=text))
    assert len(observed(house)) == 1
    report(house, "tool-used", tool(text, {}, text))
    report(house, "stop", {"last_assistant_message": text})


@pytest.mark.parametrize("duration", [True, -1, 1.5, 10**30, "69", None, []])
def test_a_duration_that_is_none_is_left_out(house, duration):
    report(house, "tool-used", tool("Bash", {"command": "ls"}, duration_ms=duration))
    assert "duration_ms" not in observed(house)[0]["arguments"]


def test_an_unknown_event_is_logged_and_passes(house, caplog):
    with caplog.at_level(logging.WARNING):
        answer = report(house, "pre-everything", {})
    assert answer.wire() == handlers.OPEN.wire()
    assert answer.refused is not None and answer.refused.code == "unknown_event"
    assert "unknown event" in caplog.text


def test_a_folder_without_a_project_passes(house):
    caller = introduce(house.app, Standing.HOOK, "hook", 1000, {"project-path": "/nowhere/at/all"})
    for event in EVENTS:
        answer = handlers.answer(house.app.corridor, caller, event, {})
        if event == "session-start":  # where a person can act on it
            assert json.loads(answer.stdout) == {
                "systemMessage": "SecureContext could not recall: The project's folder does not exist. "
                "Call from an existing folder."
            }
        else:
            assert answer.wire() == handlers.OPEN.wire()
        assert answer.refused is not None and answer.refused.code == "no_such_folder"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)
FIELDS = st.dictionaries(
    st.sampled_from(
        ["session_id", "source", "tool_name", "tool_input", "tool_use_id", "duration_ms", "error", "spooled_at",
         "reason", "trigger", "last_assistant_message", "file_path", "cwd"]
    ),
    JSON | st.dictionaries(st.sampled_from(["file_path", "command", "todos", "path"]), JSON)
    | st.fixed_dictionaries({"todos": st.lists(st.fixed_dictionaries({"content": JSON, "status": JSON}), max_size=3)}),
)  # fmt: skip


@pytest.fixture(scope="module")
def lasting_house(tmp_path_factory):
    made = make_house(tmp_path_factory.mktemp("lasting") / "house")
    yield made
    made.app.close()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(event=st.sampled_from(EVENTS), payload=FIELDS | JSON)
def test_any_payload_lets_the_session_go_on(lasting_house, event, payload):
    raw = json.dumps(payload).encode()
    caller = Caller(Principal("uid:1000", Standing.HOOK, "hook", "hook-1"), lasting_house.project)
    answer = handlers.answer(lasting_house.app.corridor, caller, event, handlers.parse(raw))
    assert answer.exit == 0
    if event == "session-start":
        assert "hookSpecificOutput" in json.loads(answer.stdout)
    outcomes = {e.get("outcome", "ok") for e in lasting_house.entries(3)}  # the first entry opens the log
    assert outcomes <= {"ok"}


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(payload=FIELDS | JSON)
def test_any_payload_before_a_write_is_free_or_could_not_be_checked(lasting_house, payload):
    caller = Caller(Principal("uid:1000", Standing.HOOK, "hook", "hook-1"), lasting_house.project)
    parsed = handlers.parse(json.dumps(payload).encode())
    answer = handlers.answer(lasting_house.app.corridor, caller, "pre-write", parsed)
    assert (answer.exit, answer.stdout) in ((0, b""), (3, b""))
    assert (answer.trouble is not None) == (answer.exit == 3)


def test_what_all_of_it_left_is_a_sound_ledger(lasting_house):
    assert lasting_house.do("audit.verify", PERSON)["status"] == "OK"
