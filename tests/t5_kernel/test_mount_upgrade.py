"""A mount goes on in another version of the daemon; programs notice nothing, and are told where it fails."""

import fcntl
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any

import pytest

from tests.t5_kernel.mounted import PATIENCE_S, Mount, World, local_files, remote_files
from tests.t5_kernel.next_version import CANNOT_GO_ON, DIES, IS_STOPPED, NO_RESEND, REFUSES, NextVersion
from tests.t6_system.machine import wait_until

pytestmark = pytest.mark.kernel

MEBIBYTE = 1024 * 1024
MANY = [f"{number:0200}" for number in range(250)]
"""More than one look of a program at a directory brings."""

TENANT = """
import fcntl, json, mmap, os, sys
def say(**what):
    print(json.dumps(what), flush=True)
os.chdir("work/deep")
kept = open("../../kept", "r+b", buffering=0)
kept.write(b"before ")
removed = open("../../removed", "w+b", buffering=0)
removed.write(b"only here ")
os.unlink("../../removed")
nameless = os.open("../..", os.O_TMPFILE | os.O_RDWR, 0o600)
os.write(nameless, b"never named")
gone = os.open("../gone", os.O_PATH)
os.rmdir("../gone")
mapped = open("../../mapped", "r+b")
mapping = mmap.mmap(mapped.fileno(), 0)
mapping[:6] = b"before"
with open("../../mapped and closed", "r+b") as file:
    closed = mmap.mmap(file.fileno(), 0)
closed[:6] = b"before"
with open("../../untouched", "rb") as file:
    untouched = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
assert untouched[:5] == b"first"
locked = open("../../locked", "r+b", buffering=0)
fcntl.flock(locked, fcntl.LOCK_EX)
locked.write(b"mine ")
recorded = open("../../recorded", "r+b", buffering=0)
fcntl.lockf(recorded, fcntl.LOCK_EX, 10, 10)
listing = os.scandir("../../many")
names = [next(listing).name for _ in range(100)]
say(ready=True)
sys.stdin.readline()
kept.write(b"after")
kept.seek(0)
removed.write(b"and still")
removed.seek(0)
names += [entry.name for entry in listing]
mapping[6:12] = b" after"
closed[6:12] = b" after"
with open("here", "w") as file:
    file.write("from the working directory")
say(
    kept=kept.read().decode(),
    removed=removed.read().decode(),
    removed_links=os.fstat(removed.fileno()).st_nlink,
    nameless=os.pread(nameless, 100, 0).decode(),
    gone_links=os.fstat(gone).st_nlink,
    mapped=bytes(mapping).decode(),
    closed=bytes(closed).decode(),
    untouched=untouched[-4:].decode(),
    cwd=os.getcwd(),
    names=names,
)
sys.stdin.readline()
locked.write(b"and mine again")
fcntl.flock(locked, fcntl.LOCK_UN)
fcntl.lockf(recorded, fcntl.LOCK_UN, 10, 10)
say(unlocked=True)
sys.stdin.readline()
"""

WAITER = """
import fcntl, sys
file = open(sys.argv[1], "r+b", buffering=0)
print("asking", flush=True)
fcntl.flock(file, fcntl.LOCK_EX)
print(file.read().decode(), flush=True)
"""

BUSY = """
import os, sys, time
folder, until, rounds = sys.argv[1], sys.argv[2], 0
log = os.open(folder + "/log", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
while not os.path.exists(until):
    name, content = f"{folder}/{rounds % 50}", str(rounds).encode() * 100
    with open(name + ".new", "wb") as file:
        file.write(content)
        os.fsync(file.fileno())
    os.rename(name + ".new", name)
    with open(name, "rb") as file:
        assert file.read() == content
    assert str(rounds % 50) in os.listdir(folder)
    os.write(log, b"%d\\n" % rounds)
    rounds += 1
os.close(log)
print(rounds, flush=True)
"""


