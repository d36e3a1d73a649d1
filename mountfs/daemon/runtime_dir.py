"""Where a running daemon is found: one record and one socket per mountpoint, in a folder of its user.

`$XDG_RUNTIME_DIR/mountfs`, else `/run/mountfs` for root, else `/tmp/mountfs-UID`. A client also looks into
the folders that the daemon's environment may have led to instead of its own.
"""

import hashlib
import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from mountfs.daemon.errors import ConfigurationRefused
from mountfs.daemon.processes import ProcessIdentity


@dataclass(frozen=True, slots=True, kw_only=True)
class MountRecord:
    """What is known of a daemon without asking it. `left_in_journal` is None until it ended in order.
    `brokered`: somebody else made the mount, and takes it away when the daemon asks."""

    process: ProcessIdentity
    mountpoint: Path
    cache_dir: Path
    url: str
    workspace: str
    drain_timeout_s: float
    left_in_journal: int | None = None
    brokered: bool = False


def own_dir() -> Path:
    """Return the folder of this user, made if missing; refused unless it is ours alone."""
    folder = _preferred_dir()
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        _check_is_private(folder)
    except OSError as error:
        raise _unusable(folder, error) from error
    return folder


def _unusable(folder: Path, error: OSError) -> ConfigurationRefused:
    return ConfigurationRefused(
        f"the runtime directory {folder} cannot be used: {error.strerror}",
        hint="set XDG_RUNTIME_DIR to a directory of yours",
    )


def _preferred_dir() -> Path:
    configured = os.environ.get("XDG_RUNTIME_DIR", "")
    if configured.startswith("/") and Path(configured).is_dir():
        return Path(configured) / "mountfs"
    return Path("/run/mountfs") if os.getuid() == 0 else Path(f"/tmp/mountfs-{os.getuid()}")  # noqa: S108 - owner and mode are checked


def _check_is_private(folder: Path) -> None:
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise ConfigurationRefused(
            f"the runtime directory {folder} is not a private directory of this user",
            hint="remove it, or set XDG_RUNTIME_DIR to a directory of yours",
        )


def _search_dirs() -> list[Path]:
    uid = os.getuid()
    places = [_preferred_dir(), Path(f"/run/user/{uid}/mountfs"), Path(f"/tmp/mountfs-{uid}")]  # noqa: S108 - as above
    if uid == 0:
        places.append(Path("/run/mountfs"))
    return [place for place in dict.fromkeys(places) if _is_trusted(place, uid)]


def _is_trusted(folder: Path, uid: int) -> bool:
    try:
        found = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == uid and not found.st_mode & 0o077


def _key(mountpoint: Path) -> str:
    return hashlib.sha256(os.fsencode(mountpoint)).hexdigest()[:16]


def socket_path(mountpoint: Path) -> Path:
    """Return where the daemon of this mountpoint (absolute, symlinks resolved) listens."""
    return own_dir() / f"{_key(mountpoint)}.sock"


def write_record(record: MountRecord) -> None:
    """Replace the record of the mountpoint as one step. Raises ConfigurationRefused where that fails."""
    path = own_dir() / f"{_key(record.mountpoint)}.json"
    plain = asdict(record)
    plain["mountpoint"] = str(record.mountpoint)
    plain["cache_dir"] = str(record.cache_dir)
    temporary = path.with_suffix(f".{os.getpid()}.new")
    try:
        temporary.write_text(json.dumps(plain))
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise _unusable(path.parent, error) from error


def note_drain_timeout(mountpoint: Path, drain_timeout_s: float) -> None:
    """Change what the record of a running mount says of the time that uploads get at its end. Raises as
    `write_record`."""
    found = find_record(mountpoint)
    if found is not None:
        write_record(replace(found[0], drain_timeout_s=drain_timeout_s))


def note_end(record: MountRecord) -> None:
    """Replace the record of a mount of the calling process that has ended; nothing changes where another
    daemon serves there by now. Raises as `write_record`."""
    found = find_record(record.mountpoint)
    if found is not None and found[0].process != record.process:
        return
    (own_dir() / f"{_key(record.mountpoint)}.json").unlink(missing_ok=True)  # room, where the disk is full
    write_record(record)


def find_record(mountpoint: Path) -> tuple[MountRecord, Path] | None:
    """Return the record of a mountpoint, whether its daemon runs or ended, and the daemon's socket."""
    return next((found for found in all_records() if found[0].mountpoint == mountpoint), None)


def all_records() -> list[tuple[MountRecord, Path]]:
    """Return every record of this user with its socket, by mountpoint; a live daemon's goes first."""
    found: dict[Path, tuple[MountRecord, Path]] = {}
    for folder in _search_dirs():
        for path in folder.glob("*.json"):
            record = _read(path)
            if record is not None and (record.mountpoint not in found or record.process.is_alive()):
                found[record.mountpoint] = (record, path.with_suffix(".sock"))
    return [found[mountpoint] for mountpoint in sorted(found)]


def forget_record(mountpoint: Path) -> None:
    """Remove what an ended daemon left here."""
    for folder in _search_dirs():
        for suffix in ("json", "sock"):
            (folder / f"{_key(mountpoint)}.{suffix}").unlink(missing_ok=True)


def _read(path: Path) -> MountRecord | None:
    try:
        plain = json.loads(path.read_text())
        plain["process"] = ProcessIdentity(**plain["process"])
        plain["mountpoint"] = Path(plain["mountpoint"])
        plain["cache_dir"] = Path(plain["cache_dir"])
        return MountRecord(**plain)
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None


@contextmanager
def short_socket_path(path: Path) -> Iterator[str]:
    """Yield a name for the socket that fits the 108 bytes of a Unix address, however deep its folder is."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
