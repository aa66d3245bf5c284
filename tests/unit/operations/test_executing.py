"""Running code through the corridor: what comes back, what is refused, and what the ledger says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from tests.house_case import HOOK, PERSON, House, make_house

from securecontext.boundaries.policy import Permission, Principal, Standing, decide
from securecontext.sandbox import profiles
from securecontext.sandbox.ladder import Ladder, Tried
from securecontext.sandbox.plan import Rung
from securecontext.sandbox.profiles import Profile
from securecontext.types.errors import ZcError

SECRET = "ghp_" + "0123456789abcdefghijABCDEFGHIJ012345"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """One house for all of them: its rungs are attacked once."""
    made = make_house(tmp_path_factory.mktemp("executing") / "house")
    yield made
    made.app.close()


def ran(house: House, language: str, code: str, **more: Any) -> dict[str, Any]:
    return house.do("zc_execute", language=language, code=code, **more)


@pytest.mark.parametrize(
    ("language", "code"),
    [
        ("python", "print(6 * 7)"),
        ("python3", "print(42)"),
        ("javascript", "console.log(6 * 7)"),
        ("js", "console.log(42)"),
        ("bash", "echo $((6 * 7))"),
        ("sh", "echo 42"),
    ],
)
def test_each_language_runs(house: House, language: str, code: str) -> None:
    done = ran(house, language, code)
    assert (done["exit_code"], done["stdout"], done["stderr"]) == (0, "42\n", "")
    assert done["rung"] in ("bubblewrap", "landlock")


def test_t01_t03_nothing_of_the_parents_environment_is_there(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "lent")
    for language, code in (("bash", "env"), ("python", "import os; print(dict(os.environ))")):
        said = ran(house, language, code)["stdout"]
        assert "lent" not in said and "ANTHROPIC" not in said


def test_t04_a_run_ends_when_its_time_is_up(house: House) -> None:
    house.app.machine.write(lambda t: profiles.put(t.connection, Profile("short", seconds=1)))
    done = ran(house, "bash", "echo begun; sleep 60", profile="short")
    assert (done["ended"], done["stdout"], done["exit_code"]) == ("timeout", "begun\n", 137)


def test_t05_what_is_too_long_is_cut_with_an_exact_mark(house: House) -> None:
    done = ran(house, "python", "print('x' * 600_000)")
    assert done["stdout"].endswith("x\n[cut: 524288 of 600001 bytes are shown, 75713 are not]")
    assert done["cut_bytes"] == 75_713
    done = ran(house, "python", "import sys; print('é' * 40_000, file=sys.stderr)")
    assert done["stderr"].endswith("é\n[cut: 65536 of 80001 bytes are shown, 14465 are not]")


@pytest.mark.parametrize("language", ["ruby", "python; id", "bash\n", "../../bin/sh", ""])
def test_t06_t07_no_other_language_is_taken(house: House, language: str) -> None:
    assert house.refused("zc_execute", language=language, code="1") == "unknown_value"


def test_t08_no_shell_sees_the_code(house: House) -> None:
    done = ran(house, "python", "print('$(id) `id` ; | &')")
    assert done["stdout"] == "$(id) `id` ; | &\n"


def test_t09_the_project_can_be_read_and_not_written(house: House) -> None:
    (Path(house.project.folder) / "data.txt").write_text("here")
    done = ran(house, "bash", "cat data.txt; echo no > new; rm data.txt; ls")
    assert done["stdout"] == "heredata.txt\n"
    assert (Path(house.project.folder) / "data.txt").read_text() == "here"


def test_t11_more_processes_than_a_run_may_have_are_refused_to_it(house: House) -> None:
    done = ran(house, "bash", "for i in $(seq 50); do sleep 0.01 & done; wait; echo fine")
    assert done["stdout"] == "fine\n"
    house.app.machine.write(lambda t: profiles.put(t.connection, Profile("short", seconds=1)))
    assert ran(house, "bash", "f() { f | f & }; f; sleep 60", profile="short")["ended"] in ("timeout", "exit")
    assert ran(house, "bash", "echo fine")["stdout"] == "fine\n"


def test_t12_odd_bytes_are_shown_by_their_numbers(house: House) -> None:
    code = r"import sys; sys.stdout.buffer.write(b'a\0b\xff\xfe\x1b[2Jc\r\n\td\xe2\x80\xae')"
    assert ran(house, "python", code)["stdout"] == "a\\x00b\\xff\\xfe\\x1b[2Jc\n\td\\u202e"


def test_t13_a_million_characters_of_code_run_and_one_more_is_refused(house: House) -> None:
    code = "print(1)\n" + "#" * (1_000_000 - 9)
    assert ran(house, "python", code)["stdout"] == "1\n"
    assert ran(house, "bash", code.replace("print(1)", "echo 1 1"))["stdout"] == "1 1\n"
    assert house.refused("zc_execute", language="python", code=code + "#") == "too_long"


def test_input_ends_where_the_code_does(house: House) -> None:
    assert ran(house, "bash", "cat; read x; echo after $?")["stdout"] == "after 1\n"
    assert ran(house, "python", "import sys; print(repr(sys.stdin.read()))")["stdout"] == "''\n"


def test_a_secret_in_the_output_is_redacted_at_the_edge_too(house: House) -> None:
    assert SECRET not in str(ran(house, "python", f"print('{SECRET}')"))
    edge = 512 * 1024
    done = ran(house, "python", f"print('a ' * {edge // 2 - 10} + '{SECRET} ' + 'b' * 9000)")
    assert "ghp_" not in done["stdout"] and done["cut_bytes"] > 9000


@pytest.mark.parametrize(
    ("code", "ended"),
    [
        ("yes", "output"),
        ("yes >&2", "output"),
        ("python3 -c 'bytearray(3 << 30)' || echo refused", "exit"),
        ("for i in $(seq 300); do (exit 0) & done; echo many", "exit"),
        ("head -c 200000000 /dev/zero > /tmp/large; ls /tmp/home", "exit"),
    ],
    ids=["flood", "flood of errors", "memory", "zombies", "file"],
)
def test_floods_end_and_the_next_run_is_as_ever(house: House, code: str, ended: str) -> None:
    assert ran(house, "bash", code)["ended"] == ended
    assert ran(house, "bash", "echo fine")["stdout"] == "fine\n"


def test_fifty_runs_at_once_each_get_their_own_answer(house: House) -> None:
    said: dict[int, str] = {}

    def one(number: int) -> None:
        said[number] = ran(house, "bash", f"echo {number}")["stdout"]

    threads = [Thread(target=one, args=(n,)) for n in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert said == {n: f"{n}\n" for n in range(50)}


def test_w_33_a_file_outside_the_project_is_refused_and_one_inside_is_given(house: House) -> None:
    folder = Path(house.project.folder)
    (folder / "it's.csv").write_text("1\n2\n")
    (folder / "out").symlink_to("/etc/hostname")
    code = "print(len(open(TARGET_FILE).readlines()))"
    given = {"language": "python", "code": code}
    assert house.do("zc_execute_file", path="it's.csv", **given)["stdout"] == "2\n"
    assert house.do("zc_execute_file", path=str(folder / "it's.csv"), **given)["stdout"] == "2\n"
    for path, refusal in (
        ("/etc/hostname", "outside_jail"),
        ("out", "outside_jail"),
        ("../x", "path_traversal"),
        ("none", "no_such_file"),
    ):
        assert house.refused("zc_execute_file", path=path, **given) == refusal


def test_w_33_a_batch_is_bounded_runs_every_command_and_searches_beside(house: House) -> None:
    house.remember("colour", "The house is painted in ultramarine")
    commands = [{"label": f"n{n}", "command": f"echo {n}"} for n in range(20)]
    done = house.do("zc_batch", commands=commands, queries=["what colour is the house?"])
    assert [(r["label"], r["stdout"]) for r in done["runs"]] == [(f"n{n}", f"{n}\n") for n in range(20)]
    assert "ultramarine" in done["found"]["hits"][0]["snippet"]
    assert house.refused("zc_batch", commands=[*commands, commands[0]]) == "too_many"


def test_a_run_writes_where_its_profile_lets_it_and_nowhere_else(house: House) -> None:
    folder = Path(house.project.folder)
    (folder / "build").mkdir()
    (folder / "src").mkdir()
    (folder / "away").symlink_to("/tmp")
    house.app.machine.write(lambda t: profiles.put(t.connection, Profile("build", ("build", "away"))))
    done = ran(house, "bash", "echo made > build/x; echo no > src/x", profile="build", write=["build"])
    assert (folder / "build" / "x").read_text() == "made\n"
    assert not (folder / "src" / "x").exists() and done["exit_code"] == 1
    for write, profile, refusal in (
        ("build", "analysis", "write_refused"),
        ("src", "build", "write_refused"),
        ("away", "build", "outside_jail"),
        ("build/../src", "build", "path_traversal"),
        (".git/hooks", "build", "never_writable"),
        ("build", "unknown", "no_such_profile"),
    ):
        given = {"language": "bash", "code": "true", "profile": profile, "write": [write]}
        assert house.refused("zc_execute", **given) == refusal


def test_profiles_are_the_operators_to_name(house: House) -> None:
    for operation, given in (
        ("define", {"name": "mine"}),
        ("remove", {"name": "mine"}),
        ("unconfined", {"allow": True}),
    ):
        assert house.refused(f"sandbox.{operation}", PERSON, **given) == "operator_not_set_up"
    with pytest.raises(ZcError, match="never_writable"):
        house.app.machine.write(lambda t: profiles.put(t.connection, Profile("evil", (".git",))))
    for name in ("analysis", "UPPER", "", "a b"):
        with pytest.raises(ZcError, match="bad_profile"):
            house.app.machine.write(lambda t, name=name: profiles.put(t.connection, Profile(name)))
    assert "analysis: 30 s" in house.ask("sandbox.profiles", who=PERSON).text


def test_the_plan_is_told_whole_and_nothing_runs(house: House) -> None:
    plan = house.do("zc_execute", language="bash", code="echo ran", explain=True)["plan"]
    for line in (f"sees         {house.project.folder} (read only)", "network      none", "30 s from start"):
        assert line in plan
    assert house.entries(1)[0]["noted"] == {"explained": True, "profile": "analysis"}


def test_the_ledger_has_an_entry_before_and_one_after_with_what_was_used(house: House) -> None:
    ran(house, "python", "print('told')\nraise SystemExit(3)")
    after, before = house.entries(2)
    assert (before["kind"], before["outcome"]) == ("intent", "intended")
    assert (after["kind"], after["outcome"]) == ("result", "ok")
    assert after["arguments"]["code"].keys() == {"digest", "length"}
    run = after["noted"]["runs"][0]
    assert (run["exit_code"], run["ended"], run["stdout_bytes"]) == (3, "exit", 5)
    assert run["rung"] == before["arguments"]["rung"]
    assert after["noted"]["limits"]["processes"] == 64


def test_who_may_not_run_code_is_refused(house: House) -> None:
    member = Principal("alice", Standing.MEMBER, "mcp", "s9")
    for who in (HOOK, member):
        assert house.refused("zc_execute", who, language="bash", code="true") == "not_permitted"
    assert not decide(member, Permission.CODE_EXECUTE).allowed


def test_no_code_is_run_for_a_gateway_that_passes_it_on(house: House) -> None:
    passed = Principal("agent:alice", Standing.AGENT, "gateway", "s9")
    refused = house.refused("zc_execute", passed, language="bash", code="true", explain=True)
    assert refused == "gateway_runs_no_code"


def test_no_code_is_run_for_who_may_be_on_another_machine(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    over_http = Principal("agent:alice", Standing.AGENT, "http", "s9")
    assert house.do("zc_execute", over_http, language="bash", code="true")["exit_code"] == 0
    monkeypatch.setattr(house.app, "facts", replace(house.app.facts, open_to_others=True))
    assert house.refused("zc_execute", over_http, language="bash", code="true") == "not_beside_the_files"
    assert ran(house, "bash", "true")["exit_code"] == 0


def test_code_runs_beside_data_in_a_shared_database(tmp_path: Path, service_url: str) -> None:
    shared = make_house(tmp_path / "house", service_url)
    try:
        shared.do("zc_index", content="Pelicans feed at dawn.", source="birds")
        (Path(shared.project.folder) / "build").mkdir()
        shared.app.machine.write(lambda t: profiles.put(t.connection, Profile("build", ("build",))))
        done = shared.do(
            "zc_execute", language="bash", code="echo made > build/it", profile="build", write=["build"]
        )
        assert done["exit_code"] == 0
        assert (Path(shared.project.folder) / "build" / "it").read_text() == "made\n"
        commands = [{"label": each, "command": f"echo {each}"} for each in ("one", "two")]
        both = shared.do("zc_batch", commands=commands, queries=["pelicans"])
        assert [run["stdout"] for run in both["runs"]] == ["one\n", "two\n"]
        assert both["found"]["hits"]
        kinds = [entry["kind"] for entry in shared.entries()]
        assert [kinds.count("intent"), kinds.count("result")] == [2, 2]
    finally:
        shared.app.close()


def test_a_folder_that_holds_more_than_a_project_is_refused(house: House) -> None:
    root = house.app.settings.home.parent
    wide = house.app.find_project(str(root / "zc"), "")
    answer = house.ask("zc_execute", {"language": "bash", "code": "true"}, project=wide)
    assert answer.error is not None and answer.error.code == "project_too_wide"


class Bare(Ladder):
    """A machine on which nothing confines."""

    def tried(self) -> tuple[Tried, ...]:
        return (Tried(Rung.BUBBLEWRAP, "it is not installed", "Install it."),)


def test_where_nothing_confines_no_code_runs_unless_the_operator_said_so() -> None:
    with pytest.raises(ZcError, match="no_sandbox"):
        Bare().best()
    assert Bare(opted_out=lambda: True).best() is Rung.ENVIRONMENT
