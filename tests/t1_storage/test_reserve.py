"""The room that is kept for the journal, where there is too little of it."""

import shutil
from pathlib import Path

from mountfs.model.allocation import Allocation, AllocationKind
from mountfs.model.disk import DiskStep
from mountfs.storage.reserve import RESERVE_BYTES, Reserve
from mountfs.storage.system_disk import SYSTEM_DISK
from tests.small_disk import small_ext4_at


def test_too_little_room_is_left_to_the_journal(tmp_path: Path) -> None:
    with small_ext4_at(tmp_path / "disk", mebibytes=32) as place, (place / "content").open("wb") as content:
        taken = shutil.disk_usage(place).free - RESERVE_BYTES // 2
        whole = Allocation(AllocationKind.RESERVE, 0, taken, keeps_size=False)
        SYSTEM_DISK.allocate(DiskStep.ALLOCATE_CONTENT, content.fileno(), whole)
        before = shutil.disk_usage(place).free
        reserve = Reserve(place / "reserve", SYSTEM_DISK)
        assert not reserve.held
        reserve.close()
        assert 0 < before == shutil.disk_usage(place).free
