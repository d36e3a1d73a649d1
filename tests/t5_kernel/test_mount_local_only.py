"""`local_only` on real mounts: what stays here, what renames across the border do, and what others see."""

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.posix.syscalls import RENAME_EXCHANGE, renameat2
from tests.t5_kernel.mounted import PATIENCE_S, Mount, World, local_files, remote_files, remote_tree, sha256
from tests.t6_system.machine import wait_until

pytestmark = [pytest.mark.kernel, pytest.mark.long]

PATTERNS = ["node_modules/", ".venv/", "*.tmp", "!kept.tmp", "/target"]


@pytest.fixture
def keeping(world: World) -> Mount:
    return world.mount("first", local_only=PATTERNS)


def state(path: Path) -> bytes:
    return os.getxattr(path, "user.mountfs.state")


def fill(folder: Path) -> dict[str, str]:
    """Make a folder with what package managers put there; return its files."""
    (folder / "package" / "bin").mkdir(parents=True)
    (folder / "package" / "index.js").write_bytes(b"index" * 50_000)
    (folder / "package" / "bin" / "tool").write_bytes(b"#!/bin/sh\necho tool\n")
    (folder / "package" / "bin" / "tool").chmod(0o755)
    (folder / ".bin").mkdir()
    os.symlink("../package/bin/tool", folder / ".bin" / "tool")
    return local_files(folder)


def test_what_matches_stays_over_kill_and_restart_and_is_nowhere_else(keeping: Mount, world: World) -> None:
    second = world.mount("second")
    app = keeping / "app"
    app.mkdir()
    expected = {f"app/node_modules/{name}": found for name, found in fill(app / "node_modules").items()}
    subprocess.run(
        [sys.executable, "-m", "venv", "--without-pip", app / ".venv"], check=True, timeout=PATIENCE_S
    )
    for name in ("main.js", "scratch.tmp", "kept.tmp", "target"):
        (app / name).write_text(name)
    (keeping / "target").mkdir()
    (keeping / "target" / "program").write_bytes(b"program")
    travels = {"app/main.js", "app/kept.tmp", "app/target"}
    here = local_files(keeping.place)
    assert expected.items() <= here.items()
    for end in (None, keeping.umount, keeping.kill):
        if end is not None:
            end()
            keeping.start()
        keeping.sync()
        with world.api() as api:
            assert set(remote_files(api)) == travels
        assert local_files(keeping.place) == here
        assert subprocess.check_output([app / "node_modules" / ".bin" / "tool"]) == b"tool\n"
        assert subprocess.check_output([app / ".venv" / "bin" / "python", "-c", "print(1)"]) == b"1\n"
        assert state(app / "node_modules" / "package" / "index.js") == b"local"
    wait_until(lambda: set(local_files(second.place)) == travels, limit_s=PATIENCE_S)
    assert sorted(os.listdir(second / "app")) == ["kept.tmp", "main.js", "target"]
    assert keeping.status()["uploads"]["failed"] == []
    shutil.rmtree(app / "node_modules")
    keeping.sync()
    keeping.audit()


def test_files_cross_the_border_by_rename_in_both_directions(keeping: Mount, world: World) -> None:
    second = world.mount("second")
    content = os.urandom(300_000)
    (keeping / "result.tmp").write_bytes(content)
    inode = (keeping / "result.tmp").stat().st_ino
    keeping.sync()
    with world.api() as api:
        assert remote_files(api) == {}
    os.rename(keeping / "result.tmp", keeping / "result")
    keeping.sync()
    wait_until(lambda: local_files(second.place) == {"result": sha256(content)}, limit_s=PATIENCE_S)
    before = (keeping / "result").stat()
    assert before.st_ino == inode
    os.rename(keeping / "result", keeping / "again.tmp")
    keeping.sync()
    wait_until(lambda: local_files(second.place) == {}, limit_s=PATIENCE_S)
    keeping.kill()
    keeping.start()
    after = (keeping / "again.tmp").stat()
    assert (after.st_ino, after.st_mtime_ns, after.st_size) == (inode, before.st_mtime_ns, before.st_size)
    assert (keeping / "again.tmp").read_bytes() == content
    assert state(keeping / "again.tmp") == b"local"


def test_a_file_that_is_open_goes_on_through_renames_across_the_border(keeping: Mount, world: World) -> None:
    second = world.mount("second")
    with (keeping / "log.tmp").open("wb", buffering=0) as log:
        log.write(b"one\n")
        os.rename(keeping / "log.tmp", keeping / "log")
        log.write(b"two\n")
        keeping.sync()
        os.rename(keeping / "log", keeping / "log.tmp")
        log.write(b"three\n")
        os.rename(keeping / "log.tmp", keeping / "log")
        log.write(b"four\n")
    keeping.sync()
    expected = b"one\ntwo\nthree\nfour\n"
    assert (keeping / "log").read_bytes() == expected
    wait_until(lambda: local_files(second.place) == {"log": sha256(expected)}, limit_s=PATIENCE_S)


