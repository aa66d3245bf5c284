"""Attacks on the jail: nothing outside its folder is ever opened, by the kernel's way or by the walk."""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from securecontext.boundaries.jail import Jail, Opener, beneath, by_kernel, by_walk
from securecontext.types.errors import Denied, InvalidInput, NotFound, ZcError
from securecontext.validators.filesystem import SafePath

SOURCE = Path(__file__).resolve().parents[2] / "src"
SECRET = b"outside"
WAYS = [by_kernel, by_walk, beneath]


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "file").write_bytes(SECRET)
    return folder


@pytest.fixture
def root(tmp_path: Path, outside: Path) -> Path:
    folder = tmp_path / "root"
    (folder / "sub" / "deep").mkdir(parents=True)
    for where in (folder, folder / "sub", folder / "sub" / "deep"):
        (where / "file").write_bytes(b"inside")
    return folder


@pytest.fixture(params=WAYS, ids=lambda way: way.__name__)
def jail(request: pytest.FixtureRequest, root: Path) -> Iterator[Jail]:
    with Jail.at(root, request.param) as made:
        yield made


def refusal(jail: Jail, path: str) -> str:
    with pytest.raises(ZcError) as caught:
        jail.read(SafePath.of(path), 100)
    return caught.value.code


def test_what_lies_in_it_is_read_made_and_listed(jail, root):
    assert jail.read(SafePath.of("sub/deep/file"), 100) == b"inside"
    with jail.create(SafePath.of("sub/new")) as file:
        file.write(b"made")
    assert (root / "sub" / "new").read_bytes() == b"made"
    assert (root / "sub" / "new").stat().st_mode & 0o777 == 0o600
    assert jail.names() == ["file", "sub"]
    assert jail.names(SafePath.of("sub")) == ["deep", "file", "new"]
    with pytest.raises(InvalidInput) as caught:
        jail.create(SafePath.of("sub/new"))
    assert caught.value.code == "file_exists"
    assert (root / "sub" / "new").read_bytes() == b"made"


def test_rt_s1_12_a_symlink_out_of_the_project_is_refused(jail, root, outside):
    (root / "link").symlink_to(outside / "file")
    (root / "folder").symlink_to(outside)
    (root / "sub" / "up").symlink_to("../../outside")
    (root / "absolute").symlink_to("/etc/passwd")
    for path in ("link", "folder/file", "sub/up/file", "absolute"):
        assert refusal(jail, path) == "outside_jail", path
    with pytest.raises(Denied):
        jail.names(SafePath.of("folder"))
    with pytest.raises(Denied):
        jail.create(SafePath.of("folder/planted"))
    assert not (outside / "planted").exists()


def test_no_symlink_is_followed_although_it_stays_inside(jail, root):
    (root / "link").symlink_to("file")
    (root / "chain").symlink_to("link")
    (root / "around").symlink_to("sub")
    (root / "loop").symlink_to("loop")
    for path in ("link", "chain", "around/file", "loop", "loop/file"):
        assert refusal(jail, path) == "outside_jail", path


def test_a_dangling_symlink_is_not_made_into_a_file_outside(jail, root, outside):
    (root / "dangling").symlink_to(outside / "planted")
    with pytest.raises(ZcError):
        jail.create(SafePath.of("dangling"))
    assert not (outside / "planted").exists()


def test_magic_links_are_refused(root):
    handle = os.open("/etc/passwd", os.O_RDONLY)
    try:
        for way in WAYS:
            with Jail.at(Path("/proc"), way) as jail:
                for path in (f"{os.getpid()}/fd/{handle}", f"{os.getpid()}/root/etc/passwd", "self/status"):
                    assert refusal(jail, path) == "outside_jail", (way, path)
    finally:
        os.close(handle)


def test_only_regular_files_are_opened_and_none_is_waited_for(jail, root):
    os.mkfifo(root / "pipe")
    listening = socket.socket(socket.AF_UNIX)
    here = os.open(root, os.O_RDONLY)
    try:
        listening.bind(f"/proc/self/fd/{here}/sock")
        for path in ("pipe", "sock", "sub", "file/below"):
            assert refusal(jail, path) == "not_a_file", path
    finally:
        listening.close()
        os.close(here)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can make a device")
