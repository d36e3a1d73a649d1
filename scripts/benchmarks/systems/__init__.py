"""The file systems under comparison, by name."""

from collections.abc import Callable
from functools import partial

from scripts.benchmarks.systems.base import Setting, System
from scripts.benchmarks.systems.davfs import Davfs
from scripts.benchmarks.systems.juicefs import JuiceFSOverRedis, JuiceFSOverSQLite
from scripts.benchmarks.systems.local import LocalDisk
from scripts.benchmarks.systems.mountfs import VARIANTS, Mountfs
from scripts.benchmarks.systems.rclone import RcloneMount
from scripts.benchmarks.systems.seaweedfs import SeaweedFS
from scripts.benchmarks.systems.sshfs import Sshfs

OURS = tuple(variant.name for variant in VARIANTS)
_PEERS: tuple[type[System], ...] = (RcloneMount, JuiceFSOverSQLite, JuiceFSOverRedis, Sshfs, Davfs, SeaweedFS)

SYSTEMS: dict[str, Callable[[Setting], System]] = {
    LocalDisk.name: LocalDisk,
    **{variant.name: partial(Mountfs, variant=variant) for variant in VARIANTS},
    **{system.name: system for system in _PEERS},
}
PEERS = tuple(system.name for system in _PEERS)