def test_directories_cross_as_wholes_outward_and_file_by_file_inward(keeping: Mount, world: World) -> None:
    second = world.mount("second")
    made = fill(keeping / "node_modules")
    keeping.sync()
    os.rename(keeping / "node_modules", keeping / "vendored")
    keeping.sync()
    wait_until(lambda: local_files(second / "vendored") == made, limit_s=PATIENCE_S)
    wait_until(lambda: (second / "vendored/package/bin/tool").stat().st_mode & 0o111 != 0, limit_s=PATIENCE_S)
    assert os.readlink(second / "vendored/.bin/tool") == "../package/bin/tool"
    with pytest.raises(OSError, match=os.strerror(errno.EXDEV)):
        os.rename(keeping / "vendored", keeping / "node_modules")
    world.run("mv", keeping / "vendored", keeping / "node_modules")
    keeping.sync()
    assert local_files(keeping / "node_modules") == made
    assert subprocess.check_output([keeping / "node_modules/.bin/tool"]) == b"tool\n"
    wait_until(lambda: os.listdir(second.place) == [], limit_s=PATIENCE_S)
    with world.api() as api:
        assert remote_tree(api) == {}


def test_a_folder_with_such_a_place_in_it_moves_as_a_whole(keeping: Mount, world: World) -> None:
    second = world.mount("second")
    (keeping / "app").mkdir()
    (keeping / "app" / "main.js").write_bytes(b"main")
    made = fill(keeping / "app" / "node_modules")
    keeping.sync()
    os.rename(keeping / "app", keeping / "moved")
    keeping.sync()
    wait_until(lambda: set(local_files(second.place)) == {"moved/main.js"}, limit_s=PATIENCE_S)
    assert local_files(keeping / "moved" / "node_modules") == made
    os.rename(second / "moved", second / "by-another")
    second.sync()
    wait_until(lambda: (keeping / "by-another" / "main.js").exists(), limit_s=PATIENCE_S)
    assert local_files(keeping / "by-another" / "node_modules") == made
    assert not (keeping / "moved").exists()


def test_saves_and_exchanges_across_the_border(keeping: Mount, world: World) -> None:
    second = world.mount("second")
    (keeping / "state").write_bytes(b"first")
    keeping.sync()
    node = os.getxattr(keeping / "state", "user.mountfs.node")
    (keeping / "state.tmp").write_bytes(b"second")
    os.replace(keeping / "state.tmp", keeping / "state")
    keeping.sync()
    assert os.getxattr(keeping / "state", "user.mountfs.node") == node
    wait_until(lambda: (second / "state").read_bytes() == b"second", limit_s=PATIENCE_S)
    (keeping / "other.tmp").write_bytes(b"third")
    renameat2(keeping / "other.tmp", keeping / "state", RENAME_EXCHANGE)
    keeping.sync()
    assert (keeping / "other.tmp").read_bytes() == b"second"
    assert state(keeping / "other.tmp") == b"local"
    wait_until(lambda: local_files(second.place) == {"state": sha256(b"third")}, limit_s=PATIENCE_S)


def test_what_others_make_at_such_a_place_is_theirs_and_ours_is_kept(keeping: Mount, world: World) -> None:
    second = world.mount("second")
    made = fill(keeping / "node_modules")
    (keeping / "notes.tmp").write_bytes(b"ours")
    keeping.sync()
    (second / "node_modules").mkdir()
    (second / "node_modules" / "theirs.js").write_bytes(b"theirs")
    (second / "notes.tmp").write_bytes(b"theirs")
    second.sync()

    wait_until(lambda: (keeping / "node_modules" / "theirs.js").exists(), limit_s=PATIENCE_S)
    keeping.sync()
    # One folder of both: what was here stays here.
    found = local_files(keeping / "node_modules")
    assert found.pop("theirs.js") == sha256(b"theirs")
    assert found == made
    keeping.kill()
    keeping.start()
    assert local_files(keeping / "node_modules").items() >= made.items()
    assert (second / "node_modules" / "theirs.js").read_bytes() == b"theirs"
    assert (keeping / "notes.tmp").read_bytes() == b"ours"
    (keeping / "notes.tmp").unlink()
    assert (keeping / "notes.tmp").read_bytes() == b"theirs"
    keeping.sync()
    assert (second / "notes.tmp").read_bytes() == b"theirs"
    keeping.audit()
