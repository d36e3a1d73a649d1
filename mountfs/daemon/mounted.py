"""Finds mounts of mountfs and their daemons, without touching what is mounted: a hung one would hang us."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mountfs.daemon import runtime_dir
from mountfs.daemon.errors import DaemonSilent, NotMounted
from mountfs.daemon.running import shown
from mountfs.daemon.runtime_dir import MountRecord
from mountfs.kernel import mounts
from mountfs.kernel.mounts import Mount

if TYPE_CHECKING:
    from mountfs.daemon.control.client import ControlClient

_MAX_SYMLINKS = 40


@dataclass(frozen=True, slots=True)
class Mounted:
    """One mountpoint. Without `mount` only its daemon is there; without `record` no daemon of this user."""

    mountpoint: Path
    mount: Mount | None
    record: MountRecord | None
    socket: Path | None

    @property
    def has_live_daemon(self) -> bool:
        return self.record is not None and self.record.process.is_alive()

    def client(self) -> "ControlClient":
        """Raises DaemonSilent where there is no daemon of this user to ask."""
        if not self.has_live_daemon or self.socket is None:
            raise DaemonSilent(
                f"no daemon of this user serves {shown(str(self.mountpoint))}",
                hint=f"if its daemon was killed, clear it: mountfs umount {shown(str(self.mountpoint))}",
            )
        from mountfs.daemon.control.client import ControlClient  # heavy, and a probe does without

        return ControlClient(self.socket)

    def silent(self, error: DaemonSilent) -> DaemonSilent:
        """Return the error with what can be done as a last resort."""
        if self.record is None or not self.has_live_daemon:
            return error
        pid, place = self.record.process.pid, shown(str(self.mountpoint))
        return DaemonSilent(
            f"{place}: {error.message}",
            hint=f"as a last resort kill -9 {pid}, then mountfs umount {place}: closed files stay safe",
        )


def resolve_mountpoint(path: Path) -> Path:
    """Return the absolute path without symlinks, also of a mountpoint whose daemon is dead or hangs."""
    for _ in range(_MAX_SYMLINKS):
        path = Path(os.path.abspath(path))
        path = Path(os.path.realpath(path.parent), path.name)
        if _is_mountpoint(path):
            return path
        try:
            path = path.parent / path.readlink()
        except OSError:
            return path
    return path


def find(path: Path) -> Mounted:
    """Return the mount at exactly this path. Raises NotMounted."""
    mountpoint = resolve_mountpoint(path)
    found = next((each for each in _everything() if each.mountpoint == mountpoint), None)
    if found is None:
        raise NotMounted(f"{shown(str(mountpoint))} is not a mount of mountfs")
    return found


def containing(path: Path) -> tuple[Mounted, Path] | None:
    """Return the mount that holds this path, and the path relative to its root."""
    candidates = _everything()
    # Symlinks are followed only where the path as it is leads into no mount: one that hangs would hang us.
    for resolve in (_absolute, resolve_mountpoint):
        place = resolve(path)
        holders = [each for each in candidates if place.is_relative_to(each.mountpoint)]
        if holders:
            holder = max(holders, key=lambda each: len(each.mountpoint.parts))
            return holder, place.relative_to(holder.mountpoint)
    return None


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))


def all_mounted() -> list[Mounted]:
    """Return every mount of this user, alive or left by a dead daemon."""
    return [each for each in _everything() if each.record is not None]


def _everything() -> list[Mounted]:
    """Return every mount of mountfs in this mount namespace, and every live daemon of this user."""
    table = {Path(mount.mountpoint): mount for mount in mounts.mountfs_mounts()}
    records = {record.mountpoint: (record, socket) for record, socket in runtime_dir.all_records()}
    found = []
    for mountpoint in sorted(table.keys() | records.keys()):
        record, socket = records.get(mountpoint, (None, None))
        each = Mounted(mountpoint, table.get(mountpoint), record, socket)
        if each.mount is not None or each.has_live_daemon:
            found.append(each)
    return found


def _is_mountpoint(path: Path) -> bool:
    return any(Path(mount.mountpoint) == path for mount in mounts.mounts())