class Program:
    """A program that goes on line by line, as it is told."""

    def __init__(self, world: World, source: str, *arguments: str | Path, **options: Any) -> None:
        command = (sys.executable, "-c", source, *arguments)
        self._process: Popen[bytes] = world.start(*command, stdin=PIPE, stdout=PIPE, stderr=PIPE, **options)

    def line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            assert self._process.stderr is not None
            raise AssertionError(self._process.stderr.read().decode())
        return line.decode().strip()

    def next(self) -> dict[str, Any]:
        return dict(json.loads(self.line()))

    def go_on(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")
        self._process.stdin.flush()

    def end(self) -> None:
        self.go_on()
        assert self._process.wait(PATIENCE_S) == 0

    def interrupt(self, number: signal.Signals) -> int:
        self._process.send_signal(number)
        return self._process.wait(PATIENCE_S)


def upgrade(mount: Mount) -> None:
    done = mount.world.machine.run("upgrade", mount.place)
    assert (done.code, done.stderr) == (0, ""), (done, mount.log())


def upgrades(mount: Mount) -> int:
    return int(mount.status()["upgrades"])


def waiters(mount: Mount) -> int:
    return sum(lock["waiters"] for lock in mount.status()["locks"])


def has_grown(path: Path, size: int) -> bool:
    return path.stat().st_size > size


def has_text(path: Path, text: str) -> bool:
    return path.read_text() == text


def may_lock(path: Path) -> bool:
    with open(path, "r+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def may_lock_record(path: Path, start: int) -> bool:
    with open(path, "r+b") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, start)
        except BlockingIOError:
            return False
        return True


def furnish(mount: Mount) -> None:
    (mount / "work" / "deep").mkdir(parents=True)
    (mount / "work" / "gone").mkdir()
    (mount / "many").mkdir()
    for name in MANY:
        (mount / "many" / name).touch()
    for name in ("kept", "locked"):
        (mount / name).touch()
    (mount / "recorded").write_bytes(bytes(100))
    for name in ("mapped", "mapped and closed"):
        (mount / name).write_bytes(b"." * 12)
    (mount / "untouched").write_bytes(b"first" + bytes(3 * MEBIBYTE) + b"last")


@pytest.mark.parametrize(("passthrough", "times"), [(True, 2), (False, 1)])
@pytest.mark.long
def test_programs_go_on_with_all_that_they_have_open(world: World, passthrough: bool, times: int) -> None:
    mount = world.mount("mnt", passthrough=passthrough)
    furnish(mount)
    tenant = Program(world, TENANT, cwd=mount.place)
    assert tenant.next() == {"ready": True}
    waiter = Program(world, WAITER, mount / "locked")
    assert waiter.line() == "asking"
    wait_until(lambda: waiters(mount) == 1)
    pid = world.machine.daemon(mount.place).pid

    for _ in range(times):
        upgrade(mount)

    status = mount.status()
    assert (status["pid"], status["upgrades"]) == (pid, times)
    other = world.mount("other")
    assert not may_lock(mount / "locked")
    assert not may_lock(other / "locked")
    assert not may_lock_record(mount / "recorded", 15)
    assert may_lock_record(mount / "recorded", 25)
    tenant.go_on()
    found = tenant.next()
    assert sorted(found.pop("names")) == MANY
    assert found == {
        "kept": "before after",
        "removed": "only here and still",
        "removed_links": 0,
        "nameless": "never named",
        "gone_links": 0,
        "mapped": "before after",
        "closed": "before after",
        "untouched": "last",
        "cwd": str(mount / "work/deep"),
    }
    tenant.go_on()
    assert tenant.next() == {"unlocked": True}
    assert waiter.line() == "mine and mine again"
    waiter.interrupt(signal.SIGTERM)
    tenant.end()
    mount.sync()
    for name in ("mapped", "mapped and closed"):
        wait_until(partial(has_text, other / name, "before after"))
    assert (other / "kept").read_text() == "before after"
    assert (other / "locked").read_text() == "mine and mine again"
    assert (other / "work/deep/here").read_text() == "from the working directory"
    assert not (other / "removed").exists()
    assert may_lock(other / "locked")
    assert may_lock_record(other / "recorded", 15)
    mount.audit()
    mount.umount()


@pytest.mark.parametrize("passthrough", [True, False])
@pytest.mark.long
def test_programs_at_work_notice_nothing(world: World, tmp_path: Path, passthrough: bool) -> None:
    mount = world.mount("mnt", passthrough=passthrough)
    folders = [mount / name for name in "ab"]
    for folder in folders:
        folder.mkdir()
        (folder / "log").touch()
    enough = tmp_path / "enough"
    busy = [Program(world, BUSY, folder, enough) for folder in folders]
    for _ in range(3):
        before = (mount / "a/log").stat().st_size
        wait_until(partial(has_grown, mount / "a/log", before))
        upgrade(mount)
    enough.touch()
    for program, folder in zip(busy, folders, strict=True):
        rounds = int(program.line())
        assert (folder / "log").read_text().split() == [str(number) for number in range(rounds)]
    mount.sync()
    with world.api() as api:
        assert remote_files(api) == local_files(mount.place)
    mount.audit()
    mount.umount()


@pytest.mark.long
def test_what_others_did_meanwhile_is_seen(world: World) -> None:
    mount, other = world.mount("mnt"), world.mount("other")
    (mount / "file").write_text("first")
    (mount / "old").touch()
    mount.sync()
    wait_until(lambda: (other / "file").read_text() == "first")
    with open(mount / "file") as file:
        assert file.read() == "first"
        asking = world.machine.start("upgrade", mount.place)
        (other / "file").write_text("second")
        (other / "old").unlink()
        (other / "new").touch()
        other.sync()
        asking.communicate(timeout=PATIENCE_S)
        assert asking.returncode == 0

        def seen() -> str:
            file.seek(0)
            return file.read()

        wait_until(lambda: seen() == "second")
        wait_until(lambda: sorted(os.listdir(mount.place)) == ["file", "new"])
    mount.umount()


@pytest.fixture
def leased(make_world: Callable[..., World]) -> Iterator[World]:
    """Return a server whose leases may be short."""
    world = make_world("--min-lock-seconds", "1")
    with world.bounded():
        yield world


@pytest.mark.long
def test_a_lease_is_renewed_by_who_goes_on(leased: World) -> None:
    world = leased
    mount, other = world.mount("mnt", lease_duration_s=20), world.mount("other")
    (mount / "locked").touch()
    mount.sync()
    wait_until((other / "locked").exists)
    with open(mount / "locked", "r+b", buffering=0) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        upgrade(mount)
        grants = mount.log().count("lost the lock")
        waiter = Program(world, WAITER, other / "locked")
        assert waiter.line() == "asking"
        wait_until(lambda: lease_was_renewed(mount))
        assert not may_lock(other / "locked")
        file.write(b"under the lock")
        fcntl.flock(file, fcntl.LOCK_UN)
        assert waiter.line() == "under the lock"
        assert mount.log().count("lost the lock") == grants == 0
    mount.umount()


def lease_was_renewed(mount: Mount, known: dict[Path, float] = {}) -> bool:  # noqa: B006 - looks of one test
    """Whether what is left of the lease went up since the first look."""
    left = float(mount.status()["locks"][0]["lease_s"])
    before, known[mount.place] = known.get(mount.place, left), left
    return left > before + 1


@pytest.mark.long
def test_who_waits_for_a_lock_can_still_be_interrupted(world: World) -> None:
    mount = world.mount("mnt")
    (mount / "locked").touch()
    with open(mount / "locked", "r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        waiter = Program(world, WAITER, mount / "locked")
        assert waiter.line() == "asking"
        wait_until(lambda: waiters(mount) == 1)
        upgrade(mount)
        wait_until(lambda: waiters(mount) == 1)
        assert waiter.interrupt(signal.SIGKILL) == -signal.SIGKILL
        wait_until(lambda: waiters(mount) == 0)
    mount.umount()


# What goes wrong.


@pytest.fixture
def version(tmp_path: Path) -> NextVersion:
    """Return the version that is to go on with what `mount` serves."""
    return NextVersion(tmp_path / "next")


@pytest.fixture
def mount(world: World, version: NextVersion) -> Mount:
    return world.mount("mnt", lease_duration_s=60, environment=version.variables)


def test_a_version_that_cannot_go_on_is_found_out_before(
    world: World, mount: Mount, version: NextVersion
) -> None:
    with open(mount / "open", "w+") as file:
        file.write("before ")
        file.flush()
        version.has(REFUSES)
        world.machine.run("upgrade", mount.place).refused(18, "serves on as it was", "this version is broken")
        file.write("after")
        file.flush()
        file.seek(0)
        assert file.read() == "before after"
    assert upgrades(mount) == 0
    mount.umount()


def test_a_kernel_that_cannot_is_told_of(world: World, version: NextVersion) -> None:
    version.has(NO_RESEND)
    mount = world.mount("mnt", lease_duration_s=60, environment=version.variables)
    world.machine.run("upgrade", mount.place).refused(18, "Linux 6.9", "unmount and mount again")
    (mount / "file").write_text("serves on")
    mount.umount()


@pytest.mark.long
def test_where_going_on_fails_the_mount_is_made_anew(
    world: World, mount: Mount, version: NextVersion
) -> None:
    (mount / "closed").write_text("safe")
    descriptor = os.open(mount / "open", os.O_CREAT | os.O_WRONLY)
    version.has(CANNOT_GO_ON)
    world.machine.run("upgrade", mount.place).refused(
        18, "made anew", "division by zero", "nothing that was closed"
    )
    with pytest.raises(OSError, match="not connected"):
        os.fsync(descriptor)
    with suppress(OSError):
        os.close(descriptor)
    assert "what programs have open breaks" in mount.log()
    assert (mount / "closed").read_text() == "safe"
    version.is_mended()
    upgrade(mount)
    assert mount.status()["upgrade_failure"] == ""
    mount.sync()
    mount.umount()


def test_a_kill_in_the_middle_loses_nothing_that_was_closed(
    world: World, mount: Mount, version: NextVersion
) -> None:
    for number in range(50):
        (mount / f"{number}").write_text(f"content {number}")
    descriptor = os.open(mount / "open", os.O_CREAT | os.O_WRONLY)
    version.has(DIES)
    world.machine.run("upgrade", mount.place).refused(18, "ended", "nothing that was closed is lost")
    with suppress(OSError):
        os.close(descriptor)
    version.is_mended()
    mount.start()
    for number in range(50):
        assert (mount / f"{number}").read_text() == f"content {number}"
    mount.sync()
    with world.api() as api:
        assert remote_files(api) == local_files(mount.place)
    mount.audit()
    mount.umount()


def test_a_stop_in_the_middle_is_obeyed_by_who_goes_on(
    world: World, mount: Mount, version: NextVersion
) -> None:
    (mount / "closed").write_text("to be sent")
    version.has(IS_STOPPED)
    daemon = world.machine.daemon(mount.place)
    world.machine.run("upgrade", mount.place)
    assert daemon.wait_gone(PATIENCE_S)
    assert not os.path.ismount(mount.place)
    assert "unmounted, 0 entries left" in mount.log()
    with world.api() as api:
        assert list(remote_files(api)) == ["closed"]