def test_a_device_is_refused(jail, root):
    try:
        os.mknod(root / "null", 0o666 | 0o020000, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("this kernel lets nobody make a device")
    assert refusal(jail, "null") in ("not_a_file", "jail_unreadable")


def test_a_file_with_other_names_is_refused_where_that_is_asked(jail, root, outside):
    os.link(outside / "file", root / "hard")
    assert jail.read(SafePath.of("hard"), 100) == SECRET
    with pytest.raises(Denied) as caught:
        jail.read(SafePath.of("hard"), 100, one_name=True)
    assert caught.value.code == "many_names"
    assert jail.read(SafePath.of("file"), 100, one_name=True) == b"inside"


def test_a_file_that_is_gone_or_too_large_is_refused(jail, root):
    assert refusal(jail, "absent") == "no_such_file"
    assert refusal(jail, "absent/file") == "no_such_file"
    (root / "large").write_bytes(b"x" * 101)
    assert refusal(jail, "large") == "too_large"


def test_a_jail_is_a_folder_and_no_link_to_one(root, outside, tmp_path):
    (tmp_path / "door").symlink_to(outside)
    with pytest.raises(Denied):
        Jail.at(tmp_path / "door")
    with pytest.raises(NotFound):
        Jail.at(tmp_path / "absent")
    with pytest.raises(InvalidInput):
        Jail.at(root / "file")
    with pytest.raises(ZcError):
        Jail.at(Path("a\0b"))


def test_a_root_that_is_exchanged_later_changes_nothing(jail, root, outside):
    root.rename(root.with_name("moved"))
    root.symlink_to(outside)
    assert jail.read(SafePath.of("file"), 100) == b"inside"


def test_no_handle_is_left_open(jail, root):
    (root / "link").symlink_to("sub")
    os.mkfifo(root / "pipe")
    before = len(os.listdir("/proc/self/fd"))
    for path in ("file", "sub/deep/file", "link/file", "pipe", "absent", "sub/absent", "file/x"):
        with contextlib.suppress(ZcError):
            jail.read(SafePath.of(path), 100, one_name=True)
    assert len(os.listdir("/proc/self/fd")) == before


def _exchange(left: Path, right: Path) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    done = libc.renameat2(-100, os.fsencode(left), -100, os.fsencode(right), ctypes.c_uint(2))
    if done != 0:
        raise OSError(ctypes.get_errno(), "renameat2")


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize(
    ("swapped", "path"), [("sub", "sub/deep/file"), ("sub/deep", "sub/deep/file"), ("file", "file")]
)
def test_a_symlink_swapped_in_mid_walk_never_leads_out(way: Opener, swapped, path, root, outside):
    """A thread exchanges a folder, or the file, and a link to the outside while another opens, thousands of times."""
    (outside / "deep").mkdir()
    (outside / "deep" / "file").write_bytes(SECRET)
    other = root / "other"
    other.symlink_to(outside / Path(swapped).relative_to(Path(swapped).parts[0]))
    if swapped == "file":
        other.unlink()
        other.symlink_to(outside / "file")
    stop = threading.Event()
    swaps = 0

    def swap() -> None:
        nonlocal swaps
        while not stop.is_set():
            _exchange(root / swapped, other)
            swaps += 1

    counts = {"inside": 0, "refused": 0}
    thread = threading.Thread(target=swap)
    thread.start()
    try:
        with Jail.at(root, way) as jail:
            target = SafePath.of(path)
            for _ in range(4_000):
                try:
                    assert jail.read(target, 100) == b"inside"
                    counts["inside"] += 1
                except Denied:
                    counts["refused"] += 1
    finally:
        stop.set()
        thread.join()
    assert swaps > 0
    assert counts["inside"] + counts["refused"] == 4_000


FILTERED = """
import ctypes, os, struct, sys
from pathlib import Path
from securecontext.boundaries import jail
from securecontext.types.errors import Denied
from securecontext.validators.filesystem import SafePath

number, root = int(sys.argv[1]), Path(sys.argv[2])
libc = ctypes.CDLL(None, use_errno=True)
def instruction(code, jt, jf, k): return struct.pack("=HBBI", code, jt, jf, k)
# The number of the call; where it is openat2: answer with the error, else let it pass.
program = b"".join([instruction(0x20, 0, 0, 0), instruction(0x15, 0, 1, jail.OPENAT2),
    instruction(0x06, 0, 0, 0x00050000 | number), instruction(0x06, 0, 0, 0x7FFF0000)])
held = ctypes.create_string_buffer(program)
class Filter(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_void_p)]
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.byref(Filter(4, ctypes.addressof(held)))) == 0, ctypes.get_errno()
folder = os.open(root, os.O_RDONLY)
try:
    jail.by_kernel(folder, ("file",), os.O_RDONLY, 0)
except OSError as error:
    assert error.errno == number
else:
    raise SystemExit("the filter does not hold")
with jail.Jail.at(root) as made:
    assert made.read(SafePath.of("sub/deep/file"), 100) == b"inside"
    try:
        made.read(SafePath.of("link"), 100)
    except Denied as error:
        print(error.code)
"""


@pytest.mark.parametrize("number", [1, 38], ids=["EPERM", "ENOSYS"])
def test_where_a_filter_forbids_the_kernels_jail_the_walk_holds(number, root, outside):
    (root / "link").symlink_to(outside / "file")
    done = subprocess.run(
        [sys.executable, "-c", FILTERED, str(number), str(root)],
        env=os.environ | {"PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
    )
    assert done.stdout == "outside_jail\n", done.stderr


ORDINARY = """
import os, sys
from pathlib import Path
from securecontext.boundaries.jail import Jail, by_kernel, by_walk
from securecontext.types.errors import ZcError
from securecontext.validators.filesystem import SafePath
if os.getuid() == 0:
    os.setgroups([]); os.setgid(12345); os.setuid(12345)
for way in (by_kernel, by_walk):
    with Jail.at(Path(sys.argv[1]), way) as jail:
        for path in ("file", "sub/deep/file", "link", "folder/file", "private", "closed/file", "new"):
            try:
                if path == "new":
                    jail.create(SafePath.of(path)).close()
                print(way.__name__, path, jail.read(SafePath.of(path), 100).decode())
            except ZcError as error:
                print(way.__name__, path, error.code)
"""


def test_rt_s1_12_holds_for_an_ordinary_user(outside):
    import shutil
    import tempfile

    root = Path(tempfile.mkdtemp(dir="/tmp", prefix="zc-jail-"))  # where another user may come, too
    try:
        root.chmod(0o755)
        (root / "sub" / "deep").mkdir(parents=True)
        for where in (root, root / "sub" / "deep"):
            (where / "file").write_bytes(b"inside")
        (root / "private").write_bytes(SECRET)
        (root / "private").chmod(0)
        (root / "closed").mkdir(mode=0)
        (root / "link").symlink_to("/etc/hostname")
        (root / "folder").symlink_to("/etc")
        done = subprocess.run(
            [sys.executable, "-c", ORDINARY, str(root)],
            env=os.environ | {"PYTHONPATH": str(SOURCE)},
            capture_output=True,
            text=True,
            check=True,
        )
        lines = done.stdout.splitlines()
    finally:
        (root / "closed").chmod(0o700)
        shutil.rmtree(root)
    for way in ("by_kernel", "by_walk"):
        assert [line.removeprefix(f"{way} ") for line in lines if line.startswith(way)][:6] == [
            "file inside",
            "sub/deep/file inside",
            "link outside_jail",
            "folder/file outside_jail",
            "private jail_unreadable",
            "closed/file jail_unreadable",
        ]
    if os.getuid() == 0:
        assert [line for line in lines if " new " in line] == [
            f"{way} new jail_unreadable" for way in ("by_kernel", "by_walk")
        ]
