"""A mount that serves nothing: what the control socket needs of one, with outcomes set by the test."""

from collections.abc import Callable
from dataclasses import dataclass, field

import trio
import trio.testing

from mountfs.daemon.errors import UpgradeRefused
from mountfs.daemon.running import (
    ActiveUpload,
    CacheUse,
    DrainProgress,
    FailedUpload,
    Feature,
    Health,
    LockReport,
    LockState,
    LockUser,
    RemoteHolder,
    Requests,
    Status,
    SyncOutcome,
    Uploads,
    shown,
)

STATUS = Status(
    workspace_name="main",
    workspace_id="1234",
    url="https://files.example/current",
    mountpoint="/mnt/w",
    cache_dir="/var/cache/w",
    pid=42,
    version="0.1.0",
    online=True,
    feed_live=False,
    last_error="no answer",
    read_only=False,
    cache=CacheUse(used_bytes=3 * 1024**2, limit_bytes=10 * 1024**3, dirty_bytes=5, files=7),
    uploads=Uploads(
        pending_count=3,
        pending_bytes=900,
        active=(ActiveUpload("big.bin", 500, 100),),
        failed=(FailedUpload(shown(b"na\xffme [b]"), "name refused", "rename the file"),),
    ),
    locks=(LockState("a.lock", "exclusive", 1, 2, 33.5, lost=1),),
    features=(Feature("locks across hosts", False, "no C extension"),),
    requests=Requests(kernel={"lookup": 9}, workspace={"GET activity/poll": 2}),
)

LOCKS = (
    LockReport(
        "a.lock",
        (LockUser("exclusive", 3.5, lost=True),),
        (LockUser("shared", 1.0),),
        33.5,
        RemoteHolder("host:42", 1.5, None, here=True),
        None,
    ),
)


@dataclass
class StandInMount:
    """Implements `RunningMount`. `drained` are the steps that a drain tells before it ends."""

    outcome: SyncOutcome = field(default_factory=lambda: SyncOutcome(confirmed=True, remaining=0))
    drained: list[DrainProgress] = field(default_factory=list)
    left: int = 0
    error: Exception | None = None
    synced: list[tuple[bytes | None, float | None]] = field(default_factory=list)
    asked: list[bytes | None] = field(default_factory=list)
    stops: list[float] = field(default_factory=list)
    drain_timeout_s: float = 60.0
    reloads: int = 0
    hangs: bool = False
    stopping: bool = False
    cancelled: trio.Event = field(default_factory=trio.Event)

    def status(self) -> Status:
        if self.error is not None:
            raise self.error
        return STATUS

    def health(self) -> Health:
        return Health(online=True, feed_live=False, stopping=self.stopping)

    async def sync(self, path: bytes | None, *, timeout_s: float | None) -> SyncOutcome:
        self.synced.append((path, timeout_s))
        if self.hangs:
            try:
                await trio.sleep_forever()
            finally:
                self.cancelled.set()
        return self.outcome

    async def drain(self, timeout_s: float, progress: Callable[[DrainProgress], None]) -> int:
        for step in self.drained:
            progress(step)
            await trio.testing.wait_all_tasks_blocked(0.01)
        return self.left

    async def locks(self, path: bytes | None) -> tuple[LockReport, ...]:
        self.asked.append(path)
        return LOCKS

    async def unlock(self, path: bytes) -> RemoteHolder | None:
        if self.error is not None:
            raise self.error
        self.asked.append(path)
        return LOCKS[0].remote if path == b"a.lock" else None

    async def reload(self) -> None:
        self.reloads += 1

    def request_stop(self, *, drain_timeout_s: float) -> None:
        self.stops.append(drain_timeout_s)

    is_left = False

    async def upgrade(self) -> None:
        raise UpgradeRefused("a stand-in goes nowhere")

    async def audit(self, *, deep: bool) -> list[str]:
        return [f"entry 7 has no content: {shown(b'x')}"]
