"""What the contract says of security, where no other test does: memory, sockets, and a cache that somebody
else has filled."""

import os
import socket
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

from mountfs.model.errors import CacheUnusable, StorageError
from mountfs.model.ids import Ino
from mountfs.storage import redo_log
from mountfs.storage.content import ContentFiles
from mountfs.storage.layout import CacheDirectory
from tests.t6_system.machine import Machine, Server

_AS_NOBODY = """
import ctypes, os, resource, socket, sys
from pathlib import Path
from mountfs.daemon.runner import hide_memory
from mountfs.daemon.runtime_dir import short_socket_path
os.setgid(65534); os.setuid(65534)
hide_memory()
assert ctypes.CDLL(None).prctl(3, 0, 0, 0, 0) == 0
assert resource.getrlimit(resource.RLIMIT_CORE) == (0, 0)
with socket.socket(socket.AF_UNIX) as listener, short_socket_path(Path(sys.argv[1]) / "s") as address:
    listener.bind(address)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED: becoming another user needs root")
def test_memory_is_hidden_and_a_user_without_rights_still_serves(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    for folder in tmp_path.parents:
        if folder.owner() == "root" and not folder.stat().st_mode & 0o001:
            folder.chmod(folder.stat().st_mode | 0o011)
    subprocess.run([sys.executable, "-c", _AS_NOBODY, tmp_path], check=True, timeout=60)


@pytest.mark.kernel
def test_token_is_in_no_place_that_others_or_programs_see(machine: Machine, server: Server) -> None:
    place, cache = machine.mountpoint(), machine.folder / "cache"
    config = machine.configure('log_level = "debug"')
    machine.mount(server, place, "--cache", cache, "--config", config).succeeded()
    token = server.token_file.read_bytes().strip()
    (place / "a").write_text("x")
    machine.run("sync", place).succeeded()
    pid = machine.daemon(place).pid
    process = Path(f"/proc/{pid}")
    assert token not in (process / "environ").read_bytes() + (process / "cmdline").read_bytes()
    assert token not in subprocess.run(["ps", "axeww"], capture_output=True, check=True).stdout
    (limit,) = [line for line in (process / "limits").read_text().splitlines() if "core file" in line]
    assert limit.split()[4:6] == ["0", "0"]
    for request in (b"status", b"health", b"audit"):
        (path,) = machine.runtime_dir.glob("*.sock")
        assert path.stat().st_mode & 0o777 == 0o600
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            client.sendall(b'{"ask": "%s"}\n' % request)
            told = b"".join(iter(lambda: client.recv(65536), b""))
        assert b'"result"' in told
        assert token not in told
    files = [each for each in (place / ".mountfs").iterdir() if each.is_file() and each.name != "events"]
    seen = b"".join(file.read_bytes() for file in files)
    assert b"workspace_id" in seen
    assert token not in seen + (cache / "daemon.log").read_bytes()


def _claimed(folder: Path) -> None:
    CacheDirectory.claim(folder).release()


def test_cache_that_others_could_enter_is_closed(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    _claimed(tmp_path)
    assert tmp_path.stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED: giving a folder away needs root")
def test_cache_of_another_user_is_refused(tmp_path: Path) -> None:
    os.chown(tmp_path, 65534, 65534)
    with pytest.raises(CacheUnusable, match="belongs to another user"):
        _claimed(tmp_path)


def test_symlinks_in_the_cache_lead_nowhere(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("kept")
    cache = tmp_path / "cache"
    _claimed(cache)
    (cache / "lock").unlink()
    (cache / "lock").symlink_to(secret)
    with pytest.raises(CacheUnusable):
        _claimed(cache)
    files = ContentFiles(cache / "content", cache / "index")
    for ino in (Ino(7), Ino(8)):
        files.path(ino).symlink_to(secret)
    for create in (True, False):
        with pytest.raises(StorageError):
            files.open(Ino(7), create=create)
    files.close()
    assert secret.read_text() == "kept"


@pytest.mark.parametrize(
    "content",
    [b"[1]", b"[1,2,[[3]],[],{}]", b'[1,1,[["x",[1]]],[],[]]', b"[" * 50_000, b"{}", b"9e999"],
    ids=["short", "rows", "key", "deep", "object", "number"],
)
def test_log_of_the_journal_with_sound_checksums_and_strange_content_is_damage(
    tmp_path: Path, content: bytes
) -> None:
    line = b"%08x %s\n" % (zlib.crc32(content), content)
    run = b"%08x 1\n" % zlib.crc32(b"1")
    path = tmp_path / "redo"
    path.write_bytes(run + line)
    assert redo_log.read(path, run=1, applied=0) == []
    path.write_bytes(line)
    assert redo_log.read(path, run=1, applied=0) == []
