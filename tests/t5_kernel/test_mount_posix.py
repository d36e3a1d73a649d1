"""Every case of scripts/posix on a mount, against the same case on the directory that the cache lies in."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from scripts.posix.cases import CASES
from scripts.posix.comparing import differences
from scripts.posix.exerciser import Exerciser
from tests.t5_kernel.mounted import Mount, World

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(os.getuid() != 0, reason="NOT TESTED: acting as several users needs root"),
]

EVERY_BYTE_BY_THE_DAEMON = ("content", "ranges", "open_files")
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


def _runs() -> list[tuple[str, bool]]:
    ordinary = [case for case in CASES if case.partition(".")[0] in EVERY_BYTE_BY_THE_DAEMON]
    return [(case, True) for case in CASES] + [(case, False) for case in ordinary]


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
