"""Nothing changes the disk below the cache but by a named step."""

import ast
import os
from collections.abc import Iterator
from pathlib import Path

import mountfs
from mountfs.model.disk import DiskStep
from mountfs.storage.system_disk import SystemDisk
from tests.t1_storage.faulty_disk import FaultyDisk

PACKAGES = ("storage", "sync", "tree", "filesystem", "locks")
CHANGING = {
    *(
        "write",
        "pwrite",
        "writev",
        "pwritev",
        "ftruncate",
        "truncate",
        "fsync",
        "fdatasync",
        "sync",
        "unlink",
    ),
    *("remove", "rename", "replace", "renames", "link", "copy_file_range", "sendfile", "posix_fallocate"),
}
EXEMPT = {"system_disk.py", "room.py", "layout.py", "effect_log.py", "logins.py"}
"""The port itself with its parts; the claim of the cache directory, whose lock file need not survive; the
audit log, which may lack what a crash cut; and stored logins, which are in no cache."""


def direct_changes(source: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(source.read_text())):
        match node:
            case ast.Attribute(value=ast.Name(id="os"), attr=name) if name in CHANGING:
                yield f"{source.name}:{node.lineno}: os.{name}"


def test_whatever_changes_the_cache_has_a_name() -> None:
    top = Path(mountfs.__file__).parent
    sources = [path for package in PACKAGES for path in (top / package).rglob("*.py")]
    assert len(sources) > 30
    assert [line for path in sources if path.name not in EXEMPT for line in direct_changes(path)] == []
    assert list(direct_changes(top / "storage" / "system_disk.py")), "it would find them"


def test_every_step_is_used_by_one_call() -> None:
    top = Path(mountfs.__file__).parent
    text = "".join(path.read_text() for path in top.rglob("*.py") if path.name != "disk.py")
    assert [step.name for step in DiskStep if f"DiskStep.{step.name}" not in text] == []


def test_faults_come_where_they_are_said_and_end(tmp_path: Path) -> None:
    disk = FaultyDisk()
    step = DiskStep.WRITE_CONTENT
    descriptor = disk.open(DiskStep.CREATE_CONTENT, tmp_path / "file", os.O_RDWR | os.O_CREAT)
    disk.shorten(step, times=1)
    assert [disk.write(step, descriptor, b"four", 0) for _ in range(2)] == [2, 4]
    disk.fail(step, errno=28, times=1)
    told = []
    for _ in range(2):
        try:
            told.append(disk.write(step, descriptor, b"four", 0))
        except OSError as error:
            told.append(-(error.errno or 0))
    assert told == [-28, 4]
    assert disk.counts[step] == 4
    os.close(descriptor)


def test_port_of_production_does_nothing_of_its_own() -> None:
    """Its cost is that of one more call: it holds no state and looks at no step."""
    assert not vars(SystemDisk())
