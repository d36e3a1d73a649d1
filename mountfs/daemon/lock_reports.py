"""What `mountfs locks` and `mountfs unlock` ask of a running mount."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol, TypeVar

import trio

from mountfs.daemon.errors import first_of_ours
from mountfs.daemon.running import LockReport, LockUser, RemoteHolder, shown
from mountfs.locks.file_locks import FileLocks
from mountfs.locks.statistics import FileLockStatistics, LockUse
from mountfs.model.errors import MountfsError, NodeNotFound, OperationNotSupported, RemoteUnavailable
from mountfs.model.ids import Ino, NodeId
from mountfs.model.remote import LeaseHolder, Remote
from mountfs.tree.inode import Inode
from mountfs.tree.tree import Tree

Found = TypeVar("Found")

ASKED_MOST: Final = 2000
"""Of so many files below a folder the workspace is asked, many in one call."""

ASKED_TOGETHER: Final = 8
PATIENCE_S: Final = 5.0
"""How long the answer waits for what the workspace knows; without that it tells of this mount only."""


class LockParts(Protocol):
    """What is asked of the composed mount."""

    remote: Remote
    tree: Tree
    locks: FileLocks
    holder: str


class LockReports:
    """Joins what this mount knows of its locks with what the workspace tells of them."""

    def __init__(self, parts: LockParts) -> None:
        self._parts = parts

    async def report(self, top: Inode | None) -> tuple[LockReport, ...]:
        """Tell of the locks in use here; with `top` only of those at or below it, and of those of others."""
        tree = self._parts.tree
        in_use = {lock.ino: lock for lock in self._parts.locks.statistics().files}
        files = {ino: tree.inodes.get(ino) for ino in in_use}
        wanted = {ino: inode for ino, inode in files.items() if _is_below(inode, top)}
        problem: list[str] = []
        if top is not None:
            below, found = top, list[Inode]()
            found = await self._or_problem(lambda: self._locked_below(below), problem, found)
            wanted |= {inode.ino: inode for inode in found}
        nodes = {ino: inode.node for ino, inode in wanted.items() if inode is not None and inode.node}
        told: dict[Ino, LeaseHolder] = {}
        told = await self._or_problem(lambda: self._holders(nodes), problem, told)
        return tuple(
            self._joined(inode, ino, in_use.get(ino), told.get(ino), problem[0] if problem else None)
            for ino, inode in sorted(wanted.items())
            if ino in in_use or told.get(ino) is not None
        )

    async def override(self, inode: Inode) -> RemoteHolder | None:
        """As `RunningMount.unlock` says."""
        if not inode.is_file:
            raise OperationNotSupported(f"{shown(inode.path())} is not a file: only files are locked")
        if inode.node is None:
            return None
        with trio.move_on_after(2 * PATIENCE_S):
            held = await self._parts.remote.lease_holder(inode.node)
            if held is None:
                return None
            await self._parts.remote.override_lease(inode.node)
            return self._shown_holder(held)
        raise RemoteUnavailable(f"the workspace did not answer within {2 * PATIENCE_S:g} s")

    async def _locked_below(self, top: Inode) -> list[Inode]:
        """Return the files at or below `top` that are known here and locked on the workspace."""
        known = [inode for inode in self._parts.tree.walk(top) if inode.is_file and inode.node is not None]
        by_node = {inode.node: inode for inode in known[:ASKED_MOST] if inode.node is not None}
        told = await self._parts.remote.nodes(list(by_node))
        return [by_node[node] for node, found in told.items() if found.locked]

    async def _holders(self, nodes: dict[Ino, NodeId]) -> dict[Ino, LeaseHolder]:
        found: dict[Ino, LeaseHolder] = {}
        limit = trio.CapacityLimiter(ASKED_TOGETHER)

        async def ask(ino: Ino, node: NodeId) -> None:
            async with limit:
                try:
                    holder = await self._parts.remote.lease_holder(node)
                except NodeNotFound:
                    return
                if holder is not None:
                    found[ino] = holder

        async with trio.open_nursery() as nursery:
            for ino, node in nodes.items():
                nursery.start_soon(ask, ino, node)
        return found

    async def _or_problem(
        self, ask: Callable[[], Awaitable[Found]], problem: list[str], otherwise: Found
    ) -> Found:
        """Wait for the workspace, but not for long; note why it did not tell."""
        found = otherwise
        try:
            with trio.move_on_after(PATIENCE_S) as patience:
                found = await ask()
            if patience.cancelled_caught:
                problem.append(f"the workspace did not answer within {PATIENCE_S:g} s")
        except MountfsError as error:
            problem.append(error.message)
        except BaseExceptionGroup as group:
            first = first_of_ours(group)
            if first is None:
                raise
            problem.append(first.message)
        return found

    def _joined(
        self,
        inode: Inode | None,
        ino: Ino,
        lock: FileLockStatistics | None,
        told: LeaseHolder | None,
        problem: str | None,
    ) -> LockReport:
        return LockReport(
            path=shown(inode.path()) if inode is not None else f"inode {ino}",
            holders=_users(lock.held) if lock else (),
            waiters=_users(lock.waiters) if lock else (),
            lease_s=lock.lease_valid_s if lock else None,
            remote=self._shown_holder(told) if told else None,
            remote_error=problem if told is None else None,
        )

    def _shown_holder(self, told: LeaseHolder) -> RemoteHolder:
        return RemoteHolder(
            holder=shown(told.holder),
            since=told.since_ns / 1e9 if told.since_ns else None,
            until=told.until_ns / 1e9 if told.until_ns else None,
            here=told.holder == self._parts.holder,
        )


def _users(uses: Sequence[LockUse]) -> tuple[LockUser, ...]:
    return tuple(LockUser(use.kind.value, use.since_s, use.lost) for use in uses)


def _is_below(inode: Inode | None, top: Inode | None) -> bool:
    return top is None or (inode is not None and (inode is top or inode.is_below(top)))
