"""How many requests an operation costs, of the kernel to the daemon and of the daemon to the workspace."""

import errno
import fcntl
import os
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mountfs.rules.read_plan import BLOCK
from tests.server_variants import chosen_behaviour
from tests.t5_kernel.mounted import Mount, World
from tests.t6_system.machine import wait_until

pytestmark = pytest.mark.kernel

INSERTS = 10
LOCKS = 8
SMALL_FILES = 1000
STREAM_BYTES = 16 * 1024 * 1024


class Requests:
    """What was counted within a block."""

    def __init__(self) -> None:
        self.kernel: Counter[str] = Counter()
        self.workspace: Counter[str] = Counter()


@contextmanager
def counted(mount: Mount) -> Iterator[Requests]:
    made = Requests()
    before = mount.status()["requests"]
    yield made
    after = mount.status()["requests"]
    made.kernel = Counter(after["kernel"]) - Counter(before["kernel"])
    made.workspace = Counter(after["workspace"]) - Counter(before["workspace"])


def mounted(world: World, **options: Any) -> Mount:
    mount = world.mount("m", **options)
    wait_until(lambda: mount.status()["feed_live"])
    # The first look at a folder asks the workspace.
    os.listdir(mount.place)
    return mount


@pytest.fixture
def mount(world: World) -> Mount:
    return mounted(world)


def create(path: Path) -> None:
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    os.write(descriptor, b"x" * 4096)
    os.close(descriptor)


def append(path: Path) -> None:
    descriptor = os.open(path, os.O_APPEND | os.O_WRONLY)
    os.write(descriptor, b"line\n")
    os.close(descriptor)


def test_kernel_requests_of_an_operation(world: World) -> None:
    # With passthrough there are neither reads nor writes.
    mount = mounted(world, passthrough=False)
    file, missing = mount / "d" / "file", mount / "missing"
    file.parent.mkdir()
    create(file)
    create(file.with_name("other"))

    def check(work: Callable[[], object], **most: int) -> None:
        with counted(mount) as made:
            work()
        # It comes when the kernel likes, and nobody waits for it.
        made.kernel.pop("release", None)
        made.kernel.pop("releasedir", None)
        assert made.kernel <= Counter(most)

    # After a change in a folder the kernel asks for its attributes, to check permissions.
    check(lambda: create(file.with_name("new")), getattr=1, lookup=1, create=1, write=1, flush=1)
    # What it asks before a write is answered before it is counted.
    with pytest.raises(OSError, match=os.strerror(errno.ENODATA)):
        check(lambda: os.getxattr(file, "security.capability"))
    os.stat(file.parent)
    check(lambda: append(file), open=1, write=1, flush=1)
    check(lambda: os.stat(file), getattr=1)
    check(lambda: os.stat(file))
    check(file.read_bytes, open=1, read=1, getattr=1)
    # A read has changed the access time, for which the program asks.
    check(file.read_bytes, open=1, getattr=1)
    check(lambda: os.listdir(file.parent), opendir=1, readdir=2)
    # From here on the kernel has the listing.
    check(lambda: os.listdir(file.parent), opendir=1, getattr=1)
    check(lambda: os.listdir(file.parent), opendir=1)
    check(missing.exists, lookup=1)
    check(missing.exists)
    check(lambda: os.rename(file, file.with_name("renamed")), lookup=1, rename=1)


@pytest.mark.long
def test_listings_that_the_kernel_has_follow_the_changes_of_others(world: World) -> None:
    here, there = mounted(world), world.mount("there")
    (there / "d").mkdir()
    (there / "d" / "first").write_bytes(b"1")
    there.sync()
    wait_until(lambda: (here / "d" / "first").exists())
    kept = os.open(here / "d", os.O_RDONLY | os.O_DIRECTORY)

    def shows(*names: str) -> bool:
        # By name and by a descriptor that was open before.
        return all(sorted(os.listdir(place)) == sorted(names) for place in (here / "d", kept))

    def is_kept() -> bool:
        with counted(here) as made:
            os.listdir(here / "d")
        return not made.kernel["readdir"]

    changes: list[tuple[Callable[[], object], tuple[str, ...]]] = [
        (lambda: (there / "d" / "second").write_bytes(b"2"), ("first", "second")),
        (lambda: os.rename(there / "d" / "first", there / "d" / "third"), ("second", "third")),
        (lambda: os.rename(there / "d" / "third", there / "third"), ("second",)),
        (lambda: os.unlink(there / "d" / "second"), ()),
    ]
    for change, names in changes:
        # Not at once: of what showed, the news may still go on.
        wait_until(is_kept)
        change()
        wait_until(partial(shows, *names))
    os.close(kept)


