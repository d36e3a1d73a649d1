"""Stored logins: private, whole, and one process at a time."""

import fcntl
import json
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import keyring
import pytest
from keyring.backends import fail
from keyrings.alt.file import PlaintextKeyring

from mountfs.model.errors import CredentialStoreUnusable
from mountfs.model.login import Login
from mountfs.storage.logins import StoredLogin, stored_urls

URL = "https://api.example.org/current"
LOGIN = Login(URL, "access-secret", "refresh-secret", 100.0, 200.0, "c1", ("workspace:1:rw",), "42")


def the_file(folder: Path) -> Path:
    (path,) = folder.glob("*.json")
    return path


def test_login_is_kept_and_forgotten(tmp_path: Path) -> None:
    folder = tmp_path / "logins"
    store = StoredLogin(folder, URL)
    assert store.load() is None
    store.save(LOGIN)
    assert store.load() == LOGIN
    assert StoredLogin(folder, URL + "/other").load() is None
    assert stored_urls(folder) == [URL]
    assert stat.S_IMODE(the_file(folder).stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert store.remove()
    assert not store.remove()
    assert stored_urls(folder) == []


def test_secrets_show_in_no_text() -> None:
    assert "secret" not in repr(LOGIN)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o660])
def test_file_that_others_can_use_is_refused_and_can_be_removed(tmp_path: Path, mode: int) -> None:
    store = StoredLogin(tmp_path, URL)
    store.save(LOGIN)
    the_file(tmp_path).chmod(mode)
    with pytest.raises(CredentialStoreUnusable, match="others can use it") as caught:
        store.load()
    assert "secret" not in str(caught.value)
    assert store.remove()


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"url": 1}', '{"url": "x", "access_token": "t"}'])
def test_file_that_is_no_login_is_refused(tmp_path: Path, content: str) -> None:
    store = StoredLogin(tmp_path, URL)
    store.save(LOGIN)
    the_file(tmp_path).write_text(content)
    with pytest.raises(CredentialStoreUnusable, match="not what mountfs login wrote"):
        store.load()


def test_symlink_in_its_place_is_not_followed(tmp_path: Path) -> None:
    store = StoredLogin(tmp_path, URL)
    store.save(LOGIN)
    path = the_file(tmp_path)
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CredentialStoreUnusable):
        store.load()


@pytest.fixture
def ring(tmp_path: Path) -> Iterator[Path]:
    """The library with a backend that keeps secrets in a file; return that file."""
    before = keyring.get_keyring()
    backend = PlaintextKeyring()
    backend.file_path = str(tmp_path / "ring")
    keyring.set_keyring(backend)
    yield tmp_path / "ring"
    keyring.set_keyring(before)


def test_keyring_has_the_secrets_and_the_file_none(tmp_path: Path, ring: Path) -> None:
    folder = tmp_path / "logins"
    StoredLogin(folder, URL, in_keyring=True).save(LOGIN)
    assert "secret" not in the_file(folder).read_text()
    assert json.loads(keyring.get_password("mountfs", URL) or "")["access_token"] == "access-secret"
    assert ring.exists()
    store = StoredLogin(folder, URL)
    assert store.load() == LOGIN
    renewed = replace(LOGIN, access_token="renewed-secret")
    store.save(renewed)
    assert "secret" not in the_file(folder).read_text(), "a renewal stays where the login was"
    assert StoredLogin(folder, URL).load() == renewed
    assert store.remove()
    assert keyring.get_password("mountfs", URL) is None


def test_login_whose_secret_is_gone_from_the_keyring(tmp_path: Path, ring: Path) -> None:
    folder = tmp_path / "logins"
    store = StoredLogin(folder, URL, in_keyring=True)
    store.save(LOGIN)
    ring.unlink()
    with pytest.raises(CredentialStoreUnusable, match="no login for") as caught:
        store.load()
    assert "mountfs login" in caught.value.hint
    assert store.remove(), "it can be forgotten all the same"


def test_keyring_that_fails_is_told_without_what_it_was_given(tmp_path: Path, ring: Path) -> None:
    ring.mkdir()
    with pytest.raises(CredentialStoreUnusable, match="IsADirectoryError") as caught:
        StoredLogin(tmp_path, URL, in_keyring=True).save(LOGIN)
    assert "secret" not in str(caught.value)


def test_login_whose_keyring_is_gone_is_not_removed_by_half(tmp_path: Path, ring: Path) -> None:
    store = StoredLogin(tmp_path, URL, in_keyring=True)
    store.save(LOGIN)
    working = keyring.get_keyring()
    keyring.set_keyring(fail.Keyring())  # type: ignore[no-untyped-call]  # of the library
    with pytest.raises(CredentialStoreUnusable):
        store.remove()
    keyring.set_keyring(working)
    assert store.load() == LOGIN
    assert store.remove()


def test_system_without_a_keyring(tmp_path: Path, ring: Path) -> None:
    keyring.set_keyring(fail.Keyring())  # type: ignore[no-untyped-call]  # of the library
    with pytest.raises(CredentialStoreUnusable, match="NoKeyringError") as caught:
        StoredLogin(tmp_path, URL, in_keyring=True).save(LOGIN)
    assert "without --keyring" in caught.value.hint


HOLDER = """
import sys
from pathlib import Path
from mountfs.storage.logins import StoredLogin
with StoredLogin(Path(sys.argv[1]), sys.argv[2]).exclusive():
    print("held", flush=True)
    sys.stdin.readline()
"""


def test_only_one_process_renews(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(tmp_path), URL]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with next(tmp_path.glob("*.lock")).open() as lock, pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        holder.communicate("\n", timeout=20)
    with StoredLogin(tmp_path, URL).exclusive():
        assert StoredLogin(tmp_path, URL).load() is None
