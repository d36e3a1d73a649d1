"""Whole machines: only `scripts/test-hosts` runs these, since they need root, minutes, and a folder of
Debian trees."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.t6_system.machine import REPOSITORY, Server
from tests.t6_system.machine import Machine as User
from tests.t7_hosts.nspawn import Tree

_TREES = os.environ.get("MOUNTFS_HOST_TREES", "")
collect_ignore_glob = [] if _TREES else ["test_*.py"]

RELEASES = ("bookworm", "trixie")
SOURCE = "/root/mountfs"


@pytest.fixture(scope="session")
def trees() -> Path:
    return Path(_TREES)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Return a workspace service on this machine, which the trees reach by loopback."""
    user = User(tmp_path_factory.mktemp("user"))
    try:
        yield user.serve()
    finally:
        user.clean_up()


@pytest.fixture(scope="session", params=RELEASES)
def release(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def installed(release: str, trees: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tree]:
    """Return a tree of the release with a copy of this repository, in which scripts/install has run as
    root."""
    tree = Tree(trees / release, tmp_path_factory.mktemp(release)).open()
    try:
        _copy_source(tree)
        tree.run(f"{SOURCE}/scripts/install", timeout_s=400).succeeded()
        yield tree
    finally:
        tree.close()
        shutil.rmtree(tree.scratch, ignore_errors=True)


def _copy_source(tree: Tree) -> None:
    target = tree.root / SOURCE.lstrip("/")
    target.mkdir(parents=True, exist_ok=True)
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY,
        capture_output=True,
        check=True,
    )
    for name in filter(None, listed.stdout.split(b"\0")):
        source = REPOSITORY / os.fsdecode(name)
        if source.exists():
            place = target / os.fsdecode(name)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, place, follow_symlinks=False)
