"""What programs do with files every day, here and as another mount sees it. Long: a test for each habit."""

import errno
import mmap
import os
import random
import sqlite3
import stat
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from tests.t2_server.serving import Api
from tests.t5_kernel.mounted import (
    PATIENCE_S,
    Mount,
    World,
    local_files,
    remote_files,
    remote_tree,
    sha256,
    trashed_names,
)
from tests.t5_kernel.proxy import Proxy
from tests.t6_system.machine import wait_until

pytestmark = pytest.mark.kernel

MEBIBYTE = 1024 * 1024


@dataclass
class Pair:
    """Two mounts of one workspace, for all tests of this module; each test has a folder of its own.

    `wire` is what the first mount talks through.
    """

    world: World
    first: Mount
    second: Mount
    wire: Proxy
    api: Api


@pytest.fixture(scope="module", params=[True, False], ids=["passthrough", "ordinary"])
def shared(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Pair]:
    world = World(tmp_path_factory.mktemp("files"))
    try:
        wire = world.proxy()
        first = world.mount("first", url=wire.url, passthrough=request.param)
        second = world.mount("second", passthrough=request.param)
        with world.api() as api:
            yield Pair(world, first, second, wire, api)
        for mount in (first, second):
            mount.audit()
            assert "Traceback" not in mount.log()
    finally:
        world.print_logs()
        world.clean_up()


@pytest.fixture
def pair(shared: Pair) -> Iterator[Pair]:
    with shared.world.bounded():
        yield shared


@pytest.fixture
def here(pair: Pair, request: pytest.FixtureRequest) -> Path:
    """Return a new folder on the first mount."""
    folder = pair.first / _folder_name(request)
    folder.mkdir()
    return folder


@pytest.fixture
def there(pair: Pair, request: pytest.FixtureRequest) -> Path:
    """Return the same folder on the second mount, where it may not be seen yet."""
    return pair.second / _folder_name(request)


@pytest.fixture
def remote(pair: Pair, request: pytest.FixtureRequest) -> Callable[[], dict[str, str]]:
    """Return a function that tells path and sha256 of what the workspace has of the folder."""
    return lambda: remote_files(pair.api, pair.api.children()[_folder_name(request)])


def _folder_name(request: pytest.FixtureRequest) -> str:
    return str(request.node.name.removeprefix("test_"))


def _soon(condition: Callable[[], bool]) -> None:
    wait_until(condition, limit_s=PATIENCE_S)


def _has_names(folder: Path, count: int) -> bool:
    return len(os.listdir(folder)) == count


def _has_content(file: Path, content: bytes) -> bool:
    return file.exists() and file.read_bytes() == content


def _stable(path: Path) -> tuple[int, int, int, int]:
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_mode


def _bytes_written_by(pid: int) -> int:
    """Return what the write calls of a process took, in bytes."""
    told = Path(f"/proc/{pid}/io").read_text()
    return next(int(line.split()[1]) for line in told.splitlines() if line.startswith("wchar:"))


def _node(pair: Pair, folder: str, name: str) -> str:
    return pair.api.children(pair.api.children()[folder])[name]


def test_kernel_reads_and_writes_whole_files_by_itself(pair: Pair, here: Path) -> None:
    """By the statistics of the daemon's process: what it wrote itself is no more than its bookkeeping."""
    status = pair.first.status()
    is_on = {feature["name"]: feature["on"] for feature in status["features"]}["passthrough"]
    file, content = here / "file", os.urandom(MEBIBYTE)
    with file.open("wb", buffering=0) as stream:
        # No program is started from here on: its copy of the descriptor is closed, and at a close the daemon
        # begins to send, of an open file by way of a copy that it makes.
        before = _bytes_written_by(status["pid"])
        for _ in range(8):
            stream.write(content)
        written = _bytes_written_by(status["pid"]) - before
    assert file.read_bytes() == content * 8
    assert written < MEBIBYTE if is_on else written >= 8 * MEBIBYTE


