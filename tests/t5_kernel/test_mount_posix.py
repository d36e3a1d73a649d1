"""Every case of scripts/posix on a mount, against the same case on the directory that the cache lies in."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from _pytest.mark import ParameterSet

from scripts.posix import racer, tree_exerciser
from scripts.posix.cases import CASES, read_only
from scripts.posix.clock import let_a_step_pass
from scripts.posix.comparing import differences, differing, noted_in
from scripts.posix.exerciser import Exerciser
from scripts.posix.syscalls import RENAME_EXCHANGE, renameat2
from tests.t5_kernel.mounted import Mount, World

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(os.getuid() != 0, reason="NOT TESTED: acting as several users needs root"),
]

EVERY_BYTE_BY_THE_DAEMON = ("content", "ranges", "open_files", "descriptors", "mapped", "moved_times")
"""The modules of cases that are also run on a mount without passthrough."""


@dataclass
class Sides:
    world: World
    mount: Mount
    plain: Path


@pytest.fixture(scope="module")
def open_folder() -> Iterator[Path]:
    """Return a folder that every user may enter: pytest's own are private."""
    folder = Path(tempfile.mkdtemp(prefix="mountfs-posix-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def sides(open_folder: Path) -> Iterator[dict[bool, Sides]]:
    """Return a mount and a plain directory, by whether the mount may use passthrough."""
    world = World(open_folder)
    made = {}
    try:
        for passthrough in (True, False):
            mount = world.mount(f"mount-{passthrough}", passthrough=passthrough, allow_other=True)
            plain = open_folder / f"plain-{passthrough}"
            plain.mkdir()
            for part in (mount.place, *mount.place.parents):
                if part.is_relative_to(open_folder):
                    part.chmod(0o755)
            made[passthrough] = Sides(world, mount, plain)
        yield made
        for side in made.values():
            side.mount.sync()
            side.mount.audit()
            assert "Traceback" not in side.mount.log()
    finally:
        world.clean_up()


LONG = (
    *("kinds.every_kind_over_every_kind", "moved_times.of_attributes", "moved_times.of_renames"),
    *("users.changing_the_group", "users.set_id_bits_at_a_change", "users.sticky_directories"),
    *("users.renames_between_sticky_directories", "moved_times.of_what_others_may_not"),
)
"""Cases of very many operations."""


def _runs() -> list[ParameterSet]:
    ordinary = [case for case in CASES if case.partition(".")[0] in EVERY_BYTE_BY_THE_DAEMON]
    return [
        pytest.param(case, passthrough, marks=[pytest.mark.long] if case in LONG else [])
        for case, passthrough in (*((case, True) for case in CASES), *((case, False) for case in ordinary))
    ]


@pytest.mark.parametrize(("case", "passthrough"), _runs())
def test_case_is_as_on_a_plain_directory(case: str, passthrough: bool, sides: dict[bool, Sides]) -> None:
    side = sides[passthrough]
    with side.world.bounded():
        assert differences(case, side.mount.place, side.plain) == []


@pytest.mark.parametrize("passthrough", [True, False])
def test_random_operations_on_a_file_are_those_on_bytes_in_memory(
    passthrough: bool, sides: dict[bool, Sides]
) -> None:
    """The long form is scripts/torture-posix."""
    side = sides[passthrough]
    with side.world.bounded():
        run = Exerciser(side.mount.place / "file", "20261127")
        run.run(300)
        run.close()


@pytest.mark.parametrize("passthrough", [True, False])
def test_processes_that_race_get_no_error_but_those_of_posix(
    passthrough: bool, sides: dict[bool, Sides]
) -> None:
    """The long form is scripts/torture-posix."""
    side = sides[passthrough]
    top = side.mount / f"race-{passthrough}"
    with side.world.bounded(), tree_exerciser.empty_folders(top):
        assert racer.race(top, "20261127", 1200, 3) == {}
        assert racer.broken(top) == []


def test_a_read_only_mount_is_as_a_read_only_file_system(
    sides: dict[bool, Sides], file_system: Callable[[str], object], open_folder: Path
) -> None:
    writing = sides[True].mount
    read_only.prepare(writing / "read-only")
    read_only.prepare(open_folder / "memory" / "read-only")
    writing.sync()
    mount = sides[True].world.mount("read-only", read_only=True, allow_other=True)
    file_system("remount,ro")
    try:
        with sides[True].world.bounded():
            here = noted_in(read_only.every_change, mount / "read-only")
            there = noted_in(read_only.every_change, open_folder / "memory" / "read-only")
        assert differing(here, there) == []
    finally:
        mount.umount()


@pytest.fixture
def file_system(open_folder: Path) -> Iterator[Callable[[str], object]]:
    """Mount an empty file system at `memory`; return a function that mounts it again with other options."""
    place = open_folder / "memory"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", place], check=True)
    try:
        yield lambda options: subprocess.run(["mount", "-o", options, place], check=True)
    finally:
        subprocess.run(["umount", place], check=True)


@pytest.mark.parametrize("passthrough", [True, False])
def test_reading_moves_no_time(passthrough: bool, sides: dict[bool, Sides]) -> None:
    side = sides[passthrough]
    file, folder = side.mount / f"read-{passthrough}", side.mount / f"listed-{passthrough}"
    with side.world.bounded():
        file.write_bytes(b"content" * 10_000)
        folder.mkdir()
        before = file.stat(), folder.stat()
        let_a_step_pass()
        assert file.read_bytes() == b"content" * 10_000
        os.listdir(folder)
        for old, new in zip(before, (file.stat(), folder.stat()), strict=True):
            assert (new.st_atime_ns, new.st_mtime_ns, new.st_ctime_ns) == (
                old.st_atime_ns,
                old.st_mtime_ns,
                old.st_ctime_ns,
            )
        os.utime(file, ns=(5, 6))
        assert (file.read_bytes()[:7], file.stat().st_atime_ns) == (b"content", 5)


@pytest.mark.parametrize("passthrough", [True, False])
def test_directories_count_those_in_them(passthrough: bool, sides: dict[bool, Sides]) -> None:
    side = sides[passthrough]
    top = side.mount / "counted"
    with side.world.bounded():
        for name in ("one", "two", "one/deep", "one/deeper"):
            (top / name).mkdir(parents=True)
        (top / "file").write_bytes(b"")

        def counts() -> list[int]:
            return [path.stat().st_nlink for path in (top, top / "one", top / "two", top / "file")]

        assert counts() == [4, 4, 2, 1]
        os.rename(top / "one" / "deep", top / "two" / "deep")
        assert counts() == [4, 3, 3, 1]
        os.rename(top / "two" / "deep", top / "one" / "deeper")
        assert counts() == [4, 3, 2, 1]
        renameat2(top / "file", top / "one" / "deeper", RENAME_EXCHANGE)
        assert (top / "one").stat().st_nlink == 2
        assert top.stat().st_nlink == 5
        (top / "two").rmdir()
        assert top.stat().st_nlink == 4
        shutil.rmtree(top)


@pytest.mark.parametrize("passthrough", [True, False])
def test_blocks_are_those_of_the_cache_or_of_the_size(passthrough: bool, sides: dict[bool, Sides]) -> None:
    side = sides[passthrough]
    name = f"sparse-{passthrough}"  # both sides are mounts of one workspace
    sparse = side.mount / name
    size = 8 * 1024 * 1024
    with side.world.bounded():
        with sparse.open("wb") as file:
            file.truncate(size)
            file.seek(1024 * 1024)
            file.write(b"x" * 65_536)
            file.flush()
            assert 128 <= os.fstat(file.fileno()).st_blocks < 1024
        assert 128 <= sparse.stat().st_blocks < 1024
        side.mount.sync()
        other = side.world.mount(f"other-{passthrough}")
        assert (other / name).stat().st_blocks == size // 512, "nothing of it is here"
        assert (other / name).read_bytes() == sparse.read_bytes()
        other.umount()
        sparse.unlink()
