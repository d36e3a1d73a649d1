"""Move, copy, trash, restore and purge: mutations of whole subtrees."""

from typing import Any

from sqlalchemy import bindparam, delete, insert, select, update

from mountfs.server.contents import contents_of_nodes, release_contents
from mountfs.server.database import Transaction
from mountfs.server.envelope import invalid_field, refused
from mountfs.server.locks import end_by_change
from mountfs.server.nodes import (
    CONTENT_TYPES,
    NodeRow,
    check_folder,
    find_child,
    find_node,
    get_live_node,
    get_node,
)
from mountfs.server.opaque_ids import NODE, VERSION, new_id
from mountfs.server.placing import (
    LockCheck,
    announce_node,
    check_room,
    free_name,
    insert_node,
    name_taken,
    touch_folder,
)
from mountfs.server.schema import ROOT, nodes, versions
from mountfs.server.workspaces import Workspace

_live_subtree = select(nodes.c.id).where(nodes.c.id == bindparam("top")).cte("subtree", recursive=True)
_live_subtree = _live_subtree.union_all(
    select(nodes.c.id).where(
        nodes.c.workspace_id == bindparam("workspace"),
        nodes.c.parent_id == _live_subtree.c.id,
        nodes.c.trash_root.is_(None),
    )
)
_any_subtree = select(nodes.c.id).where(nodes.c.id == bindparam("top")).cte("any_subtree", recursive=True)
_any_subtree = _any_subtree.union_all(
    select(nodes.c.id).where(
        nodes.c.workspace_id == bindparam("workspace"), nodes.c.parent_id == _any_subtree.c.id
    )
)
_whole_subtree = select(nodes.c.id, nodes.c.type).where(nodes.c.id.in_(select(_any_subtree.c.id)))
_trash_subtree = (
    update(nodes)
    .where(nodes.c.id.in_(select(_live_subtree.c.id)))
    .values(trash_root=bindparam("top"), deleted_us=bindparam("at"), changed_us=bindparam("at"))
)
_restore_subtree = (
    update(nodes)
    .where(nodes.c.trash_root == bindparam("top"))
    .values(trash_root=None, deleted_us=None, changed_us=bindparam("at"))
)
_restore_top = _restore_subtree.where(nodes.c.id == bindparam("top"))
_children = select(nodes).where(
    nodes.c.workspace_id == bindparam("workspace"),
    nodes.c.parent_id == bindparam("parent"),
    nodes.c.trash_root.is_(None),
)
_set_place = (
    update(nodes)
    .where(nodes.c.id == bindparam("node"))
    .values(parent_id=bindparam("parent"), name=bindparam("new_name"), changed_us=bindparam("at"))
)
_insert_versions = insert(versions)


def move(tx: Transaction, workspace: Workspace, node_id: str, parent_id: str, lock: LockCheck) -> NodeRow:
    """To another folder under its name; the collision table decides when that name is taken there."""
    node = get_live_node(tx.connection, workspace, node_id)
    check_folder(tx.connection, workspace, parent_id)
    if parent_id == node.parent_id:
        return node
    _check_not_inside(tx, workspace, node, parent_id)
    lock.check(tx, node.id)
    check_room(tx, workspace.id, parent_id)
    name = _name_on_arrival(tx, workspace, node, parent_id, lock)
    tx.execute(_set_place, {"node": node.id, "parent": parent_id, "new_name": name, "at": tx.now_us})
    touch_folder(tx, node.parent_id)
    touch_folder(tx, parent_id)
    end_by_change(tx, node, "move")
    _announce_tree(tx, workspace, node, "moved")
    announce_node(tx, workspace, node.parent_id)
    announce_node(tx, workspace, parent_id)
    return get_node(tx.connection, workspace, node.id)


def copy(tx: Transaction, workspace: Workspace, node_id: str, parent_id: str, lock: LockCheck) -> NodeRow:
    """A new node with the same current content; a folder takes its subtree along. Histories stay behind."""
    node = get_live_node(tx.connection, workspace, node_id)
    check_folder(tx.connection, workspace, parent_id)
    _check_not_inside(tx, workspace, node, parent_id)
    name = _name_on_arrival(tx, workspace, node, parent_id, lock)
    top_id = copy_one(tx, node, parent_id, name)
    is_whole = node.type == "folder" and tx.behaviour.tree_changes == "whole"
    pending = [(node.id, top_id)] if is_whole else []
    while pending:
        source_id, target_id = pending.pop()
        for child in children_of(tx, workspace, source_id):
            child_id = copy_one(tx, child, target_id, child.name)
            if child.type == "folder":
                pending.append((child.id, child_id))
    announce_node(tx, workspace, top_id, f"{node.type}_copied")
    return get_node(tx.connection, workspace, top_id)


def children_of(tx: Transaction, workspace: Workspace, folder_id: str) -> list[NodeRow]:
    """The live nodes of the folder."""
    return list(tx.execute(_children, {"workspace": workspace.id, "parent": folder_id}))


def trash(tx: Transaction, workspace: Workspace, node: NodeRow, lock: LockCheck) -> None:
    """Into the trash, with the subtree; a node that is there already stays as it is."""
    if node.trash_root is not None:
        return
    lock.check(tx, node.id)
    tx.execute(_trash_subtree, {"top": node.id, "workspace": workspace.id, "at": tx.now_us})
    touch_folder(tx, node.parent_id)
    _announce_tree(tx, workspace, node, "deleted")


