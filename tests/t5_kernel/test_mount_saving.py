"""How programs save: the file keeps its node, its history and its bits."""

import json
import os
import shlex
import shutil
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from tests.t5_kernel.mounted import PATIENCE_S, World, remote_files, sha256
from tests.t6_system.machine import wait_until

pytestmark = pytest.mark.kernel


def _replace(file: Path) -> None:
    """json.dump to a temporary file beside it, fsync, os.replace."""
    temporary = file.with_name(f".{file.name}.tmp")
    with temporary.open("w") as stream:
        json.dump({"edited": True}, stream)
        stream.flush()
        os.fsync(stream.fileno())
    shutil.copymode(file, temporary)
    os.replace(temporary, file)


def _backup(file: Path) -> None:
    """Emacs: the old file becomes a backup, which goes when the new one is there."""
    backup = file.with_name(f"{file.name}~")
    mode = file.stat().st_mode
    os.rename(file, backup)
    file.write_text("edited\n")
    os.chmod(file, mode)
    backup.unlink()


def _shell(line: str) -> Callable[[Path], str]:
    return lambda file: line.format(file=shlex.quote(str(file)), folder=shlex.quote(str(file.parent)))


IDIOMS: dict[str, Callable[[Path], str | None]] = {
    "sed": _shell("sed -i s/content/edited/ {file}"),
    "vim": _shell("vim -u NONE -es -c 'set backupcopy=no' -c '%s/content/edited/' -c wq {file}"),
    "vim in place": _shell("vim -u NONE -es -c 'set backupcopy=yes' -c '%s/content/edited/' -c wq {file}"),
    "perl": _shell("perl -pi -e s/content/edited/ {file}"),
    "shell": _shell("echo edited >> {file}"),
    "mv": _shell("echo edited > {folder}/other && chmod 755 {folder}/other && mv -f {folder}/other {file}"),
    "cp": _shell("echo edited > {folder}/other && cp {folder}/other {file} && rm {folder}/other"),
    "python": _replace,
    "emacs": _backup,
}


def _has_content(file: Path, content: bytes) -> bool:
    return file.exists() and file.read_bytes() == content


@pytest.mark.parametrize("passthrough", [True, False])
@pytest.mark.long
def test_saved_file_is_a_new_version_of_itself(world: World, passthrough: bool) -> None:
    first = world.mount("first", passthrough=passthrough)
    second = world.mount("second", passthrough=passthrough)
    files = {name: first / name.replace(" ", "-") / "file" for name in IDIOMS}
    for file in files.values():
        file.parent.mkdir()
        file.write_text("content\n")
        file.chmod(0o755)
    first.sync()
    with world.api() as api:
        folders = api.children()
        nodes = {name: api.children(folders[file.parent.name])["file"] for name, file in files.items()}
        for name, file in files.items():
            line = IDIOMS[name](file)
            if line is not None:
                world.run("sh", "-c", line)
        first.sync()
        for name, file in files.items():
            node = nodes[name]
            assert api.children(folders[file.parent.name]) == {"file": node}, name
            content = file.read_bytes()
            assert b"edited" in content, name
            assert [version["hash"] for version in api.versions(node)] == [
                sha256(content),
                sha256(b"content\n"),
            ], name
    for name, file in files.items():
        there = second.place / file.relative_to(first.place)
        wait_until(partial(_has_content, there, file.read_bytes()), limit_s=PATIENCE_S)
        wait_until(partial(os.access, there, os.X_OK), limit_s=PATIENCE_S)
        assert file.stat().st_mode & 0o777 == 0o755, name


def test_program_of_a_killed_mount_writes_to_nothing_that_counts(world: World) -> None:
    mount = world.mount("first")
    path = mount / "a"
    path.write_bytes(b"first")
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.pwrite(descriptor, b"SECON", 0)
        mount.kill()
        mount.start()
        assert path.read_bytes() == b"SECON"
        mount.sync()
        # With passthrough the kernel takes this, also when the daemon is gone.
        with suppress(OSError):
            os.pwrite(descriptor, b"GHOST", 0)
        assert path.read_bytes() == b"SECON"
        mount.sync()
    finally:
        with suppress(OSError):
            os.close(descriptor)
    with world.api() as api:
        assert remote_files(api) == {"a": sha256(b"SECON")}
    world.machine.run("doctor", "--deep", mount.place).succeeded()
