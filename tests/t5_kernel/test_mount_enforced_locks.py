"""Mounts of a workspace whose locks refuse the changes of everybody but the holder."""

import fcntl
from collections.abc import Callable
from typing import Any

import pytest

from tests.t5_kernel.mounted import Mount, World, remote_files, sha256
from tests.t6_system.machine import wait_until

pytestmark = pytest.mark.kernel


def _failed(mount: Mount) -> list[dict[str, Any]]:
    return list(mount.status()["uploads"]["failed"])


@pytest.mark.long
def test_write_without_the_lock_waits_until_it_is_free(make_world: Callable[..., World]) -> None:
    world = make_world("--behave", "locks=enforced")
    with world.bounded(), world.api() as api:
        first, second = world.mount("first"), world.mount("second")
        (first / "file").write_text("0")
        first.sync()
        assert (second / "file").read_text() == "0"
        with (first / "file").open() as holder:
            fcntl.flock(holder, fcntl.LOCK_EX)
            (second / "file").write_text("without the lock")
            wait_until(lambda: bool(_failed(second)))
            (failure,) = _failed(second)
            assert failure["path"] == "file"
            assert "locked" in failure["reason"]
            assert "mountfs locks" in failure["hint"]
            assert remote_files(api) == {"file": sha256(b"0")}
            fcntl.flock(holder, fcntl.LOCK_UN)
        wait_until(lambda: remote_files(api) == {"file": sha256(b"without the lock")})
        second.sync()
        assert _failed(second) == []


def test_holder_writes_renames_and_deletes(make_world: Callable[..., World]) -> None:
    world = make_world("--behave", "locks=enforced")
    with world.bounded(), world.api() as api:
        mount = world.mount("first")
        (mount / "file").write_text("0")
        with (mount / "file").open("r+") as holder:
            fcntl.flock(holder, fcntl.LOCK_EX)
            holder.write("1")
            holder.flush()
            (mount / "file").rename(mount / "other")
            fcntl.flock(holder, fcntl.LOCK_UN)
            assert remote_files(api) == {"other": sha256(b"1")}
            fcntl.flock(holder, fcntl.LOCK_EX)
            (mount / "other").unlink()
            mount.sync()
            assert remote_files(api) == {}
