"""Content that the disk spoilt is found at its first use, and never served or sent: it is fetched again, or
kept apart where nobody else has it."""

import hashlib
import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from mountfs.daemon.audits import Audits
from mountfs.model.errors import RemoteUnavailable, StorageError
from mountfs.model.ids import Ino
from mountfs.remotes.memory import MemoryWorkspace
from mountfs.storage import journal_database
from mountfs.storage.content import FOLDERS
from mountfs.storage.layout import CacheLayout
from tests.t3_filesystem.workspace_mount import WorkspaceMount

CONTENT = bytes(range(256)) * 1000


def _path(mount: WorkspaceMount, ino: Ino) -> Path:
    """Return where the next start finds the content."""
    return CacheLayout(mount._folder).content / f"{ino % FOLDERS:02x}" / str(ino)


def _flip_a_bit(mount: WorkspaceMount, ino: Ino) -> None:
    with _path(mount, ino).open("r+b") as file:
        file.seek(100_000)
        byte = file.read(1)[0]
        file.seek(100_000)
        file.write(bytes([byte ^ 4]))


def _cut_off(mount: WorkspaceMount, ino: Ino) -> None:
    with _path(mount, ino).open("r+b") as file:
        file.truncate(100_000)


def _remove(mount: WorkspaceMount, ino: Ino) -> None:
    _path(mount, ino).unlink()


Spoil = Callable[[WorkspaceMount, Ino], None]
SPOILING = pytest.mark.parametrize("spoil", [_flip_a_bit, _cut_off])


@SPOILING
async def test_damaged_clean_content_is_fetched_again(
    mount: WorkspaceMount, workspace: MemoryWorkspace, spoil: Spoil, caplog: pytest.LogCaptureFixture
) -> None:
    await mount.write("a", CONTENT)
    await mount.settle()
    ino = mount.inode("a").ino
    await mount.stop()
    spoil(mount, ino)
    await mount.start()
    mount.remote.go_offline()
    with pytest.raises(RemoteUnavailable):
        await mount.read("a")
    mount.remote.heal()
    mount.parts.connection.note_success()
    assert await mount.read("a") == CONTENT
    assert "damaged in the cache" in caplog.text
    await mount.append("a", b"more")
    await mount.settle()
    assert workspace.files() == {"a": CONTENT + b"more"}


async def test_sound_content_is_hashed_once_in_a_run(mount: WorkspaceMount) -> None:
    await mount.write("a", CONTENT)
    await mount.settle()
    await mount.restart()
    mount.remote.go_offline()
    assert await mount.read("a") == CONTENT
    assert mount.parts.content._damage._sound == {mount.inode("a").ino}


async def _hashed(mount: WorkspaceMount, path: str) -> None:
    await mount.parts.sealed_hashes.hash_now(mount.inode(path))
    await mount.tree.journal.committed()
    assert mount.inode(path).sealed == hashlib.sha256(CONTENT).hexdigest()


async def _spoilt(mount: WorkspaceMount, path: str, spoil: Spoil, *, cleanly: bool) -> None:
    """Let the disk spoil the content between two runs, with its hash known."""
    await _hashed(mount, path)
    ino = mount.inode(path).ino
    await (mount.stop() if cleanly else mount.crash())
    spoil(mount, ino)
    await mount.start(sound=False)


def _kept(mount: WorkspaceMount) -> dict[str, bytes]:
    folder = mount._content_files.damaged
    return {
        str(path.relative_to(folder)): path.read_bytes() for path in mount._content_files.set_aside_files()
    }


