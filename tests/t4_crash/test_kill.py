"""SIGKILL of the daemon, of the server, and of both, at the worst moments: what was closed is never lost."""

import os
import random
import signal
import sys
from pathlib import Path
from subprocess import PIPE

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
from tests.t6_system.machine import wait_until

pytestmark = pytest.mark.kernel

MEBIBYTE = 1024 * 1024
FILES = 500

WRITER = """
import os, random, sys
folder, count = sys.argv[1], int(sys.argv[2])
open_one = open(os.path.join(folder, "never closed"), "wb", buffering=0)
for number in range(count):
    content = random.Random(number).randbytes(1 + number * 37 % 9000)
    with open(os.path.join(folder, f"file{number}"), "wb") as file:
        file.write(content)
    print(number, flush=True)  # it is closed: from here on it is promised
    open_one.write(b"x")
"""


def _content(number: int) -> bytes:
    return random.Random(number).randbytes(1 + number * 37 % 9000)


def _check_everywhere(world: World, mount: Mount, expected: dict[str, str]) -> None:
    """Check the mount, the workspace, and a mount with an empty cache; and that each cache is sound."""
    assert local_files(mount.place) == expected
    mount.sync()
    with world.api() as api:
        assert remote_files(api) == expected
    fresh = world.mount(f"fresh-{len(world.mounts)}")
    assert local_files(fresh.place) == expected
    for each in (mount, fresh):
        each.audit()
        assert "Traceback" not in each.log()
    fresh.umount()


def _check_one_version_each(api: Api) -> None:
    for path, node in remote_tree(api).items():
        if node.kind == "file":
            assert len(api.versions(node.id)) == 1, path
    assert trashed_names(api) == set()


def _write_until(world: World, mount: Mount, closed: int) -> tuple[set[int], "Writer"]:
    writer = Writer(world, mount)
    return {writer.next_closed() for _ in range(closed)}, writer


class Writer:
    """A program that writes many files, and says of each when it is closed."""

    def __init__(self, world: World, mount: Mount) -> None:
        self._program = world.start(
            sys.executable, "-c", WRITER, mount.place, str(FILES), stdout=PIPE, stderr=PIPE
        )

    def next_closed(self) -> int:
        assert self._program.stdout
        return int(self._program.stdout.readline())

    def rest(self) -> set[int]:
        """Return what it could still close before its mount was gone."""
        assert self._program.stdout
        told = self._program.stdout.read()  # unlike communicate(), with what readline() has read ahead
        self._program.wait(PATIENCE_S)
        return {int(line) for line in told.splitlines()}


@pytest.mark.long
@pytest.mark.parametrize("closed", [3, 200, 440])
def test_every_closed_file_outlives_the_daemon(world: World, closed: int) -> None:
    mount = world.mount("mnt")
    promised, writer = _write_until(world, mount, closed)
    mount.kill()
    promised |= writer.rest()
    assert closed <= len(promised) < FILES
    mount.start()
    found = local_files(mount.place)
    expected = {f"file{number}": sha256(_content(number)) for number in promised}
    assert {name: found[name] for name in expected} == expected
    # One file more may have been under way; one was never closed.
    extra = found.keys() - expected.keys()
    assert extra <= {"never closed", f"file{max(promised) + 1}"}
    _check_everywhere(world, mount, found)
    with world.api() as api:
        tree = remote_tree(api)
        assert all(len(api.versions(tree[name].id)) == 1 for name in expected)
        assert trashed_names(api) == set()


@pytest.mark.long
def test_chunks_that_arrived_are_not_sent_again(world: World) -> None:
    content = random.Random(1).randbytes(72 * MEBIBYTE + 12_345)
    wire = world.proxy()
    mount = world.mount("mnt", url=wire.url)
    with world.api() as api:
        wire.hold_after(44 * MEBIBYTE)
        (mount / "large").write_bytes(content)
        wait_until(lambda: len(_arrived(api)) >= 3, limit_s=PATIENCE_S)
        mount.kill()
        wire.cut()
        arrived = _settled(api)
        assert 3 <= len(arrived) < 10
        session = wire.chunks[0][0]
        before = len(wire.chunks)
        wire.let_pass()
        wire.mend()
        mount.start()
        assert sha256((mount / "large").read_bytes()) == sha256(content)
        mount.sync()
        again = wire.chunks[before:]
        assert {upload.replace("-", "") for upload, _ in again} == {session.replace("-", "")}
        assert sorted(order for _, order in again) == sorted(set(range(1, 11)) - arrived)
        assert remote_files(api) == {"large": sha256(content)}
        _check_one_version_each(api)
    _check_everywhere(world, mount, {"large": sha256(content)})


def _arrived(api: Api) -> set[int]:
    sessions = api.get("upload/details/")["sessions"]
    return {int(order) for session in sessions for order in session["chunks"]}


