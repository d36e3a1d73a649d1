"""Stored logins: private, whole, and one process at a time."""

import fcntl
import json
import stat
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

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
def keyring(monkeypatch: pytest.MonkeyPatch) -> dict[tuple[str, str], str]:
    """A keyring of the system, as the library shows it."""
    kept: dict[tuple[str, str], str] = {}
    module = ModuleType("keyring")
    # A stand-in for the library, whose names mypy does not expect of a module.
    module.get_password = lambda service, name: kept.get((service, name))  # type: ignore[attr-defined]
    module.set_password = lambda service, name, secret: kept.update({(service, name): secret})  # type: ignore[attr-defined]
    module.delete_password = lambda service, name: kept.pop((service, name))  # type: ignore[attr-defined]
    module.errors = SimpleNamespace(PasswordDeleteError=KeyError)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "keyring", module)
    return kept


def test_keyring_has_the_secrets_and_the_file_none(
    tmp_path: Path, keyring: dict[tuple[str, str], str]
) -> None:
    StoredLogin(tmp_path, URL, in_keyring=True).save(LOGIN)
    assert "secret" not in the_file(tmp_path).read_text()
    assert json.loads(keyring["mountfs", URL])["access_token"] == "access-secret"
    store = StoredLogin(tmp_path, URL)
    assert store.load() == LOGIN
    store.save(LOGIN)
    assert "secret" not in the_file(tmp_path).read_text(), "a renewal stays where the login was"
    assert store.remove()
    assert not keyring


def test_keyring_that_fails_is_told_without_what_it_was_given(
    tmp_path: Path, keyring: dict[tuple[str, str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*given: str) -> None:
        raise RuntimeError(str(given))

    monkeypatch.setattr(sys.modules["keyring"], "set_password", fail)
    with pytest.raises(CredentialStoreUnusable, match="RuntimeError") as caught:
        StoredLogin(tmp_path, URL, in_keyring=True).save(LOGIN)
    assert "secret" not in str(caught.value)


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
