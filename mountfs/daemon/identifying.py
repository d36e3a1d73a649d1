"""Which workspace a mount is of, what the token allows there, and what the service can do: asked of it, or
remembered."""

import logging
import socket
from dataclasses import replace
from functools import partial
from typing import Final

import trio

from mountfs import __version__
from mountfs.daemon.accounts import Access, credential
from mountfs.daemon.settings import MountSettings
from mountfs.model.errors import RemoteUnavailable, StorageError
from mountfs.model.remote import Workspace
from mountfs.remotes.fastio.capabilities import Capabilities
from mountfs.remotes.fastio.service import FastioService
from mountfs.remotes.fastio.settings import FastioSettings
from mountfs.storage.content import ContentFiles

log = logging.getLogger(__name__)

START_PATIENCE_S: Final = 8.0
"""How long a start waits for the workspace before it says so, or goes on with what the cache knows."""

WORKSPACE_FACT: Final = "workspace"
CAPABILITIES_FACT: Final = "capabilities of "
"""Before the address of the service."""


async def reach_service(settings: MountSettings, patience_s: float) -> FastioService:
    """Return the service of the settings; its calls are tried again for `patience_s`. It is to be closed."""
    access = Access(settings.url, settings.token, settings.logins, settings.allow_insecure)
    return FastioService(
        settings.url,
        await credential(access),
        client_info={"device_name": socket.gethostname(), "client_version": f"mountfs {__version__}"},
        allow_insecure=settings.allow_insecure,
        # The configuration checked it; only tests ask for less than the service promises.
        settings=FastioSettings(patience_s=patience_s, lease_min_s=settings.lease_duration_s),
    )


async def identify(
    settings: MountSettings, facts: ContentFiles
) -> tuple[Workspace, RemoteUnavailable | None]:
    """Ask the service for the workspace; where it does not answer, what the cache remembers will do.

    Returns the workspace, and why the service could not be asked.
    """
    outage = None
    service = await reach_service(settings, START_PATIENCE_S)
    try:
        await service.check_credential()
        workspace = await service.find_workspace(settings.workspace)
    except RemoteUnavailable as error:
        known = facts.fact(WORKSPACE_FACT)
        if known is None or settings.workspace not in known["asked_as"]:
            raise
        log.warning("%s; starting with what the cache knows", error.message)
        outage = error
        workspace = Workspace(known["id"], known["name"], known["writable"])
    else:
        asked_as = [settings.workspace, workspace.id, workspace.name]
        facts.save_fact(
            WORKSPACE_FACT,
            {
                "id": workspace.id,
                "name": workspace.name,
                "writable": workspace.writable,
                "asked_as": asked_as,
            },
        )
    finally:
        await service.aclose()
    return workspace, outage


def allowed(settings: MountSettings, workspace: Workspace) -> MountSettings:
    """Return the settings that fit what the token allows."""
    if workspace.writable or settings.read_only:
        return settings
    log.warning("the token may only read workspace %s: the mount is read-only", workspace.name)
    source = settings.config
    if source is not None:
        # Reading the configuration again does not change what the token allows.
        source = replace(source, fixed=(*source.fixed, "read_only"))
    return replace(settings, read_only=True, config=source)


def known_capabilities(settings: MountSettings, facts: ContentFiles) -> Capabilities:
    """Return what earlier mounts with this cache found out of the service."""
    return Capabilities(facts.fact(CAPABILITIES_FACT + settings.url))


async def keep_capabilities(capabilities: Capabilities, settings: MountSettings, facts: ContentFiles) -> None:
    """Keep what is found out, until cancelled. A disk that fails costs only that it is found out again."""
    while True:
        await capabilities.wait_news()
        save = partial(facts.save_fact, CAPABILITIES_FACT + settings.url, capabilities.told())
        try:
            await trio.to_thread.run_sync(save)
        except StorageError as error:
            log.warning("what the service can do is not remembered: %s", error.message)
