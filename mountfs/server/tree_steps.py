"""Changes of whole folders that take their time: each step is seen before the next is made.

The request is answered with the first step. A step finds out anew what there is, so that whoever changes
the tree meanwhile gets his way with what is there by then. What is under way when the server ends is not
gone on with.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from sqlalchemy import bindparam, literal, select, update

from mountfs.server import moving
from mountfs.server.database import Transaction
from mountfs.server.endpoint import Services
from mountfs.server.nodes import NodeRow, find_node
from mountfs.server.placing import LockCheck, announce_node, name_of_new, touch_folder
from mountfs.server.schema import nodes
from mountfs.server.workspaces import Workspace

STEP_S: Final = 0.02

Step = Callable[[Transaction], bool]
"""Makes one step; tells whether there are more."""

_below = (
    select(nodes.c.id, literal(1).label("depth"))
    .where(
        nodes.c.workspace_id == bindparam("workspace"),
        nodes.c.parent_id == bindparam("top"),
        nodes.c.trash_root.is_(None),
    )
    .cte("below", recursive=True)
)
_below = _below.union_all(
    select(nodes.c.id, _below.c.depth + 1).where(
        nodes.c.workspace_id == bindparam("workspace"),
        nodes.c.parent_id == _below.c.id,
        nodes.c.trash_root.is_(None),
    )
)
_deepest = select(_below.c.id).order_by(_below.c.depth.desc(), _below.c.id).limit(1)
_in_trash = (
    select(nodes.c.id)
    .where(nodes.c.trash_root == bindparam("top"), nodes.c.id != bindparam("top"))
    .order_by(nodes.c.created_us, nodes.c.id)
)
_set_trash = (
    update(nodes)
    .where(nodes.c.id == bindparam("node"))
    .values(
        name=bindparam("new_name"),
        trash_root=bindparam("root"),
        deleted_us=bindparam("deleted"),
        changed_us=bindparam("at"),
    )
)


async def in_steps(services: Services, step: Step) -> None:
    """Make the steps until none is left, or the server ends."""
    while await services.database.write(step):  # noqa: ASYNC110 - it is made, not waited for
        await asyncio.sleep(STEP_S)


def trashing(workspace: Workspace, top_id: str) -> Step:
    """From below, the folder itself last."""

    def step(tx: Transaction) -> bool:
        top = find_node(tx.connection, workspace, top_id)
        if top is None or top.trash_root is not None:
            return False
        deepest = tx.execute(_deepest, {"workspace": workspace.id, "top": top_id}).scalar_one_or_none()
        if deepest is None:
            moving.trash(tx, workspace, top, LockCheck(None))
            return False
        node = find_node(tx.connection, workspace, deepest)
        assert node is not None
        _put(tx, workspace, node, top_id, "deleted")
        return True

    return step


def restoring(workspace: Workspace, top_id: str) -> Step:
    """What lay in the folder when the restore began, what was made first before the others. The folder itself
    is there already; where it is deleted again, that is the end."""
    waiting: list[str] | None = None

    def step(tx: Transaction) -> bool:
        nonlocal waiting
        if waiting is None:
            waiting = list(tx.execute(_in_trash, {"top": top_id}).scalars())
        if not waiting or not _is_live(tx, workspace, top_id):
            return False
        node = find_node(tx.connection, workspace, waiting.pop(0))
        if node is not None and node.trash_root == top_id:
            _put(tx, workspace, node, None, "restored")
        return True

    return step


def copying(workspace: Workspace, source_id: str, target_id: str) -> Step:
    """What was in the folder when the copy began, one node with each step."""
    pending = [(source_id, target_id)]
    children: list[tuple[NodeRow, str]] = []

    def step(tx: Transaction) -> bool:
        while pending and not children:
            source, target = pending.pop()
            children.extend((child, target) for child in moving.children_of(tx, workspace, source))
        if not children:
            return False
        child, target = children.pop(0)
        if _is_live(tx, workspace, target):
            is_folder = child.type == "folder"
            name = name_of_new(tx, workspace, (target, child.name), is_folder=is_folder)
            made = moving.copy_one(tx, child, target, name)
            announce_node(tx, workspace, made, f"{child.type}_copied")
            if is_folder:
                pending.append((child.id, made))
        return True

    return step


def _is_live(tx: Transaction, workspace: Workspace, node_id: str) -> bool:
    node = find_node(tx.connection, workspace, node_id)
    return node is not None and node.trash_root is None


def _put(tx: Transaction, workspace: Workspace, node: NodeRow, root: str | None, happened: str) -> None:
    """Into the trash, or with no `root` back from there: numbered, where somebody took its name meanwhile."""
    name, deleted = node.name, tx.now_us if root is not None else None
    if root is None:
        is_folder = node.type == "folder"
        name = name_of_new(tx, workspace, (node.parent_id, name), is_folder=is_folder)
    values = {"node": node.id, "new_name": name, "root": root, "deleted": deleted, "at": tx.now_us}
    tx.execute(_set_trash, values)
    touch_folder(tx, node.parent_id)
    announce_node(tx, workspace, node.id, f"{node.type}_{happened}")
