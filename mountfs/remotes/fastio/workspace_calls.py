"""What the parts of the client have in common: one workspace, and the requests about its nodes."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import trio

from mountfs.model.errors import LeaseHeld
from mountfs.model.ids import LeaseToken, NodeId
from mountfs.remotes.fastio.capabilities import Capabilities
from mountfs.remotes.fastio.http import Http
from mountfs.remotes.fastio.request import Ask, path_of


class WorkspaceCalls:
    """Base of the parts that `FastioRemote` is made of. `client_info` is shown beside our locks."""

    def __init__(
        self, http: Http, workspace_id: str, client_info: Mapping[str, str], capabilities: Capabilities
    ) -> None:
        self._http = http
        self._workspace_id = workspace_id
        self._client_info = dict(client_info)
        self._held: dict[NodeId, LeaseToken] = {}
        self._locks_block = False
        self._probing = trio.Lock()
        self._capabilities = capabilities

    def _node_path(self, node: NodeId | str, *action: str) -> str:
        return path_of("workspace", self._workspace_id, "storage", node, *action)

    async def _changed(self, node: NodeId, ask: Ask) -> dict[str, Any]:
        """Change the node, also where locks refuse changes and this client holds the lock.

        No route of a change is known to take a token, so none gets one until a first change was refused.
        """
        token = self._held.get(node)
        if token is None:
            return await self._http.payload(ask)
        if not self._locks_block:
            try:
                return await self._http.payload(ask)
            except LeaseHeld:
                self._locks_block = True
        return await self._http.payload(replace(ask, query={**ask.query, "lock_token": token}))
