"""Whole machines: only `scripts/test-hosts` runs these, since they need root, minutes, and a folder of
Debian trees.

The files run beside each other. Each that asks for `installed` has a fixture `release`, and a machine of its
own: a layer over the tree of that release, in which `scripts/install` has run once.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from tests.t6_system.machine import REPOSITORY, Server
from tests.t6_system.machine import Machine as User
from tests.t7_hosts.nspawn import Tree

_TREES = os.environ.get("MOUNTFS_HOST_TREES", "")
collect_ignore_glob = [] if _TREES else ["test_*.py"]

SOURCE = "/root/mountfs"
_INSTALL_S = 900


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


@pytest.fixture(scope="module")
def installed(release: str, trees: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tree]:
    """Return a tree of the release with a copy of this repository, in which scripts/install has run as
    root."""
    middle = installation(trees / release, tmp_path_factory)
    tree = Tree(trees / release, tmp_path_factory.mktemp(release), middle).open()
    try:
        yield tree
    finally:
        tree.close()
        shutil.rmtree(tree.scratch, ignore_errors=True)


def installation(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the layer over `base` in which scripts/install has run; the first who asks makes it."""
    # The folder is shared by all processes of this run.
    scratch = tmp_path_factory.getbasetemp().parent / f"installed-{base.name}"
    tree = Tree(base, scratch)
    done = scratch / "done"
    with FileLock(f"{scratch}.lock"):
        if not done.exists():
            assert not scratch.exists(), "scripts/install failed for another file"
            tree.open()
            try:
                _copy_source(tree)
                tree.run(f"{SOURCE}/scripts/install", timeout_s=_INSTALL_S).succeeded()
                done.touch()
            finally:
                tree.close()
    return tree.upper


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
