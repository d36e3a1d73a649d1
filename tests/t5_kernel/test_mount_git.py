"""A real repository, worked on with the real git, and seen the same from every mount."""

import random
from pathlib import Path

import pytest

from tests.t5_kernel.mounted import World, local_files, remote_files
from tests.t6_system.machine import wait_until

pytestmark = pytest.mark.kernel

FILES = 1100
IDENTITY = ("-c", "user.name=Tester", "-c", "user.email=tester@example.org")


def _make_repository(world: World) -> Path:
    """Return a repository of more than a thousand files, some of them large, in folders three deep."""
    chance = random.Random(1)
    origin = world.machine.folder / "origin"
    origin.mkdir()
    for number in range(FILES):
        folder = origin / f"part{number % 11}" / f"unit{number % 7}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"source{number}.txt").write_bytes(chance.randbytes(chance.randrange(0, 6000)))
    (origin / "large.bin").write_bytes(chance.randbytes(5_000_000))
    (origin / "run.sh").write_text("#!/bin/sh\necho it runs\n")
    (origin / "run.sh").chmod(0o755)
    _git(world, origin, "init", "--quiet", "--initial-branch", "main")
    _git(world, origin, "add", ".")
    _git(world, origin, "commit", "--quiet", "--message", "begin")
    return origin


def _git(world: World, repository: Path, *arguments: str) -> str:
    return world.run("git", *IDENTITY, "-C", repository, *arguments)


@pytest.mark.long
def test_repository_is_the_same_on_every_mount(world: World) -> None:
    origin = _make_repository(world)
    before, here = world.mount("before"), world.mount("here")
    clone = here / "clone"
    world.run("git", "clone", "--quiet", "--no-local", origin, clone)
    assert _git(world, clone, "status", "--porcelain") == ""
    assert world.run(clone / "run.sh") == "it runs\n"
    for number in range(0, FILES, 50):
        found = next(clone.rglob(f"source{number}.txt"))
        found.write_text(f"edited {number}\n")
    (clone / "new folder").mkdir()
    (clone / "new folder" / "näme.txt").write_text("new")
    _git(world, clone, "rm", "--quiet", "-r", "--force", "part3")
    _git(world, clone, "mv", "part4", "part4-moved")
    _git(world, clone, "add", "--all")
    _git(world, clone, "commit", "--quiet", "--message", "edit")
    _git(world, clone, "checkout", "--quiet", "-b", "side", "HEAD~1")
    (clone / "side.txt").write_text("on the side")
    _git(world, clone, "add", ".")
    _git(world, clone, "commit", "--quiet", "--message", "side")
    _git(world, clone, "merge", "--quiet", "--no-edit", "main")
    _git(world, clone, "gc", "--quiet")
    assert "error" not in _git(world, clone, "fsck", "--full", "--strict")
    assert _git(world, clone, "status", "--porcelain") == ""

    here.sync()
    written = local_files(here.place)
    assert len(written) > 900
    with world.api() as api:
        assert remote_files(api) == written
    after = world.mount("after")
    assert local_files(after.place) == written
    wait_until(lambda: local_files(before.place) == written)
    for seen in (before, after):
        assert "error" not in _git(world, seen / "clone", "fsck", "--full", "--strict")
        _git(world, seen / "clone", "config", "core.fileMode", "false")
        assert _git(world, seen / "clone", "status", "--porcelain") == ""
    for mount in (before, here, after):
        mount.audit()