def restore(tx: Transaction, workspace: Workspace, node_id: str, lock: LockCheck) -> NodeRow:
    """Back to where it was deleted from, or to the top when that folder is gone."""
    node = get_node(tx.connection, workspace, node_id)
    if node.trash_root != node.id:
        raise refused("only what lies at the top of the trash can be restored", "not_in_trash")
    parent = None if node.parent_id == ROOT else find_node(tx.connection, workspace, node.parent_id)
    is_gone = node.parent_id != ROOT and (parent is None or parent.trash_root is not None)
    if is_gone and tx.behaviour.restore_gone == "refused":
        raise refused("the folder that it was deleted from is gone", "parent_gone")
    parent_id = ROOT if parent is None or is_gone else str(parent.id)
    check_room(tx, workspace.id, parent_id)
    name = _name_on_arrival(tx, workspace, node, parent_id, lock)
    tx.execute(_set_place, {"node": node.id, "parent": parent_id, "new_name": name, "at": tx.now_us})
    tx.execute(
        _restore_subtree if tx.behaviour.tree_changes == "whole" else _restore_top,
        {"top": node.id, "at": tx.now_us},
    )
    _announce_tree(tx, workspace, node, "restored")
    return get_node(tx.connection, workspace, node.id)


def purge(tx: Transaction, workspace: Workspace, node_id: str) -> None:
    """Remove a trashed node for ever, with its subtree, history and bytes."""
    node = get_node(tx.connection, workspace, node_id)
    if node.trash_root is None:
        raise refused("only nodes in the trash can be purged", "not_in_trash")
    if node.trash_root != node.id:
        raise refused("the node lies in a deleted folder; purge that one", "not_in_trash")
    ids = list(tx.execute(select(nodes.c.id).where(nodes.c.trash_root == node.id)).scalars())
    # A node that was deleted out of this subtree earlier lies in the trash on its own and stays there.
    used = contents_of_nodes(tx.connection, ids)
    tx.execute(delete(nodes).where(nodes.c.trash_root == node.id))
    release_contents(tx, used)
    if tx.behaviour.purges_told:
        announce_node(tx, workspace, node.id)


def empty_trash(tx: Transaction, workspace: Workspace) -> int:
    """Purge everything in the trash; how many deleted nodes that were."""
    tops = nodes.c.trash_root == nodes.c.id
    ids = list(tx.execute(select(nodes.c.id).where(nodes.c.workspace_id == workspace.id, tops)).scalars())
    for node_id in ids:
        purge(tx, workspace, node_id)
    return len(ids)


def _announce_tree(tx: Transaction, workspace: Workspace, node: NodeRow, happened: str) -> None:
    """Tell the followers of the workspace what happened to the node, and perhaps to all that is below it."""
    announce_node(tx, workspace, node.id, f"{node.type}_{happened}")
    if tx.behaviour.tree_news == "each" and node.type == "folder":
        for child in tx.execute(_whole_subtree, {"top": node.id, "workspace": workspace.id}):
            if child.id != node.id:
                announce_node(tx, workspace, child.id, f"{child.type}_{happened}")


def _name_on_arrival(
    tx: Transaction, workspace: Workspace, node: NodeRow, parent_id: str, lock: LockCheck
) -> str:
    """The name the node gets in the folder.

    By default a file replaces a file, which goes to the trash; anything else is numbered.
    """
    existing = find_child(tx, workspace, parent_id, node.name)
    if existing is None:
        return str(node.name)
    is_onto_file = node.type == "file" and existing.type == "file" and existing.id != node.id
    onto = tx.behaviour.moved_onto_file if is_onto_file else tx.behaviour.moved_folder
    if onto == "refused":
        raise name_taken(node.name)
    if onto == "trash":
        trash(tx, workspace, existing, lock)
        return str(node.name)
    return free_name(tx, workspace, parent_id, node.name, is_folder=node.type == "folder")


def _check_not_inside(tx: Transaction, workspace: Workspace, node: NodeRow, parent_id: str) -> None:
    folder_id = parent_id
    while folder_id != ROOT:
        if folder_id == node.id:
            raise invalid_field("parent", "a folder cannot go into itself")
        folder_id = str(get_node(tx.connection, workspace, folder_id).parent_id)


def copy_one(tx: Transaction, node: NodeRow, parent_id: str, name: str) -> str:
    """A new node with the same current content, and nothing of what is below it; its id."""
    node_id = new_id(NODE)
    version_id = new_id(VERSION) if node.type in CONTENT_TYPES else None
    values: dict[str, Any] = {
        "id": node_id,
        "workspace_id": node.workspace_id,
        "parent_id": parent_id,
        "type": node.type,
        "name": name,
        "version_id": version_id,
        "title": node.title,
        "short": node.short,
    }
    kept = {"content_id": node.content_id, "size": node.size, "sha256": node.sha256}
    insert_node(tx, {**values, **kept, "upload_id": node.upload_id})
    if version_id is not None:
        row = {"id": version_id, "node_id": node_id, "name": name, "created_us": tx.now_us}
        tx.execute(_insert_versions, {**row, **kept})
    return node_id