def _settled(api: Api) -> set[int]:
    """Return the chunks that are there when the server has dealt with what was on the way."""
    seen: list[set[int]] = [_arrived(api)]

    def same_again() -> bool:
        seen.append(_arrived(api))
        return len(seen) > 20 and seen[-20:] == [seen[-1]] * 20

    wait_until(same_again)
    return seen[-1]


@pytest.mark.long
def test_server_that_is_killed_gets_everything_once(world: World) -> None:
    mount = world.mount("mnt")
    expected: dict[str, str] = {}
    for number in range(120):
        (mount / f"file{number}").write_bytes(_content(number))
        expected[f"file{number}"] = sha256(_content(number))
    large = random.Random(2).randbytes(24 * MEBIBYTE)
    (mount / "large").write_bytes(large)
    expected["large"] = sha256(large)
    with world.api() as api:
        wait_until(lambda: len(api.children()) > 10, limit_s=PATIENCE_S)
    world.server.kill()
    for number in range(120, 160):
        (mount / f"file{number}").write_bytes(_content(number))
        expected[f"file{number}"] = sha256(_content(number))
    assert local_files(mount.place) == expected
    world.restart_server()
    _check_everywhere(world, mount, expected)
    with world.api() as api:
        _check_one_version_each(api)


@pytest.mark.long
def test_daemon_and_server_killed_together(world: World) -> None:
    mount = world.mount("mnt")
    promised, writer = _write_until(world, mount, 150)
    world.server.kill()
    mount.kill()
    promised |= writer.rest()
    world.restart_server()
    mount.start()
    found = local_files(mount.place)
    expected = {f"file{number}": sha256(_content(number)) for number in promised}
    assert {name: found[name] for name in expected} == expected
    _check_everywhere(world, mount, found)
    with world.api() as api:
        _check_one_version_each(api)


class Oracle:
    """Does random things to a mount, and knows what each call that returned has promised."""

    def __init__(self, mount: Mount, seed: int) -> None:
        self.mount = mount
        self.files: dict[str, bytes] = {}
        self._chance = random.Random(seed)
        self._count = 0

    def step(self) -> None:
        """Do one thing, and remember it; nothing is interrupted, as nobody is killed meanwhile."""
        chance = self._chance
        what = chance.choice(["write", "write", "write", "save", "rename", "delete", "append"])
        old = chance.choice(sorted(self.files)) if self.files else None
        if old is None or what == "write":
            self._count += 1
            self._write(f"f{self._count % 25}")
        elif what == "save":
            content = chance.randbytes(chance.randrange(3000))
            (self.mount / "temporary").write_bytes(content)
            os.replace(self.mount / "temporary", self.mount / old)
            self.files[old] = content
        elif what == "rename":
            new = f"r{chance.randrange(25)}"
            os.rename(self.mount / old, self.mount / new)
            self.files[new] = self.files.pop(old)
        elif what == "delete":
            (self.mount / old).unlink()
            del self.files[old]
        else:
            with (self.mount / old).open("ab") as file:
                file.write(b"appended")
            self.files[old] += b"appended"

    def _write(self, name: str) -> None:
        content = self._chance.randbytes(self._chance.randrange(5000))
        (self.mount / name).write_bytes(content)
        self.files[name] = content

    def hashes(self) -> dict[str, str]:
        return {name: sha256(content) for name, content in self.files.items()}


@pytest.mark.long
@pytest.mark.parametrize("seed", [1, 2])
def test_kills_at_random_moments(world: World, seed: int) -> None:
    mount = world.mount("mnt", upload_delay_s=0.01)
    oracle, chance = Oracle(mount, seed), random.Random(seed)
    for _ in range(10):
        for _ in range(chance.randrange(5, 60)):
            oracle.step()
        if chance.random() < 0.3:
            world.server.kill()
            world.restart_server()
        mount.kill()
        mount.start()
        assert local_files(mount.place) == oracle.hashes()
    mount.umount()
    mount.start()
    _check_everywhere(world, mount, oracle.hashes())


@pytest.mark.long
def test_fsynced_file_that_is_still_open_outlives_the_daemon(world: World) -> None:
    mount = world.mount("mnt")
    descriptor = os.open(mount / "file", os.O_CREAT | os.O_WRONLY)
    try:
        os.write(descriptor, b"synced")
        os.fsync(descriptor)
        mount.signal(signal.SIGKILL)
        world.machine.daemon(mount.place).wait_gone(PATIENCE_S)
    finally:
        with pytest.raises(OSError, match=r"not connected|abort"):
            os.close(descriptor)
    mount.start()
    assert Path(mount / "file").read_bytes() == b"synced"
    _check_everywhere(world, mount, {"file": sha256(b"synced")})
