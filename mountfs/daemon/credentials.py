"""Where the token comes from: the environment, else a file that only its owner can read, else a stored
login."""

import os
import stat
from pathlib import Path

from mountfs.daemon.errors import ConfigurationRefused
from mountfs.daemon.login_key import login_key
from mountfs.daemon.running import shown
from mountfs.daemon.settings import Secret
from mountfs.storage.logins import StoredLogin, stored_urls

_VARIABLE = "MOUNTFS_TOKEN"
_MAX_BYTES = 64 * 1024


def from_environment() -> str:
    """Return the token that the environment gives; empty: it gives none."""
    return os.environ.get(_VARIABLE, "").strip()


def find_token(token_file: Path | None, url: str, folder: Path) -> tuple[Secret, Path | None]:
    """Return the token for this address, and `folder` if it is of a login that is kept there.

    Raises ConfigurationRefused, CredentialStoreUnusable.
    """
    if from_environment() or token_file is not None:
        return read_token(token_file), None
    login = StoredLogin(folder, login_key(url)).load()
    if login is None:
        raise ConfigurationRefused(
            f"no token for {url}", hint="sign in with mountfs login, set MOUNTFS_TOKEN, or give --token-file"
        )
    return Secret(login.access_token), folder


def only_stored_url(folder: Path) -> str | None:
    """Return the address of the login that is kept in the folder, where there is exactly one."""
    urls = stored_urls(folder)
    return urls[0] if len(urls) == 1 else None


def read_token(token_file: Path | None) -> Secret:
    """Return the token of MOUNTFS_TOKEN, else of the file. Raises ConfigurationRefused."""
    if found := from_environment():
        return checked_token(found, _VARIABLE)
    if token_file is None:
        raise ConfigurationRefused("no token", hint="set MOUNTFS_TOKEN or give --token-file")
    return read_token_file(token_file)


def read_token_file(path: Path) -> Secret:
    """Return the token in a file that only its owner can read. Raises ConfigurationRefused."""
    name = f"token file {shown(str(path))}"
    try:
        return checked_token(_read_private(path, name), name)
    except OSError as error:
        raise ConfigurationRefused(f"{name} cannot be read: {error.strerror}") from error


def _read_private(path: Path, name: str) -> str:
    # Non-blocking, so that a pipe in its place is refused below instead of waited for.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise ConfigurationRefused(f"{name} is not a regular file")
        if found.st_mode & 0o077 and not _is_credential(path, found):
            raise ConfigurationRefused(
                f"{name} can be read or written by others (mode {stat.S_IMODE(found.st_mode):04o})",
                hint=f"chmod 600 {shown(str(path))}",
            )
        return file.read(_MAX_BYTES).decode("utf-8", "replace").strip()


def _is_credential(path: Path, found: os.stat_result) -> bool:
    """Whether systemd made this file for this service. For a service of another user than root it belongs
    to root, and the bits of the group stand for an access list that names that user alone."""
    folder = os.environ.get("CREDENTIALS_DIRECTORY", "")
    return folder.startswith("/") and path.parent == Path(folder) and found.st_mode & 0o037 == 0


def checked_token(text: str, source: str) -> Secret:
    if not text:
        raise ConfigurationRefused(f"{source} is empty")
    if not (text.isascii() and text.isprintable() and " " not in text):
        raise ConfigurationRefused(f"{source} does not hold a token: one word of printable ASCII expected")
    return Secret(text)
