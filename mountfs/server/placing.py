"""How nodes come into being and get new content or a new name: collisions, versions, compare-and-swap."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from sqlalchemy import bindparam, func, insert, select, update

from mountfs.server.contents import Content, StoredContent, add_versions, keep_all
from mountfs.server.database import Transaction
from mountfs.server.envelope import ApiError, JsonObject, conflict, invalid_field, refused
from mountfs.server.locks import check_not_locked, end_by_change
from mountfs.server.names import check_name, cut_name, numbered_names
from mountfs.server.nodes import CONTENT_TYPES, NodeRow, check_folder, find_child, get_node
from mountfs.server.opaque_ids import NODE, VERSION, canonical, new_id, shown
from mountfs.server.schema import ROOT, nodes
from mountfs.server.workspaces import Workspace

Change = Callable[[Transaction], JsonObject]

_EVENT = "workspace_storage_"

_insert_node = insert(nodes)
_update_content = (
    update(nodes)
    .where(nodes.c.id == bindparam("node"))
    .values(
        name=bindparam("new_name"),
        version_id=bindparam("version"),
        content_id=bindparam("content"),
        size=bindparam("bytes"),
        sha256=bindparam("hash"),
        upload_id=bindparam("upload"),
        modified_us=bindparam("at"),
        changed_us=bindparam("at"),
    )
)
_count_children = select(func.count()).where(
    nodes.c.workspace_id == bindparam("workspace"),
    nodes.c.parent_id == bindparam("parent"),
    nodes.c.trash_root.is_(None),
)
_parent_of = select(nodes.c.parent_id).where(nodes.c.id == bindparam("node"))
_touch_folder = (
    update(nodes)
    .where(nodes.c.id == bindparam("folder"))
    .values(modified_us=bindparam("at"), changed_us=bindparam("at"))
)


class NewFile(NamedTuple):
    """What becomes a node of its own."""

    name: str
    content: Content
    upload_id: str


class LockCheck:
    """Decides whether a change with this lock token passes the locks on what it touches."""

    def __init__(self, token: str | None) -> None:
        self.token = token

    def check(self, tx: Transaction, node_id: str) -> None:
        """409 `locked` where locks are enforced, and somebody else locks the node or something below it."""
        if tx.behaviour.locks == "enforced":
            check_not_locked(tx, node_id, self.token)


def announce_node(tx: Transaction, workspace: Workspace, node_id: str, event: str | None = None) -> None:
    """Tell the followers of the workspace that the node changed."""
    tx.announce(workspace.id, "storage", node_id, _EVENT + event if event else None)


def free_name(tx: Transaction, workspace: Workspace, parent_id: str, name: str, is_folder: bool) -> str:
    """The first of `name (2)`, `name (3)`, ... that nobody in the folder has; the name itself where two nodes
    may have it."""
    if tx.behaviour.twins:
        return name
    for candidate in numbered_names(name, is_folder):
        if find_child(tx, workspace, parent_id, candidate) is None:
            return candidate
    raise AssertionError("numbered_names never ends")


def insert_node(tx: Transaction, values: dict[str, Any]) -> None:
    """A node row with everything that is not given at its default."""
    check_room(tx, values["workspace_id"], values["parent_id"])
    tx.execute(_insert_node, _node_row(tx, values))
    touch_folder(tx, values["parent_id"])


def _node_row(tx: Transaction, values: dict[str, Any]) -> dict[str, Any]:
    return {
        "trash_root": None,
        "deleted_us": None,
        "version_id": None,
        "content_id": None,
        "size": None,
        "sha256": None,
        "title": "",
        "short": "",
        "upload_id": None,
        "created_us": tx.now_us,
        "modified_us": tx.now_us,
        "changed_us": tx.now_us,
        **values,
    }


def check_room(tx: Transaction, workspace_id: str, folder_id: str) -> None:
    """Raises where the folder lies too deep, or has too many children, for one more."""
    behaviour = tx.behaviour
    if behaviour.max_children:
        place = {"workspace": workspace_id, "parent": folder_id}
        if tx.execute(_count_children, place).scalar_one() >= behaviour.max_children:
            raise refused("the folder is full", "too_many_children")
    if behaviour.max_depth and _depth(tx, folder_id, behaviour.max_depth) >= behaviour.max_depth:
        raise refused("folders do not go as deep", "too_deep")


def _depth(tx: Transaction, folder_id: str, most: int) -> int:
    """How many folders lie above what is in this one, the top not counted; more than `most` are not."""
    depth = 0
    while folder_id != ROOT and depth < most:
        folder_id = tx.execute(_parent_of, {"node": folder_id}).scalar_one()
        depth += 1
    return depth


def touch_folder(tx: Transaction, folder_id: str) -> None:
    """The folder has other children than before."""
    if tx.behaviour.folder_times == "moving":
        tx.execute(_touch_folder, {"folder": folder_id, "at": tx.now_us})


def create_folder(tx: Transaction, workspace: Workspace, parent_id: str, name: str, force: bool) -> NodeRow:
    """The folder of this name, made when there is none.

    With `force` it is always a new one, numbered when the name is taken.
    """
    check_name(name)
    check_folder(tx.connection, workspace, parent_id)
    existing = find_child(tx, workspace, parent_id, name)
    if existing is not None and not force:
        onto = tx.behaviour.folder_onto_folder
        if existing.type != "folder" or onto == "refused":
            raise name_taken(name)
        if onto == "existing":
            return existing
    if existing is not None:
        name = free_name(tx, workspace, parent_id, name, is_folder=True)
    node_id = new_id(NODE)
    insert_node(
        tx,
        {"id": node_id, "workspace_id": workspace.id, "parent_id": parent_id, "type": "folder", "name": name},
    )
    announce_node(tx, workspace, node_id, "folder_created")
    return get_node(tx.connection, workspace, node_id)


def place_file(
    tx: Transaction,
    workspace: Workspace,
    place: tuple[str, str],
    content: Content,
    upload_id: str,
    lock: LockCheck,
) -> str:
    """Put content at `place` (folder, name): into a file of that name, else into a new node; its id."""
    parent_id, name = place[0], cut_name(check_name(place[1]), tx.behaviour.name_cut)
    check_folder(tx.connection, workspace, parent_id, "folder_id")
    existing = find_child(tx, workspace, parent_id, name)
    if existing is not None and existing.type == "file":
        onto = tx.behaviour.file_onto_file
        if onto == "refused":
            raise name_taken(name)
        if onto == "version":
            replace_content(tx, workspace, existing, content, upload_id, lock)
            return str(existing.id)
    if existing is not None:
        name = free_name(tx, workspace, parent_id, name, is_folder=False)
    return insert_file(tx, workspace, (parent_id, name), content, upload_id)


def insert_note(tx: Transaction, workspace: Workspace, place: tuple[str, str], content: Content) -> str:
    """A new note, numbered when its name is taken; its id."""
    check_folder(tx.connection, workspace, place[0])
    name = name_of_new(tx, workspace, place)
    return insert_file(tx, workspace, (place[0], name), content, "", node_type="note")


def insert_link(
    tx: Transaction, workspace: Workspace, place: tuple[str, str], share: str, force: bool
) -> str:
    """A new link to the share; its id. With `force` it is numbered when its name is taken."""
    check_folder(tx.connection, workspace, place[0])
    if not force and find_child(tx, workspace, *place) is not None:
        raise name_taken(place[1])
    node_id = new_id(NODE)
    values = {"id": node_id, "workspace_id": workspace.id, "parent_id": place[0], "type": "link"}
    insert_node(tx, {**values, "name": name_of_new(tx, workspace, place), "upload_id": share})
    announce_node(tx, workspace, node_id, "link_added")
    return node_id


def name_of_new(
    tx: Transaction, workspace: Workspace, place: tuple[str, str], *, is_folder: bool = False
) -> str:
    """The name in `place` (folder, name), numbered where a node of the folder has it."""
    if find_child(tx, workspace, *place) is None:
        return place[1]
    return free_name(tx, workspace, *place, is_folder)


def insert_file(
    tx: Transaction,
    workspace: Workspace,
    place: tuple[str, str],
    content: Content,
    upload_id: str,
    node_type: str = "file",
) -> str:
    """A new file (or note) node with its first version; nothing of that name is there."""
    check_room(tx, workspace.id, place[0])
    return insert_files(tx, workspace, place[0], [NewFile(place[1], content, upload_id)], node_type)[0]


def has_limited_room(tx: Transaction) -> bool:
    """Whether a folder may refuse one more child."""
    return bool(tx.behaviour.max_children or tx.behaviour.max_depth)


def insert_files(
    tx: Transaction, workspace: Workspace, folder_id: str, files: Sequence[NewFile], node_type: str = "file"
) -> list[str]:
    """New nodes in a folder that has room for them, and none of their names: however many they are, one
    statement for each table. Their ids."""
    ids, nodes_made, versions_made = [], [], []
    shared = {"workspace_id": workspace.id, "parent_id": folder_id, "type": node_type}
    for file, content_id in zip(files, keep_all(tx, [file.content for file in files]), strict=True):
        node_id, version_id = new_id(NODE), new_id(VERSION)
        kept = {
            "content_id": content_id,
            "size": file.content.size,
            "sha256": file.content.sha256,
            "name": file.name,
        }
        told = {"id": node_id, "version_id": version_id, "upload_id": file.upload_id}
        nodes_made.append(_node_row(tx, {**shared, **kept, **told}))
        versions_made.append({"id": version_id, "node_id": node_id, **kept})
        announce_node(tx, workspace, node_id, "file_added")
        ids.append(node_id)
    tx.execute(_insert_node, nodes_made)
    touch_folder(tx, folder_id)
    add_versions(tx, versions_made)
    return ids


def replace_content(
    tx: Transaction,
    workspace: Workspace,
    node: NodeRow,
    content: Content,
    upload_id: str,
    lock: LockCheck,
    new_name: str | None = None,
) -> None:
    """Give the file other bytes (and another name): one new version, none when neither differs."""
    if node.type not in CONTENT_TYPES:
        raise invalid_field("node", "only files have content")
    lock.check(tx, node.id)
    name = node.name if new_name is None else new_name
    same_bytes = (content.sha256, content.size) == (node.sha256, node.size)
    if same_bytes and tx.behaviour.equal_bytes == "same":
        content.reject(tx)
        if name == node.name:
            return
        content = StoredContent(node.content_id, node.size, node.sha256)
    _new_version(tx, node, content, name, node.upload_id if same_bytes else upload_id)
    announce_node(tx, workspace, node.id, "file_updated")


def rename(tx: Transaction, workspace: Workspace, node: NodeRow, name: str) -> None:
    """Another name in the same folder; of a file this makes a new version."""
    check_rename(tx, workspace, node, name)
    if name == node.name:
        return
    if node.type in CONTENT_TYPES:
        content = StoredContent(node.content_id, node.size, node.sha256)
        _new_version(tx, node, content, name, node.upload_id)
        announce_node(tx, workspace, node.id, "file_updated")
        return
    values = {"name": name, "modified_us": tx.now_us, "changed_us": tx.now_us}
    tx.execute(update(nodes).where(nodes.c.id == node.id).values(values))
    announce_node(tx, workspace, node.id, "folder_updated")


def check_rename(tx: Transaction, workspace: Workspace, node: NodeRow, name: str) -> None:
    """Raises when the name is no name, or belongs to a sibling."""
    check_name(name)
    taken = find_child(tx, workspace, node.parent_id, name) if name != node.name else None
    if taken is not None and taken.id != node.id:
        raise _rename_refused(tx, name)


def set_metadata(tx: Transaction, workspace: Workspace, node: NodeRow, columns: dict[str, str]) -> None:
    """Set the free-text columns; no new version comes of it."""
    if all(getattr(node, column) == text for column, text in columns.items()):
        return
    values = {**columns, "modified_us": tx.now_us, "changed_us": tx.now_us}
    tx.execute(update(nodes).where(nodes.c.id == node.id).values(values))
    announce_node(tx, workspace, node.id, f"{node.type}_updated")


def check_version(tx: Transaction, node: NodeRow, expected: str | None) -> None:
    """409 `conflict_version_mismatch` unless the current version is the expected one (None: any)."""
    if expected is None or tx.behaviour.if_version_id == "ignored":
        return
    if tx.behaviour.if_version_id == "refused":
        raise invalid_field("if_version_id", "not taken here")
    if not expected.strip():
        raise ApiError(406, 207092, "if_version_id must not be blank")
    if node.type not in CONTENT_TYPES:
        raise invalid_field("if_version_id", "only files have versions")
    if canonical(expected) != node.version_id:
        raise conflict(
            "the file has another version by now",
            "conflict_version_mismatch",
            current_version_id=shown(node.version_id),
            current={"version_id": shown(node.version_id), "hash": node.sha256},
        )


def name_taken(name: str) -> ApiError:
    """406: the folder has a node of this name."""
    return refused(_taken(name), "name_taken")


def _rename_refused(tx: Transaction, name: str) -> ApiError:
    """The same of a rename: 406, or as the behaviour has it."""
    if tx.behaviour.rename_taken == "broken":
        return ApiError(500, 1654, _taken(name))
    return (
        conflict(_taken(name), "name_taken") if tx.behaviour.rename_taken == "conflict" else name_taken(name)
    )


def _taken(name: str) -> str:
    return f"the folder already has a node named {name!r}"


def _new_version(tx: Transaction, node: NodeRow, content: Content, name: str, upload_id: str | None) -> None:
    version_id, content_id = new_id(VERSION), content.keep(tx)
    tx.execute(
        _update_content,
        {
            "node": node.id,
            "new_name": name,
            "version": version_id,
            "content": content_id,
            "bytes": content.size,
            "hash": content.sha256,
            "upload": upload_id,
            "at": tx.now_us,
        },
    )
    kept = {"content_id": content_id, "size": content.size, "sha256": content.sha256, "name": name}
    add_versions(tx, [{"id": version_id, "node_id": node.id, **kept}])
    end_by_change(tx, node, "version")
