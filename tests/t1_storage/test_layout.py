"""The cache directory is private, and one daemon's at a time."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from mountfs.model.errors import CacheInUse, CacheUnusable
from mountfs.storage.layout import CacheDirectory

CLAIM = """
import pathlib, sys
from mountfs.storage.layout import CacheDirectory
claimed = CacheDirectory.claim(pathlib.Path(sys.argv[1]))
print("claimed", flush=True)
sys.stdin.read()
"""
REPOSITORY = Path(__file__).parents[2]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_claimed_directory_is_private(tmp_path: Path) -> None:
    umask = os.umask(0)
    try:
        claimed = CacheDirectory.claim(tmp_path / "deep" / "cache")
    finally:
        os.umask(umask)
    layout = claimed.layout
    folders = [layout.root, layout.content, layout.journal.parent]
    assert [mode(folder) for folder in folders] == [0o700] * 3
    assert mode(layout.lock) == 0o600
    claimed.release()


def test_open_directory_is_closed_to_others(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    cache.chmod(0o777)
    CacheDirectory.claim(cache).release()
    assert mode(cache) == 0o700


def test_second_claim_names_the_owner(tmp_path: Path) -> None:
    claimed = CacheDirectory.claim(tmp_path)
    with pytest.raises(CacheInUse, match=f"process {os.getpid()}"):
        CacheDirectory.claim(tmp_path)
    claimed.release()
    CacheDirectory.claim(tmp_path).release()


def test_claim_ends_with_its_process_however_that_ends(tmp_path: Path) -> None:
    command = [sys.executable, "-c", CLAIM, str(tmp_path)]
    with subprocess.Popen(
        command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "claimed\n"
        with pytest.raises(CacheInUse, match=f"process {owner.pid}"):
            CacheDirectory.claim(tmp_path)
        owner.kill()
        owner.wait()
        CacheDirectory.claim(tmp_path).release()


def test_claim_is_not_inherited_by_programs(tmp_path: Path) -> None:
    claimed = CacheDirectory.claim(tmp_path)
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, close_fds=False) as heir:
        claimed.release()
        CacheDirectory.claim(tmp_path).release()
        heir.kill()


def test_place_below_a_file_is_unusable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CacheUnusable, match="cannot be used"):
        CacheDirectory.claim(tmp_path / "file" / "cache")
    with pytest.raises(CacheUnusable):
        CacheDirectory.claim(tmp_path / "file")


def test_directory_that_may_not_be_written_is_unusable(tmp_path: Path) -> None:
    command = [sys.executable, "-c", CLAIM, str(tmp_path / "closed")]
    (tmp_path / "closed").mkdir(mode=0o500)
    if os.geteuid() == 0:
        # Root may write everywhere; nobody else may write in /sys either.
        with pytest.raises(CacheUnusable):
            CacheDirectory.claim(Path("/sys/cache"))
        return
    refused = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert "CacheUnusable" in refused.stderr


def test_directory_of_another_user_is_unusable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = tmp_path.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with pytest.raises(CacheUnusable, match="another user"):
        CacheDirectory.claim(tmp_path)
