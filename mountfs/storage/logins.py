"""Logins on our disk: a file of mode 0600 for each address, its secrets in it or in the system's keyring."""

import fcntl
import hashlib
import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from mountfs.model.errors import CredentialStoreUnusable, StorageError
from mountfs.model.login import Login
from mountfs.storage import untrusted_json

SERVICE: Final = "mountfs"
"""The name under which the keyring shows what is ours."""

_SUFFIX: Final = ".json"
_MAX_BYTES: Final = 256 * 1024


class StoredLogin:
    """Implements `mountfs.model.login.LoginStore` in `folder`, which is made with mode 0700.

    `in_keyring` decides for what is saved from now on where its secrets go: to the system's keyring (library
    keyring), else into the file; None: to where they are already.
    """

    def __init__(self, folder: Path, url: str, *, in_keyring: bool | None = None) -> None:
        self._folder = folder
        self._url = url
        self._in_keyring = in_keyring
        name = hashlib.sha256(url.encode()).hexdigest()[:32]
        self._path = folder / f"{name}{_SUFFIX}"
        self._lock = folder / f"{name}.lock"

    def load(self) -> Login | None:
        told = _read(self._path)
        if told is None:
            return None
        try:
            kept = told.get("kept_in") == "keyring"
            secrets = untrusted_json.loads(_ask_keyring(told["url"])) if kept else told
            return Login(
                url=str(told["url"]),
                access_token=str(secrets["access_token"]),
                refresh_token=str(secrets["refresh_token"]),
                issued_at_s=float(told["issued_at_s"]),
                expires_at_s=float(told["expires_at_s"]),
                client_id=str(told["client_id"]),
                scopes=tuple(map(str, told["scopes"])),
                account=str(told["account"]),
            )
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise _unreadable(self._path, "it is not what mountfs login wrote") from error

    def save(self, login: Login) -> None:
        secrets = {"access_token": login.access_token, "refresh_token": login.refresh_token}
        told: dict[str, Any] = {
            "url": login.url,
            "issued_at_s": login.issued_at_s,
            "expires_at_s": login.expires_at_s,
            "client_id": login.client_id,
            "scopes": list(login.scopes),
            "account": login.account,
        }
        if self._goes_to_keyring():
            _tell_keyring(login.url, json.dumps(secrets))
            told["kept_in"] = "keyring"
        else:
            told |= secrets
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _replace(self._path, json.dumps(told).encode())
        except OSError as error:
            raise StorageError(
                f"the login cannot be kept in {self._folder}: {error.strerror}", errno=error.errno or 0
            ) from error

    def remove(self) -> bool:
        try:
            told = _read(self._path)
        except CredentialStoreUnusable:
            told = {}  # whatever it is, it goes
        if told is None:
            return False
        if told.get("kept_in") == "keyring":
            _clear_keyring(self._url)
        try:
            self._path.unlink(missing_ok=True)
        except OSError as error:
            raise _unreadable(self._path, error.strerror or "") from error
        return True

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(self._lock, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise _unreadable(self._lock, error.strerror or "") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _goes_to_keyring(self) -> bool:
        if self._in_keyring is not None:
            return self._in_keyring
        told = _read(self._path)
        return told is not None and told.get("kept_in") == "keyring"


def stored_urls(folder: Path) -> list[str]:
    """Return the addresses that there is a login for. Raises CredentialStoreUnusable."""
    found = (_read(path) for path in sorted(folder.glob(f"*{_SUFFIX}")))
    return sorted(str(told["url"]) for told in found if told is not None and "url" in told)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unreadable(path, error.strerror or "") from error
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_uid not in (os.getuid(), 0):
            raise _unreadable(path, "it is no file of this user")
        if found.st_mode & 0o077:
            raise _unreadable(path, f"others can use it (mode {stat.S_IMODE(found.st_mode):04o})")
        content = file.read(_MAX_BYTES)
    with suppress(ValueError):
        told = untrusted_json.loads(content)
        if isinstance(told, dict):
            return told
    raise _unreadable(path, "it is not what mountfs login wrote")


def _replace(path: Path, content: bytes) -> None:
    unfinished = path.with_suffix(f".{os.getpid()}.new")
    unfinished.unlink(missing_ok=True)
    descriptor = os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        unfinished.rename(path)
    except OSError:
        unfinished.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _unreadable(path: Path, why: str) -> CredentialStoreUnusable:
    return CredentialStoreUnusable(
        f"the login in {path} cannot be used: {why}",
        hint="mountfs logout removes it, mountfs login makes it anew",
    )


def _keyring() -> Any:
    try:
        import keyring
    except ImportError as error:
        raise CredentialStoreUnusable(
            "the library keyring is not installed", hint="pip install keyring, or sign in without --keyring"
        ) from error
    return keyring


def _ask_keyring(url: str) -> str:
    keyring = _keyring()
    try:
        told = keyring.get_password(SERVICE, url)
    except Exception as error:
        raise _keyring_failed(error) from error
    if told is None:
        raise CredentialStoreUnusable(
            f"the keyring has no login for {url}", hint="sign in again: mountfs login"
        )
    return str(told)


def _tell_keyring(url: str, secret: str) -> None:
    keyring = _keyring()
    try:
        keyring.set_password(SERVICE, url, secret)
    except Exception as error:
        raise _keyring_failed(error) from error


def _clear_keyring(url: str) -> None:
    keyring = _keyring()
    try:
        with suppress(keyring.errors.PasswordDeleteError):
            keyring.delete_password(SERVICE, url)
    except Exception as error:
        raise _keyring_failed(error) from error


def _keyring_failed(error: Exception) -> CredentialStoreUnusable:
    """Name what failed without its text: a backend may quote what it was given."""
    return CredentialStoreUnusable(
        f"the system's keyring does not work ({type(error).__name__})", hint="sign in without --keyring"
    )
