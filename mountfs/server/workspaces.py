"""The one organisation and its workspaces; they are few, so they are kept in memory."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from mountfs.server.clock import wire_time
from mountfs.server.credentials import not_a_member
from mountfs.server.envelope import JsonObject, invalid_field

ORG_DOMAIN = "local"
ORG_NAME = "Local organisation"


@dataclass(frozen=True)
class Workspace:
    """One workspace; `folder_name` may stand for the id in a path."""

    id: str
    folder_name: str
    name: str
    description: str
    created_us: int


class WorkspaceTable:
    """All workspaces by id and by folder_name."""

    def __init__(self, rows: Iterable[Workspace]) -> None:
        self._by_name: dict[str, Workspace] = {}
        for row in rows:
            self.add(row)

    def add(self, workspace: Workspace) -> None:
        """Make a committed workspace known."""
        self._by_name[workspace.id] = self._by_name[workspace.folder_name] = workspace

    def remove(self, workspace: Workspace) -> None:
        """Forget a workspace that is gone."""
        for name in (workspace.id, workspace.folder_name):
            self._by_name.pop(name, None)

    def find(self, name: str) -> Workspace:
        """The workspace with this id or folder_name; an unknown one looks like a forbidden one."""
        workspace = self._by_name.get(name)
        if workspace is None:
            raise not_a_member()
        return workspace

    def __contains__(self, name: str) -> bool:
        return name in self._by_name

    def __iter__(self) -> Iterator[Workspace]:
        return (workspace for key, workspace in self._by_name.items() if key == workspace.id)


def check_folder_name(name: str) -> str:
    """The name itself when a workspace may carry it: 4 to 80 letters, digits and hyphens."""
    if not 4 <= len(name) <= 80 or not all(part.isalnum() or part == "-" for part in name) or name.isdigit():
        raise invalid_field("folder_name", "4 to 80 letters, digits and hyphens, not digits alone")
    return name


def workspace_json(workspace: Workspace, org_id: str) -> JsonObject:
    """The workspace object of the wire."""
    return {
        "id": workspace.id,
        "name": workspace.name,
        "folder_name": workspace.folder_name,
        "description": workspace.description,
        "org": org_id,
        "org_domain": ORG_DOMAIN,
        "intelligence": False,
        "archived": False,
        "perm_join": "Only Org Owners",
        "perm_member_manage": "Admin or above",
        "user_status": "joined",
        "permission": "owner",
        "created": wire_time(workspace.created_us),
        "updated": wire_time(workspace.created_us),
    }


def org_json(org_id: str) -> JsonObject:
    """The organisation object of the wire."""
    return {
        "id": org_id,
        "domain": ORG_DOMAIN,
        "name": ORG_NAME,
        "member": True,
        "subscriber": True,
        "permission": "owner",
    }