def test_create_append_and_truncate(pair: Pair, here: Path, there: Path) -> None:
    file = here / "file"
    with file.open("xb") as writer:
        writer.write(b"first")
    with pytest.raises(FileExistsError):
        file.open("x")
    with file.open("ab") as writer, file.open("ab") as other:
        writer.write(b"-second")
        writer.flush()
        other.write(b"-third")
    assert file.read_bytes() == b"first-second-third"
    os.truncate(file, 5)
    assert file.read_bytes() == b"first"
    os.truncate(file, 8)
    assert file.read_bytes() == b"first\0\0\0"
    pair.first.sync()
    _soon(lambda: (there / "file").exists() and (there / "file").read_bytes() == b"first\0\0\0")
    with file.open("wb"):
        assert file.stat().st_size == 0
    pair.first.sync()
    _soon(lambda: (there / "file").stat().st_size == 0)


def test_sparse_file_and_random_writes(pair: Pair, here: Path, there: Path) -> None:
    chance = random.Random(2)
    size = 3 * MEBIBYTE
    expected = bytearray(size)
    with (here / "sparse").open("wb") as file:
        for _ in range(60):
            position, piece = chance.randrange(size - 9000), chance.randbytes(chance.randrange(9000))
            os.pwrite(file.fileno(), piece, position)
            expected[position : position + len(piece)] = piece
        file.truncate(size)
    assert (here / "sparse").read_bytes() == expected
    pair.first.sync()
    _soon((there / "sparse").exists)
    assert (there / "sparse").read_bytes() == expected


def test_shared_mapping_reaches_the_workspace(
    pair: Pair, here: Path, remote: Callable[[], dict[str, str]]
) -> None:
    (here / "mapped").write_bytes(bytes(20_000))
    with (here / "mapped").open("r+b") as file, mmap.mmap(file.fileno(), 0) as view:
        view[10_000:10_005] = b"hello"
        view.flush()
    expected = bytes(10_000) + b"hello" + bytes(9_995)
    assert (here / "mapped").read_bytes() == expected
    pair.first.sync()
    assert remote() == {"mapped": sha256(expected)}


def test_unlinked_file_lives_while_it_is_open(
    pair: Pair, here: Path, remote: Callable[[], dict[str, str]]
) -> None:
    with (here / "file").open("w+b") as file:
        file.write(b"content")
        file.flush()
        (here / "file").unlink()
        assert not (here / "file").exists()
        file.write(b" and more")
        file.seek(0)
        assert file.read() == b"content and more"
        assert os.fstat(file.fileno()).st_nlink == 0
        (here / "file").write_bytes(b"another")
    assert (here / "file").read_bytes() == b"another"
    pair.first.sync()
    assert remote() == {"file": sha256(b"another")}


def test_rename_over_an_open_file_keeps_its_content_for_who_has_it_open(here: Path) -> None:
    (here / "target").write_bytes(b"old")
    (here / "source").write_bytes(b"new")
    with (here / "target").open("rb") as file:
        os.replace(here / "source", here / "target")
        assert file.read() == b"old"
    assert (here / "target").read_bytes() == b"new"
    assert os.listdir(here) == ["target"]


def test_directories_move_with_all_that_is_in_them(
    pair: Pair, here: Path, there: Path, remote: Callable[[], dict[str, str]]
) -> None:
    (here / "a" / "b").mkdir(parents=True)
    (here / "a" / "b" / "file").write_bytes(b"x")
    (here / "c").mkdir()
    pair.first.sync()
    node = _node(pair, here.name, "a")
    os.rename(here / "a", here / "c" / "moved")
    assert (here / "c" / "moved" / "b" / "file").read_bytes() == b"x"
    with pytest.raises(OSError, match="not empty"):
        os.rmdir(here / "c")
    with pytest.raises(OSError, match="Invalid"):
        os.rename(here / "c", here / "c" / "moved" / "below itself")
    (here / "empty").mkdir()
    os.rename(here / "c" / "moved", here / "empty")
    pair.first.sync()
    assert remote() == {"empty/b/file": sha256(b"x")}
    assert _node(pair, here.name, "empty") == node
    _soon(lambda: (there / "empty" / "b" / "file").exists() and not (there / "a").exists())