@pytest.mark.parametrize("spoil", [_flip_a_bit, _cut_off, _remove])
@pytest.mark.parametrize("cleanly", [True, False])
async def test_damaged_unsent_change_is_kept_apart_and_the_file_is_as_it_was_confirmed(
    mount: WorkspaceMount,
    workspace: MemoryWorkspace,
    spoil: Spoil,
    cleanly: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    workspace.put("d/a", b"confirmed")
    await mount.write("d/a", CONTENT)
    await _spoilt(mount, "d/a", spoil, cleanly=cleanly)
    await mount.settle()
    assert workspace.files() == {"d/a": b"confirmed"}
    assert await mount.read("d/a") == b"confirmed"
    assert (await mount.stat("d/a")).size == len(b"confirmed")
    assert "is damaged, and was not sent" in caplog.text
    kept = _kept(mount)
    assert kept.keys() == ({"d/a"} if spoil is not _remove else set())
    assert CONTENT not in kept.values()
    await mount.append("d/a", b" and more")
    await mount.restart(cleanly=False)
    await mount.settle()
    assert workspace.files() == {"d/a": b"confirmed and more"}
    assert _kept(mount) == kept


@SPOILING
async def test_damaged_new_file_is_never_sent_and_fails_until_it_is_given_up(
    mount: WorkspaceMount, workspace: MemoryWorkspace, spoil: Spoil
) -> None:
    await mount.write("a", CONTENT)
    await _spoilt(mount, "a", spoil, cleanly=True)
    await mount.settle()
    assert workspace.files() == {}
    assert "damaged in the cache" in mount.failures()["a"]
    with pytest.raises(StorageError):
        await mount.read("a")
    assert _kept(mount).keys() == {"a"}
    await mount.parts.giving_up.discard(mount.inode("a"), None)
    assert await mount.contents() == {}
    await mount.write("a", b"anew")
    await mount.settle()
    assert workspace.files() == {"a": b"anew"}


async def test_what_programs_did_after_the_close_is_no_damage(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    """Killed while it was open for writing again: what is there is what they wrote."""
    await mount.write("a", CONTENT)
    await _hashed(mount, "a")
    file = await mount.open("a", os.O_RDWR)
    await file.write(b"more", 10)
    await mount.crash()
    await mount.start()
    await mount.settle()
    assert workspace.files() == {"a": CONTENT[:10] + b"more" + CONTENT[14:]}
    assert _kept(mount) == {}


async def test_renamed_over_another_it_is_still_compared(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    workspace.put("a", b"old")
    await mount.read("a")
    await mount.write("tmp", CONTENT)
    await mount.rename("tmp", "a")
    await _spoilt(mount, "a", _flip_a_bit, cleanly=True)
    await mount.settle()
    assert workspace.files() == {"a": b"old"}


async def test_after_a_loss_of_power_content_is_what_the_disk_has(
    mount: WorkspaceMount, workspace: MemoryWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was not synced may be in any state then, and what was may have been written to since."""
    await mount.write("a", CONTENT)
    await _hashed(mount, "a")
    ino = mount.inode("a").ino
    await mount.crash()
    _cut_off(mount, ino)
    monkeypatch.setattr(journal_database, "boot_id", lambda: "another boot")
    await mount.start()
    await mount.settle()
    assert workspace.files() == {"a": CONTENT[:100_000]}


async def test_deep_audit_finds_damage_that_nobody_came_across(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    for path in ("clean", "sound"):
        await mount.write(path, CONTENT)
    await mount.settle()
    workspace.put("dirty", b"old")
    await mount.catch_up()
    await mount.write("dirty", CONTENT)
    await _hashed(mount, "dirty")
    inos = [mount.inode(path).ino for path in ("clean", "dirty")]
    await mount.stop()
    for ino in inos:
        _flip_a_bit(mount, ino)
    await mount.start()
    audits = Audits(mount.parts, mount._content_files)
    found = await audits.audit(deep=True)
    assert sorted(found[:2]) == ["clean: its content was damaged", "dirty: its content was damaged"]
    assert "kept as" in found[2]
    assert len(found) == 3
    assert await mount.contents() == {"clean": CONTENT, "sound": CONTENT, "dirty": b"old"}
    assert [line for line in await audits.audit(deep=True) if "kept as" not in line] == []


async def test_damaged_piece_of_a_file_that_is_here_in_part_is_fetched_again(
    mount: WorkspaceMount, workspace: MemoryWorkspace, caplog: pytest.LogCaptureFixture
) -> None:
    content = random.Random(1).randbytes(5_000_000)
    workspace.put("a", content)
    async with mount.opened("a") as file:
        await file.read(0, 100)
        await file.read(3_000_000, 300_000)
    inode = mount.inode("a")
    assert inode.present
    assert not inode.has_whole_content()
    ino = inode.ino
    await mount.stop()
    with _path(mount, ino).open("r+b") as cached:
        cached.seek(3_100_000)
        cached.write(b"spoilt")
    await mount.start()
    async with mount.opened("a") as file:
        assert await file.read(3_000_000, 300_000) == content[3_000_000:3_300_000]
        assert "is damaged in the cache" in caplog.text
        mount.remote.go_offline()
        assert await file.read(0, 100) == content[:100]
