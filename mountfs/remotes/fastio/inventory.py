"""The workspace as one list of all its live nodes."""

from mountfs.model.errors import (
    AccessDenied,
    NodeNotFound,
    NotOffered,
    ProtocolViolation,
    RemoteUnavailable,
    RequestRefused,
)
from mountfs.model.remote import InventoryPage
from mountfs.remotes.fastio import wire
from mountfs.remotes.fastio.capabilities import Capability
from mountfs.remotes.fastio.request import Ask, path_of
from mountfs.remotes.fastio.workspace_calls import WorkspaceCalls


class Inventory(WorkspaceCalls):
    async def inventory(self, following: str | None) -> InventoryPage:
        """As the port says. That the service has no such list is remembered."""
        if self._capabilities.get(Capability.INVENTORY) is False:
            raise NotOffered("the service was found to have no inventory")
        # It refuses `output`.
        query = {"page_size": str(self._http.settings.page_size)}
        if following is not None:
            query["cursor"] = following
        ask = Ask("GET", path_of("workspace", self._workspace_id, "storage", "inventory"), query)
        try:
            page = wire.page(await self._http.payload(ask))
        except RemoteUnavailable:
            raise
        except (AccessDenied, NodeNotFound, ProtocolViolation, RequestRefused) as error:
            if following is not None:
                raise RequestRefused(f"the inventory does not go on: {error.message}") from error
            self._capabilities.found(Capability.INVENTORY, False)
            raise NotOffered(f"no inventory: {error.message}") from error
        self._capabilities.found(Capability.INVENTORY, True)
        return InventoryPage([node for node in page.nodes if not node.trashed], page.next_cursor)
