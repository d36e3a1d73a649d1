"""The embedded workspace server: the workspace's REST API over SQLite and a folder of blobs.

It answers the same wire format as the hosted service and shares no code with the mount. `serve`
runs it in the foreground; `python -m mountfs.server --data DIR` does so from a shell.
"""

from mountfs.server.behaviour import BehaviourRefused, read_behaviour
from mountfs.server.errors import AddressInUse, DataInUse, ServerDataError, ServerError, WorkspaceNameRefused
from mountfs.server.options import ServerOptions
from mountfs.server.run import serve

__all__ = [
    "AddressInUse",
    "BehaviourRefused",
    "DataInUse",
    "ServerDataError",
    "ServerError",
    "ServerOptions",
    "WorkspaceNameRefused",
    "read_behaviour",
    "serve",
]