@pytest.mark.long
def test_listing_of_three_thousand_files_is_whole(pair: Pair, here: Path, there: Path) -> None:
    names = {f"file number {number}" for number in range(3000)}
    descriptor = os.open(here, os.O_RDONLY)
    try:
        for name in names:
            os.mknod(name, 0o644, dir_fd=descriptor)
        for listed in (os.listdir(here), os.listdir(descriptor)):
            assert len(listed) == 3000
            assert set(listed) == names
    finally:
        os.close(descriptor)
    for name in os.listdir(here)[::2]:
        (here / name).unlink()
    left = sorted(os.listdir(here))
    assert len(left) == 1500
    pair.first.sync()
    _soon(lambda: there.exists() and sorted(os.listdir(there)) == left)


def test_symlink_mode_and_times_outlive_a_remount(pair: Pair, here: Path) -> None:
    (here / "file").write_bytes(b"#!/bin/sh\necho it runs\n")
    (here / "file").chmod(0o750)
    os.symlink("file", here / "link")
    os.utime(here / "file", ns=(10**18 + 1, 10**18 + 2))
    pair.first.sync()
    before = _stable(here / "file")
    assert before[2:] == (10**18 + 2, stat.S_IFREG | 0o750)
    pair.first.umount()
    pair.first.start()
    assert _stable(here / "file") == before
    assert os.readlink(here / "link") == "file"
    assert pair.world.run(here / "link") == "it runs\n"


@pytest.mark.long
def test_nothing_moves_under_an_edit_tool(pair: Pair, here: Path) -> None:
    """Read, stat; the upload lands; stat again: an edit tool refuses what changed since it was read."""
    file = here / "file"
    file.write_bytes(b"content")
    at_read = _stable(file)
    with file.open("rb") as reader:
        assert reader.read() == b"content"
        pair.first.sync()
        assert _stable(file) == at_read
        assert os.fstat(reader.fileno()).st_mtime_ns == at_read[2]
    with os.scandir(here) as entries:
        assert next(entries).inode() == at_read[0]
    pair.first.umount()
    pair.first.start()
    assert _stable(file) == at_read
    assert file.read_bytes() == b"content"
    assert _stable(file) == at_read
    temporary = here / ".file.tmp"
    temporary.write_bytes(b"edited content")
    written = _stable(temporary)
    os.replace(temporary, file)
    assert _stable(file) == written
    pair.first.sync()
    assert _stable(file) == written
    pair.first.umount()
    pair.first.start()
    assert _stable(file) == written


def test_file_from_elsewhere_is_stable_at_every_look(pair: Pair, here: Path, there: Path) -> None:
    (here / "file").write_bytes(b"content")
    pair.first.sync()
    _soon((there / "file").exists)
    at_first = _stable(there / "file")
    assert (there / "file").read_bytes() == b"content"
    assert _stable(there / "file") == at_first
    pair.second.umount()
    pair.second.start()
    assert _stable(there / "file") == at_first


def test_save_by_rename_is_one_new_version(pair: Pair, here: Path, there: Path) -> None:
    (here / "file").write_bytes(b"first")
    pair.first.sync()
    node = _node(pair, here.name, "file")
    for content in (b"second", b"third"):
        with (here / "file.swap-x").open("wb") as temporary:
            temporary.write(content)
            temporary.flush()
            os.fsync(temporary.fileno())
        os.replace(here / "file.swap-x", here / "file")
        pair.first.sync()
    assert _node(pair, here.name, "file") == node
    assert [version["hash"] for version in pair.api.versions(node)] == [
        sha256(content) for content in (b"third", b"second", b"first")
    ]
    assert b"swap-x" not in pair.wire.transcript
    assert b"file" in pair.wire.transcript
    _soon(lambda: (there / "file").read_bytes() == b"third")


def test_what_lives_shortly_never_reaches_the_workspace(
    pair: Pair, here: Path, remote: Callable[[], dict[str, str]]
) -> None:
    for number in range(20):
        (here / f"brief-{number}").write_bytes(b"x")
        (here / f"brief-{number}").unlink()
    (here / "link0-a").write_bytes(b"chain")
    for old, new in ("ab", "bc", "cd"):
        os.rename(here / f"link0-{old}", here / f"link0-{new}")
    pair.first.sync()
    assert remote() == {"link0-d": sha256(b"chain")}
    for name in (b"brief-", b"link0-a", b"link0-b", b"link0-c"):
        assert name not in pair.wire.transcript
    assert b"link0-d" in pair.wire.transcript
    node = _node(pair, here.name, "link0-d")
    os.rename(here / "link0-d", here / "link0-e")
    os.rename(here / "link0-e", here / "link0-f")
    pair.first.sync()
    assert b"link0-e" not in pair.wire.transcript
    assert _node(pair, here.name, "link0-f") == node


