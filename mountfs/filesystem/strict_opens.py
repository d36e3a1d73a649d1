"""When an open has to ask the workspace what the file is by now, instead of trusting the change feed."""

from mountfs.locks.file_locks import FileLocks
from mountfs.model.filesystem import KernelNotifier
from mountfs.model.ids import Ino
from mountfs.sync.refresher import Refresher
from mountfs.tree.inode import Inode


class StrictOpens:
    """Asks at each open where the mount is set to, and for as long as it has a lease: once after each grant.

    A lease guards its own file, and by custom others beside it. Whoever wrote those had the lease before us,
    so what they are when it has come is what they stay.
    """

    def __init__(
        self, refresher: Refresher, locks: FileLocks, kernel: KernelNotifier, *, always_ask: bool
    ) -> None:
        self._refresher = refresher
        self._locks = locks
        self._kernel = kernel
        self.always_ask = always_ask
        self._grants = 0
        self._asked: set[Ino] = set()
        """Those that were asked for since the last of so many grants."""

    async def make_fresh(self, inode: Inode) -> None:
        """Return when an open may show what is known. Waits for the workspace with a bound, and is content
        with what is known where it does not answer."""
        if not self._has_to_ask(inode.ino):
            return
        grants = self._locks.grants
        answered = await self._refresher.check_file_if_possible(inode)
        await self._kernel.drained()
        if answered and grants == self._grants == self._locks.grants:
            self._asked.add(inode.ino)

    def _has_to_ask(self, ino: Ino) -> bool:
        if self.always_ask:
            return True
        if not self._locks.holding:
            return False
        if self._grants != self._locks.grants:
            self._grants = self._locks.grants
            self._asked.clear()
        return ino not in self._asked and not self._locks.is_fresh(ino)
