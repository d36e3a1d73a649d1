"""Whether the remote answers, as far as the last calls tell, and when it is worth asking again."""

import logging
import random
from collections.abc import Callable
from typing import Final

import trio

from mountfs.model.errors import MountfsError, RateLimited
from mountfs.rules.backoff import Backoff

log = logging.getLogger(__name__)

PAUSE: Final = Backoff(first_s=0.5, most_s=15.0)


class Connection:
    """Shared by all who call the remote: one failure makes all pause, one success lets all go on."""

    def __init__(self) -> None:
        self.online = True
        self.last_error: str | None = None
        self.when_lost: Callable[[], None] = lambda: None
        """Called when the remote stops answering."""
        self._failures = 0
        self._retry_at = 0.0
        self._recovered = trio.Event()

    def note_failure(self, error: MountfsError) -> None:
        if self.online:
            self.when_lost()
            log.warning("the workspace does not answer: %s", error.message)
            self._recovered = trio.Event()
        self.online = False
        self.last_error = error.message
        wait_s = PAUSE.delay_s(self._failures, random.random())
        if isinstance(error, RateLimited):
            wait_s = max(wait_s, error.retry_after_s)
        self._retry_at = trio.current_time() + wait_s
        self._failures += 1

    def note_refusal(self, error: MountfsError) -> None:
        """The remote answers, and does not want to: for the status, and once for the log."""
        told = f"{error.message}; {error.hint}" if error.hint else error.message
        if told != self.last_error:
            log.warning("the workspace refuses: %s", told)
        self.last_error = told

    def note_success(self) -> None:
        if not self.online:
            log.info("the workspace answers again")
        self.online = True
        self.last_error = None
        self._failures = 0
        self._recovered.set()

    async def wait_worth_trying(self) -> None:
        """Return at once while online, else at the next time to try, or when another's try succeeded."""
        if not self.online:
            with trio.move_on_at(self._retry_at):
                await self._recovered.wait()
