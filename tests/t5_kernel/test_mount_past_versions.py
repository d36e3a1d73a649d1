"""Earlier versions as plain files through the kernel, by the programs that people use."""

import errno
import os
import shutil
import signal
import subprocess

import pytest

from tests.t5_kernel.mounted import Mount, World
from tests.t6_system.machine import wait_until

pytestmark = pytest.mark.kernel


def _save(mount: Mount, name: str, content: bytes) -> None:
    (mount / name).write_bytes(content)
    mount.sync()


@pytest.mark.long
def test_versions_are_read_by_ordinary_programs(world: World) -> None:
    first = world.mount("first")
    (first / "folder").mkdir()
    _save(first, "folder/a.txt", b"one\n")
    _save(first, "folder/a.txt", b"two\nlines\n")
    second = world.mount("second")
    past = second / ".mountfs" / "versions" / "folder" / "a.txt"
    with world.api() as api:
        told = api.versions(api.children(api.children()["folder"])["a.txt"])
    names = world.run("ls", "-1", past).split()
    assert len(names) == len(told) == 2
    assert all(name.endswith(".txt") for name in names)
    assert {name[19:-4] for name in names} == {each["id"].replace("-", "") for each in told}
    assert world.run("cat", past / "~1") == "one\n"
    assert sorted(world.run("cat", past / name) for name in names) == ["one\n", "two\nlines\n"]
    assert sorted((past / name).stat().st_size for name in names) == [4, 10]
    difference = world.start("diff", past / "~1", second / "folder" / "a.txt", stdout=subprocess.PIPE)
    assert difference.communicate()[0].splitlines()[1:] == [b"< one", b"---", b"> two", b"> lines"]
    shutil.copytree(second / ".mountfs" / "versions", world.machine.folder / "copy")
    assert sorted(os.listdir(world.machine.folder / "copy" / "folder" / "a.txt")) == names
    assert os.listdir(second.place) == ["folder"]
    _save(second, "folder/a.txt", b"three")
    wait_until(lambda: (past / "~0").read_bytes() == b"three")
    assert (past / "~2").read_bytes() == b"one\n"
    second.audit()


def test_nothing_can_be_written(world: World) -> None:
    mount = world.mount("first")
    _save(mount, "a", b"one")
    past = mount / ".mountfs" / "versions" / "a"
    (name,) = os.listdir(past)
    for attempt in (
        lambda: (past / name).write_bytes(b"x"),
        lambda: (past / "new").write_bytes(b"x"),
        lambda: (past / name).unlink(),
        lambda: (past / name).rename(past / "other"),
        lambda: (past / name).chmod(0o600),
        lambda: os.truncate(past / name, 0),
        past.rmdir,
    ):
        with pytest.raises(OSError, match=r"Read-only|denied") as refused:
            attempt()
        assert refused.value.errno in (errno.EROFS, errno.EACCES)
    assert (past / name).read_bytes() == b"one"


@pytest.mark.long
def test_signal_ends_the_wait_for_content(world: World) -> None:
    way = world.proxy()
    writer = world.mount("writer")
    _save(writer, "a", b"one")
    _save(writer, "a", b"second")
    past = world.mount("first", url=way.url) / ".mountfs" / "versions" / "a"
    names = sorted(os.listdir(past))
    way.hold_after(0)
    reader = world.start("cat", past / names[0])
    with pytest.raises(subprocess.TimeoutExpired):
        reader.wait(0.5)
    reader.send_signal(signal.SIGTERM)
    assert reader.wait(10) == -signal.SIGTERM
    way.let_pass()
    assert (past / names[0]).read_bytes() == b"one"
