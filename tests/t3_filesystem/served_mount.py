"""Mounts without a kernel of a real server on a real socket, which behaves as its switches say.

Their clock is twenty times as fast as the server's.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final
from unittest.mock import patch

import trio

from mountfs.model.errors import ContentUnavailable, FileNotFound
from mountfs.remotes.fastio import FastioService, FastioSettings
from mountfs.remotes.fastio.remote import FastioRemote
from mountfs.sync import comparison
from tests.t2_server.serving import Api, ServerThread
from tests.t3_filesystem.workspace_mount import PATIENCE_S, MountOptions, RemoteMount

SETTINGS: Final = FastioSettings(patience_s=400, read_s=100, socket_quiet_s=300, socket_answer_s=200)
"""By the fast clock."""

LISTING_S: Final = 400
"""How long a program waits for a listing, by the fast clock: what it is otherwise is half a second of the
server's."""

ORDINARY: Final = MountOptions()


class Served:
    """One server and its workspace `main`: its routes, clients of it, and any number of mounts."""

    def __init__(
        self, folder: Path, server: ServerThread, stack: AsyncExitStack, nursery: trio.Nursery
    ) -> None:
        self.server = server
        self.api: Api = stack.enter_context(server.api())
        self._folder = folder
        self._stack = stack
        self._nursery = nursery

    async def remote(self) -> FastioRemote:
        """Connect one more client."""
        return (await self._connected())[0]

    async def _connected(self) -> tuple[FastioRemote, str]:
        service = FastioService(self.server.url, self.server.token(), settings=SETTINGS)
        self._stack.push_async_callback(service.aclose)
        workspace = await service.find_workspace("main")
        return service.remote(workspace.id), workspace.id

    async def mount(self, name: str = "here", options: MountOptions = ORDINARY) -> RemoteMount:
        """Mount once more, with a cache of its own; it is stopped at the end."""
        remote, workspace_id = await self._connected()
        mount = RemoteMount(
            self._nursery,
            self._folder / name,
            remote,
            name,
            options,
            history=remote,
            workspace_id=workspace_id,
        )
        await mount.start()
        self._stack.push_async_callback(_stopped, mount)
        await mount.wait_live()
        return mount


async def _stopped(mount: RemoteMount) -> None:
    if mount.is_running:
        await mount.stop()


@asynccontextmanager
async def served(folder: Path, switches: Sequence[str] = ()) -> AsyncIterator[Served]:
    """Serve a workspace that behaves so until the block ends."""
    with (
        patch.object(comparison, "PATIENCE_S", LISTING_S),
        ServerThread(folder / "data", *switches) as server,
    ):
        async with trio.open_nursery() as nursery, AsyncExitStack() as stack:
            yield Served(folder, server, stack, nursery)


async def wait_seen(mount: RemoteMount, expected: dict[str, bytes | None]) -> None:
    """Return when the mount shows just this, at its first look or at a later one."""
    found: dict[str, bytes | None] | None = None
    with trio.move_on_after(PATIENCE_S):
        while (found := await _contents(mount)) != expected:  # noqa: ASYNC110 - a program that looks
            await trio.sleep(1)
    assert found == expected


async def _contents(mount: RemoteMount) -> dict[str, bytes | None] | None:
    """Return None where what was listed went elsewhere before it was read, or a busy machine was not as fast
    as the clock."""
    try:
        return await mount.contents()
    except (ContentUnavailable, FileNotFound):
        return None
