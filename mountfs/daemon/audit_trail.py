"""The audit log of a mount: which change of the workspace came from which program. Implements
EffectRecorder."""

import logging
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

import trio

from mountfs.daemon.running import shown
from mountfs.filesystem.identities import Identities
from mountfs.model.effect import ASKED_BY, Change, Effect, Identity
from mountfs.model.errors import MountfsError
from mountfs.model.ids import NodeId
from mountfs.rules import names
from mountfs.storage.effect_log import EffectLog
from mountfs.tree.inode import Inode
from mountfs.tree.tree import Tree

log = logging.getLogger(__name__)

GATHER_S: Final = 0.1
"""How long the writer waits for more before it writes: one call of the disk for many changes."""

WAITING_MOST: Final = 100_000

LOCK: Final = "lock"
UNLOCK: Final = "unlock"

NAMED: Final = ("rename", "restore", "purge")
"""Changes whose name says more than their path."""


@dataclass(frozen=True, slots=True)
class Origin:
    path: str | None
    identity: Identity | None


class AuditTrail:
    """`run` has to be running for anything to be written; `flush` writes what is left at the end.

    What cannot be written is told once in the daemon's log, and dropped: the mount goes on.
    """

    def __init__(self, tree: Tree, identities: Identities, effects: EffectLog) -> None:
        self._tree = tree
        self._identities = identities
        self._effects = effects
        self._lockers: dict[NodeId, Identity] = {}
        """For each lock that this mount has, as far as it is known."""
        self._waiting: list[dict[str, Any]] = []
        self._arrived = trio.Event()
        self._writing = trio.Lock()
        self._failed = False

    def hear(self) -> None:
        """From now on notice who changes what. Called once what else hears of the tree is in place."""
        tell = self._tree.when_pending

        def noticed(inode: Inode) -> None:
            author = self._identities.of_request()
            if author is not None:
                # The record of what is pending, which follows, has it as well.
                inode.author = author
            tell(inode)

        self._tree.when_pending = noticed

    # Recording.

    def origin(self, change: Change) -> Origin:
        inode = self._entry(change)
        if inode is None:
            folder = self._tree.by_node.get(change.parent) if change.parent is not None else None
            place = (_path(self._tree, folder), names.from_remote(change.name or ""))
            return Origin(
                shown(b"/".join(filter(None, place))) if folder is not None else None,
                self._identity(change, None),
            )
        return Origin(shown(_path(self._tree, inode)), self._identity(change, inode))

    def _identity(self, change: Change, inode: Inode | None) -> Identity | None:
        """Return on whose behalf it is done, where that is told, else who changed the entry last."""
        program = ASKED_BY.get()
        asker = self._identities.of_program(program) if program is not None else None
        if change.kind == UNLOCK and change.node is not None and (asker is None or not asker.program):
            # Nobody unlocked: who had locked closed the file, or ended.
            return self._lockers.get(change.node, asker)
        if asker is not None:
            return asker
        return inode.author if inode is not None else None

    def _entry(self, change: Change) -> Inode | None:
        if change.node is not None:
            return self._tree.by_node.get(change.node)
        folder = self._tree.by_node.get(change.parent) if change.parent is not None else None
        if folder is None or change.name is None:
            return None
        return folder.children.get(names.from_remote(change.name))

    def record(self, effect: Effect, origin: object) -> None:
        assert isinstance(origin, Origin)
        change = effect.change
        self._note_locker(change, origin.identity)
        self._write(
            {
                "at": _now(),
                "effect": change.kind,
                "path": origin.path,
                "name": change.name if change.kind in NAMED else None,
                "folder": self._folder(change) if change.kind == "move" else None,
                "node": effect.node,
                "version": effect.version,
                "size": change.size,
                "request": effect.request,
                "certain": effect.certain,
                "who": _described(origin.identity) if origin.identity is not None else None,
            }
        )

    def _note_locker(self, change: Change, identity: Identity | None) -> None:
        """Remember who locked: when the lock is given back he may have ended."""
        if change.node is None:
            return
        if change.kind == LOCK and identity is not None:
            self._lockers[change.node] = identity
        elif change.kind == UNLOCK:
            self._lockers.pop(change.node, None)

    def _folder(self, change: Change) -> str | None:
        folder = self._tree.by_node.get(change.parent or NodeId(""))
        return shown(_path(self._tree, folder)) if folder is not None else None

    def _write(self, row: dict[str, Any]) -> None:
        if len(self._waiting) < WAITING_MOST:
            self._waiting.append({key: told for key, told in row.items() if told is not None})
        self._arrived.set()

    # Writing.

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Write what is recorded, until cancelled."""
        task_status.started()
        while True:
            await self._arrived.wait()
            await trio.sleep(GATHER_S)
            await self.flush()

    async def flush(self) -> None:
        """Return when what was recorded before is written, or given up."""
        async with self._writing:
            if self._arrived.is_set():
                # Else `run` waits for it, and would not hear of what comes.
                self._arrived = trio.Event()
            rows, self._waiting = self._waiting, []
            if rows:
                await self._append(rows)

    async def _append(self, rows: list[dict[str, Any]]) -> None:
        try:
            await trio.to_thread.run_sync(self._effects.append, rows)
            self._failed = False
        except MountfsError as error:
            if not self._failed:
                log.warning("%s", error.message)
            self._failed = True


@lru_cache(maxsize=256)
def _described(identity: Identity) -> dict[str, Any]:
    """Return a row of the log, which nobody may change: a program mostly changes many files."""
    return asdict(identity)


def _path(tree: Tree, inode: Inode | None) -> bytes:
    """Return the path here; of what has none here any more the one that it had on the workspace."""
    if inode is None:
        return b""
    if inode.is_linked or inode.base is None:
        return inode.path()
    above = _path(tree, tree.by_node.get(inode.base.parent))
    return b"/".join(filter(None, (above, names.from_remote(inode.base.name))))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
