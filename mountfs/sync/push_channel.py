"""Hearing of changes as they happen, by a channel that keeps nothing for whoever is away."""

import logging
import random
from collections.abc import Callable
from typing import Final

import trio

from mountfs.model.errors import NotOffered, RemoteError
from mountfs.model.ids import NodeId
from mountfs.model.remote import Remote
from mountfs.rules.backoff import Backoff
from mountfs.sync.connection import Connection

log = logging.getLogger(__name__)

PAUSE: Final = Backoff(first_s=1.0, most_s=300.0)
ASKED_AGAIN_S: Final = 24 * 3600.0
"""A service that has no channel may be given one."""


class PushChannel:
    """Keeps a channel open and passes on what it tells. Nothing relies on it: the feed tells it too."""

    def __init__(
        self, remote: Remote, connection: Connection, *, told: Callable[[frozenset[NodeId]], None]
    ) -> None:
        self._remote = remote
        self._connection = connection
        self._told = told
        self._failures = 0
        self.is_open = False

    async def run(self) -> None:
        """Listen until cancelled."""
        while True:
            await self._connection.wait_worth_trying()
            await trio.sleep(await self._listen())

    async def _listen(self) -> float:
        """Listen until the channel ends; return how long to leave it alone."""
        try:
            async with self._remote.pushed() as told:
                log.debug("changes are told as they happen")
                self.is_open = True
                async for nodes in told:
                    self._failures = 0
                    self._told(nodes)
        except NotOffered as error:
            log.info("changes are told by the feed alone: %s", error.message)
            return ASKED_AGAIN_S
        except RemoteError as error:
            log.info("the channel of changes ended, the feed tells them: %s", error.message)
        finally:
            self.is_open = False
        self._failures += 1
        return PAUSE.delay_s(self._failures - 1, random.random())