@pytest.mark.long
def test_first_listing_of_a_folder_stays_with_the_kernel(world: World) -> None:
    there = world.mount("there")
    (there / "d").mkdir()
    for number in range(SMALL_FILES):
        (there / f"d/{number}").write_bytes(b"")
    there.sync()
    here = mounted(world)
    assert len(os.listdir(here / "d")) == SMALL_FILES
    with counted(here) as made:
        assert len(os.listdir(here / "d")) == SMALL_FILES
    assert not made.kernel["readdir"]


@pytest.mark.long
def test_stream_of_what_is_not_here_is_read_in_large_requests(world: World) -> None:
    there = world.mount("there")
    content = os.urandom(STREAM_BYTES)
    (there / "stream").write_bytes(content)
    there.sync()
    here = mounted(world)
    with counted(here) as made:
        assert (here / "stream").read_bytes() == content
    assert made.kernel["read"] <= STREAM_BYTES // (400 * 1024)
    assert made.workspace.total() <= 20


@pytest.mark.long
def test_scattered_reads_of_what_is_not_here_transfer_little(world: World) -> None:
    there = world.mount("there")
    content = os.urandom(STREAM_BYTES)
    (there / "sparse").write_bytes(content)
    there.sync()
    here = mounted(world)
    # The kernel, too, reads ahead from the beginning of a file, and where reads follow each other.
    offsets = [number * STREAM_BYTES // 8 + 12_345 for number in (6, 3, 5, 1, 4)]
    with counted(here) as made, (here / "sparse").open("rb", buffering=0) as file:
        for offset in offsets:
            assert os.pread(file.fileno(), 4096, offset) == content[offset : offset + 4096]
    assert made.workspace["GET workspace/storage/read"] == len(offsets)
    assert here.status()["fetched_bytes"] <= 2 * BLOCK * len(offsets)


@pytest.mark.long
def test_new_small_files_go_in_few_calls(world: World) -> None:
    mount = mounted(world, upload_delay_s=60.0)
    with counted(mount) as made:
        (mount / "d").mkdir()
        for number in range(SMALL_FILES):
            (mount / f"d/{number}").write_bytes(b"%d" % number)
        mount.sync()
    # One for each 200 files, and others for what came of them; polls come with time.
    assert made.workspace.total() - made.workspace["GET activity/poll"] <= SMALL_FILES // 25


def test_a_lock_costs_three_calls(mount: Mount) -> None:
    files = [mount / f"lock{number}" for number in range(LOCKS)]
    for file in files:
        file.write_bytes(b"content")
    mount.sync()
    with ExitStack() as ends:
        held = [ends.enter_context(file.open("r+")) for file in files]
        began = time.monotonic()
        with counted(mount) as made:
            for opened in held:
                fcntl.flock(opened, fcntl.LOCK_EX)
        passed_s = int(time.monotonic() - began)
        assert made.workspace["POST workspace/storage/lock"] == LOCKS
        # What the feed tells of them is asked for together, once a second; each once more where it is told
        # again by then.
        looks = LOCKS if chosen_behaviour().news_twice else 1 + passed_s
        assert made.workspace["GET workspace/storage/details"] <= LOCKS + looks
        assert made.workspace["GET activity/poll"] <= 2 * LOCKS


def test_insert_into_a_database_costs_a_bounded_number_of_calls(mount: Mount) -> None:
    with closing(sqlite3.connect(mount / "a.db", isolation_level=None, timeout=60)) as database:
        database.execute("CREATE TABLE t (n)")
        with counted(mount) as made:
            for number in range(INSERTS):
                database.execute("INSERT INTO t VALUES (?)", (number,))
        assert database.execute("SELECT count(*) FROM t").fetchone() == (INSERTS,)
    mount.sync()
    behaviour = chosen_behaviour()
    # A service that compares no versions is looked at before each, and behind it in the history.
    looks = 0 if behaviour.if_version_id == "honoured" else 2
    # One that ends a lock with a version is asked for it, and may have to end it again.
    locks = 3 if behaviour.lock_end == "version" else 0
    # One that does not tell version and hash in its answers is asked for them.
    looks += 0 if (behaviour.change_answer, behaviour.hashes) == ("node", "sha256") else 1
    # Lock, news, details, upload, its state, the version, unlock.
    assert made.workspace.total() <= (9 + looks + locks) * INSERTS
    assert made.workspace["GET workspace/storage/details"] <= (1.5 + looks) * INSERTS