def test_deleted_tree_vanishes_elsewhere(
    pair: Pair, here: Path, there: Path, remote: Callable[[], dict[str, str]]
) -> None:
    for number in range(40):
        folder = here / "tree" / f"part{number % 4}" / f"{number % 3}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"file{number}").write_bytes(b"x")
    (here / "other").write_bytes(b"stays")
    pair.first.sync()
    _soon(lambda: len(local_files(there)) == 41)
    pair.world.run("rm", "-r", here / "tree")
    pair.first.sync()
    # A service that takes a folder in steps answers before the last of them.
    top = pair.api.children()[here.name]
    _soon(lambda: set(remote_tree(pair.api, top)) == {"other"})
    assert remote() == {"other": sha256(b"stays")}
    assert "tree" in trashed_names(pair.api)
    _soon(lambda: os.listdir(there) == ["other"])


def test_open_descriptor_sees_what_another_mount_wrote(pair: Pair, here: Path, there: Path) -> None:
    (here / "file").write_bytes(b"first")
    pair.first.sync()
    _soon((there / "file").exists)
    with (there / "file").open("rb") as reader:
        assert os.pread(reader.fileno(), 100, 0) == b"first"
        (here / "file").write_bytes(b"a longer second")
        pair.first.sync()
        _soon(lambda: os.pread(reader.fileno(), 100, 0) == b"a longer second")
        (here / "file").write_bytes(b"3")
        pair.first.sync()
        _soon(lambda: os.pread(reader.fileno(), 100, 0) == b"3")
        assert os.fstat(reader.fileno()).st_size == 1


def test_edits_on_both_sides_are_both_kept(pair: Pair, here: Path, there: Path) -> None:
    (here / "file.txt").write_bytes(b"begin")
    pair.first.sync()
    _soon((there / "file.txt").exists)
    pair.wire.cut()
    try:
        (here / "file.txt").write_bytes(b"by the first")
        (here / "new.txt").write_bytes(b"new by the first")
        (there / "file.txt").write_bytes(b"by the second")
        (there / "new.txt").write_bytes(b"new by the second")
        pair.second.sync()
    finally:
        pair.wire.mend()
    pair.first.sync()
    for folder in (here, there):
        _soon(partial(_has_names, folder, 4))
        _soon(partial(_has_content, folder / "file.txt", b"by the second"))
        assert (folder / "new.txt").read_bytes() == b"new by the second"
        kept = {path.name: path.read_bytes() for path in folder.iterdir() if "conflict" in path.name}
        assert sorted(kept.values()) == [b"by the first", b"new by the first"]
        assert all(name.endswith(".txt") for name in kept)


def test_delete_against_edit_keeps_the_edit(pair: Pair, here: Path, there: Path) -> None:
    (here / "file").write_bytes(b"begin")
    pair.first.sync()
    _soon((there / "file").exists)
    pair.wire.cut()
    try:
        (here / "file").write_bytes(b"edited")
        (there / "file").unlink()
        pair.second.sync()
    finally:
        pair.wire.mend()
    pair.first.sync()
    assert (here / "file").read_bytes() == b"edited"
    _soon(lambda: (there / "file").exists() and (there / "file").read_bytes() == b"edited")


@pytest.mark.long
def test_cold_random_reads_do_not_fetch_the_file(pair: Pair) -> None:
    content = random.Random(3).randbytes(64 * MEBIBYTE)
    (pair.first / "large").write_bytes(content)
    pair.first.sync()
    wire = pair.world.proxy()
    cold = pair.world.mount("cold", url=wire.url)
    chance = random.Random(4)
    with (cold / "large").open("rb") as file:
        for _ in range(20):
            position = chance.randrange(len(content) - 5000)
            assert os.pread(file.fileno(), 5000, position) == content[position : position + 5000]
        assert wire.received < len(content) // 2, f"{wire.received} bytes for 100,000"
        across = 8 * MEBIBYTE - 1000
        assert os.pread(file.fileno(), 2000, across) == content[across : across + 2000]
    assert sha256((cold / "large").read_bytes()) == sha256(content)
    whole = wire.received
    assert sha256((cold / "large").read_bytes()) == sha256(content)
    assert wire.received - whole < MEBIBYTE
    cold.umount()
    (pair.first / "large").unlink()


