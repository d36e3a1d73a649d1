"""The hash of a file that is being fetched is ready soon after its last byte, and is that of its bytes."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from mountfs.model.entry import EntryKind, EntryRecord
from mountfs.model.ids import Ino
from mountfs.model.ranges import RangeSet
from mountfs.sync.running_digests import WORTH_A_TURN_BYTES, RunningDigests
from mountfs.tree.inode import Inode

CONTENT = os.urandom(2 * WORTH_A_TURN_BYTES + 12345)


@pytest.fixture
def fetched(tmp_path: Path) -> Iterator[Inode]:
    """A file of which the cache has all bytes, with nothing of that noted yet."""
    path = tmp_path / "content"
    path.write_bytes(CONTENT)
    record = EntryRecord(
        ino=Ino(7),
        parent=None,
        name=b"file",
        kind=EntryKind.FILE,
        mode=0o100644,
        uid=0,
        gid=0,
        rdev=0,
        size=len(CONTENT),
        atime_ns=0,
        mtime_ns=0,
        ctime_ns=0,
        target=b"",
        base=None,
        generation=0,
        content_dirty=False,
        pending=None,
        failure=None,
        listed=False,
    )
    inode = Inode(record, None)
    inode.descriptor = os.open(path, os.O_RDWR)
    inode.present = RangeSet()
    yield inode
    os.close(inode.descriptor)


def spoil_beginning(inode: Inode) -> None:
    """What is hashed already is not read again: it goes unnoticed."""
    assert inode.descriptor is not None
    os.pwrite(inode.descriptor, bytes(4096), 0)


async def test_beginning_is_hashed_once(fetched: Inode) -> None:
    digests = RunningDigests()
    fetched.present = RangeSet([(0, WORTH_A_TURN_BYTES + 1)])
    await digests.advance(fetched)
    spoil_beginning(fetched)
    assert await digests.whole(fetched) == hashlib.sha256(CONTENT).hexdigest()


async def test_what_is_not_worth_it_or_has_a_gap_before_it_is_left_to_the_end(fetched: Inode) -> None:
    digests = RunningDigests()
    fetched.present = RangeSet([(0, WORTH_A_TURN_BYTES - 1), (WORTH_A_TURN_BYTES, len(CONTENT))])
    await digests.advance(fetched)
    spoil_beginning(fetched)
    assert await digests.whole(fetched) != hashlib.sha256(CONTENT).hexdigest()


@pytest.mark.parametrize("ends", ["replaced", "closed", "taken"])
async def test_hash_of_other_content_counts_for_nothing(fetched: Inode, ends: str) -> None:
    digests = RunningDigests()
    fetched.present = RangeSet([(0, len(CONTENT))])
    await digests.advance(fetched)
    if ends == "replaced":
        fetched.content_epoch += 1
    elif ends == "closed":
        digests.forget(fetched)
    else:
        await digests.whole(fetched)
    spoil_beginning(fetched)
    spoilt = hashlib.sha256(bytes(4096) + CONTENT[4096:]).hexdigest()
    assert await digests.whole(fetched) == spoilt
