"""What a workspace in memory remembers of its files."""

import trio

from mountfs.model.errors import RemoteError
from mountfs.model.history import Version
from mountfs.model.ids import NodeId
from mountfs.remotes.memory import MemoryWorkspace

SECOND = 10**9
NOON = 1_767_960_000 * SECOND  # 2026-01-09T12:00:00Z


class MemoryHistory:
    """What the workspace in memory remembers of files; each version is a second younger than the last."""

    def __init__(self, workspace: MemoryWorkspace) -> None:
        self._workspace = workspace
        self.calls = 0
        self.error: RemoteError | None = None
        self.tells_sizes = True
        self.hangs = False
        self.spoils_hashes = False

    async def versions(self, node: NodeId) -> list[Version]:
        self.calls += 1
        if self.hangs:
            await trio.sleep_forever()
        if self.error is not None:
            raise self.error
        told = [
            Version(
                each.id,
                size=len(each.content) if self.tells_sizes else None,
                sha256="0" * 64 if self.spoils_hashes else each.sha256,
                created_ns=NOON + number * SECOND,
            )
            for number, each in enumerate(self._workspace.versions(node))
        ]
        return told[::-1]