def test_trees_are_copied_and_packed(pair: Pair, here: Path, there: Path) -> None:
    world, chance = pair.world, random.Random(5)
    source = world.machine.folder / "source"
    for number in range(60):
        folder = source / f"{number % 5}" / "deep er"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"ä{number}").write_bytes(chance.randbytes(chance.randrange(20_000)))
    expected = local_files(source)
    world.run("cp", "-r", source, here / "copy")
    world.run("tar", "-C", source, "-cf", here / "packed.tar", ".")
    (here / "unpacked").mkdir()
    world.run("tar", "-C", here / "unpacked", "-xf", here / "packed.tar")
    pair.first.sync()
    for folder in (here, there):
        assert local_files(folder / "copy") == expected
        assert local_files(folder / "unpacked") == expected
    world.run("cp", "-r", there / "copy", here / "third")
    assert local_files(here / "third") == expected


def test_sqlite_works_in_the_mount(pair: Pair, here: Path, there: Path) -> None:
    with closing(sqlite3.connect(here / "base.db")) as base:
        base.execute("CREATE TABLE things (number INTEGER PRIMARY KEY, name TEXT)")
        for begin in range(0, 300, 30):
            with base:
                base.executemany(
                    "INSERT INTO things VALUES (?, ?)", [(n, f"thing {n}") for n in range(begin, begin + 30)]
                )
        base.execute("UPDATE things SET name = 'other' WHERE number % 2")
        base.commit()
        base.execute("VACUUM")
    pair.first.sync()
    _soon((there / "base.db").exists)
    with closing(sqlite3.connect(there / "base.db")) as base:
        assert base.execute("SELECT count(*) FROM things WHERE name = 'other'").fetchone() == (150,)
        assert base.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert os.listdir(here) == ["base.db"]


def test_sed_and_pathlib_edit_in_place(pair: Pair, here: Path, there: Path) -> None:
    (here / "file").write_text("alpha beta\n" * 100)
    pair.first.sync()
    node = _node(pair, here.name, "file")
    pair.world.run("sed", "-i", "s/beta/gamma/", here / "file")
    (here / "other").write_text((here / "file").read_text().replace("alpha", "omega"))
    (here / "other").rename(here / "renamed")
    pair.world.run("sh", "-c", f"echo appended >> '{here}/file'")
    pair.first.sync()
    assert _node(pair, here.name, "file") == node
    assert (there / "file").read_text() == "alpha gamma\n" * 100 + "appended\n"
    _soon((there / "renamed").exists)  # where listings lag, it is the news that tell of it
    assert (there / "renamed").read_text() == "omega gamma\n" * 100
    assert sorted(os.listdir(there)) == ["file", "renamed"]


def test_file_made_over_the_interface_is_seen_here(pair: Pair, here: Path) -> None:
    pair.first.sync()
    api = pair.api
    folder = api.children()[here.name]
    assert not (here / "from outside").exists()
    node = api.upload("from outside", b"one", folder)
    _soon((here / "from outside").exists)
    assert (here / "from outside").read_bytes() == b"one"
    api.post(f"{api.storage}{node}/update/", name="renamed outside")
    _soon(lambda: os.listdir(here) == ["renamed outside"])
    api.delete(f"{api.storage}{node}/delete/")
    _soon(lambda: os.listdir(here) == [])


def test_errors_are_those_of_a_file_system(here: Path) -> None:
    (here / "file").write_bytes(b"x")
    (here / "folder").mkdir()
    with pytest.raises(NotADirectoryError):
        (here / "file" / "below").open()
    with pytest.raises(IsADirectoryError):
        (here / "folder").open("w")
    with pytest.raises(FileNotFoundError):
        (here / "missing").open()
    with pytest.raises(OSError, match="too long"):
        (here / ("n" * 256)).open("w")
    with pytest.raises(OSError) as refused:  # noqa: PT011 - the number is checked
        os.link(here / "file", here / "hard")
    assert refused.value.errno in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS)
    assert subprocess.run(["rm", here / "folder"], capture_output=True, check=False).returncode == 1
