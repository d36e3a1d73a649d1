"""What the parts of the client have in common: one workspace, and the requests about its nodes."""

from collections.abc import Mapping
from math import inf

import trio

from mountfs.model.ids import LeaseToken, NodeId
from mountfs.remotes.fastio.capabilities import Capabilities
from mountfs.remotes.fastio.http import Http
from mountfs.remotes.fastio.request import path_of


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
        self._listing_asked_from = -inf
        self._capabilities = capabilities

    def _node_path(self, node: NodeId | str, *action: str) -> str:
        return path_of("workspace", self._workspace_id, "storage", node, *action)
