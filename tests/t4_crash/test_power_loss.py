"""The loss of power at every step of the disk: what fsync promised is there, and nothing is torn.

The cache lies on a file system of its own in an image. A copy of the image holds what has reached the block
device, and nothing of what is in memory only: it is what a machine finds that lost its power at that moment.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mountfs.model.disk import DiskStep
from mountfs.remotes.memory import MemoryWorkspace
from mountfs.storage import journal_database
from tests.t3_filesystem.workspace_mount import MountOptions, WorkspaceMount, mounted, run_fast

IMAGE_BYTES = 24 * 1024 * 1024
REMOTE = bytes(range(256)) * 1000


def _may_mount() -> bool:
    return os.geteuid() == 0 and Path("/dev/loop-control").exists() and shutil.which("mkfs.ext4") is not None


pytestmark = pytest.mark.skipif(not _may_mount(), reason="NOT TESTED: needs root, loop devices, mkfs.ext4")


@contextmanager
def image_mounted(image: Path, place: Path) -> Iterator[Path]:
    place.mkdir()
    # A commit of the file system by its own clock would hide a missing sync.
    subprocess.run(["mount", "-o", "loop,commit=300", image, place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


@dataclass
class Lights:
    """Copies the image behind each step, with what was promised until then."""

    image: Path
    folder: Path
    promised: dict[str, bytes] = field(default_factory=dict)
    outages: list[tuple[DiskStep | None, Path, dict[str, bytes]]] = field(default_factory=list)

    def go_out(self, step: DiskStep | None = None) -> None:
        promised = dict(self.promised)
        copy = self.folder / f"outage-{len(self.outages)}"
        subprocess.run(["cp", "--sparse=always", self.image, copy], check=True)
        self.outages.append((step, copy, promised))


async def _work(mount: WorkspaceMount, lights: Lights) -> None:
    await mount.read("remote")
    await mount.mkdir("folder")
    for number, path in enumerate(("a", "folder/b")):
        content = b"%d" % number * 20_000
        async with mount.opened(path, os.O_RDWR | os.O_CREAT) as file:
            await file.write(content)
            await file.fsync()
            lights.promised[path] = content
            lights.go_out()
    await mount.write("not synced", b"lost, and may be")
    await mount.write("saved", b"2" * 5000)
    async with mount.opened("saved", os.O_RDWR) as file:
        await file.fsync()
    lights.promised["saved"] = b"2" * 5000
    lights.go_out()


async def _check(folder: Path, workspace: MemoryWorkspace, promised: dict[str, bytes]) -> None:
    async with mounted(folder, workspace, options=MountOptions()) as mount:
        found = await mount.contents()
        assert {path: found.get(path) for path in promised} == promised
        assert found["remote"] == REMOTE, "clean content is what the workspace has"
        assert found.get("not synced") in (None, b"", b"lost, and may be"), "torn"
        await mount.settle()
        assert {path: workspace.files()[path] for path in promised} == promised
        assert not mount.tree.conflicts


@pytest.mark.long
def test_what_fsync_promised_outlives_the_loss_of_power_at_any_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = tmp_path / "image"
    with image.open("wb") as file:
        file.truncate(IMAGE_BYTES)
    subprocess.run(["mkfs.ext4", "-q", "-F", image], check=True)
    lights = Lights(image, tmp_path)

    async def work() -> None:
        workspace = MemoryWorkspace()
        workspace.put("remote", REMOTE)
        async with mounted(place, workspace) as mount:
            mount.disk.observer = lights.go_out
            await _work(mount, lights)
            mount.disk.observer = None

    with image_mounted(image, tmp_path / "disk") as place:
        run_fast(work)
    assert len(lights.outages) > 15
    monkeypatch.setattr(journal_database, "boot_id", lambda: "the next boot")
    for number, (step, copy, promised) in enumerate(lights.outages):
        print(f"outage {number} of {len(lights.outages)}, behind {step}")

        async def check(
            copy: Path = copy, promised: dict[str, bytes] = promised, number: int = number
        ) -> None:
            workspace = MemoryWorkspace()
            workspace.put("remote", REMOTE)
            with image_mounted(copy, tmp_path / f"after-{number}") as after:
                await _check(after, workspace, promised)

        run_fast(check)
