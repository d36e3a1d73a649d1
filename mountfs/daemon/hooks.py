"""Commands and webhooks that are told of events. Whatever they do, the mount goes on.

Each hook works by itself, one event after the other in their order; of those that wait, the oldest go where
there are too many. What was not told when the mount ends is not told later: the events are news, no queue.
"""

import logging
import os
import random
import signal
import subprocess
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final, Protocol

import trio

from mountfs.daemon.event_stream import event_line
from mountfs.daemon.running import shown
from mountfs.daemon.settings import HookSettings
from mountfs.model.errors import MountfsError, RemoteUnavailable
from mountfs.remotes.webhook import Webhook
from mountfs.rules.backoff import Backoff
from mountfs.rules.happenings import Happening, Happenings, Kind, Listener
from mountfs.rules.local_only import LocalOnly

log = logging.getLogger(__name__)

RETRY: Final = Backoff(first_s=1.0, most_s=60.0)
TRIES: Final = 6
MOST_WAITING: Final = 500
END_LIMIT_S: Final = 5.0
"""How long the end of a mount waits for hooks."""

KILL_AFTER_S: Final = 2.0


class Receiver(Protocol):
    async def tell(self, happening: Happening) -> None:
        """Raises MountfsError where it could not be told."""
        ...

    async def aclose(self) -> None: ...


class Hooks:
    """Those of one mount. Owns a task for each."""

    def __init__(self, settings: Sequence[HookSettings], happenings: Happenings, *, mountpoint: Path) -> None:
        self._happenings = happenings
        self._mountpoint = mountpoint
        self._nursery: trio.Nursery | None = None
        self._hooks = list(map(self._made, settings))

    def _made(self, settings: HookSettings) -> "_Hook":
        listener = self._happenings.listen(most_waiting=MOST_WAITING)
        return _Hook(settings, listener, _receiver(settings, self._mountpoint))

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Tell of what happens, until cancelled."""
        async with trio.open_nursery() as self._nursery:
            for hook in self._hooks:
                self._nursery.start_soon(hook.run)
            task_status.started()
            await trio.sleep_forever()

    def follow(self, settings: Sequence[HookSettings]) -> None:
        """Have these hooks from now on, while `run` does. One that stays as it was goes on; one that is given
        up tells first what happened before; a new one hears of what happens from now on."""
        assert self._nursery is not None, "run has not begun"
        before, self._hooks = self._hooks, []
        for wanted in settings:
            kept = next((hook for hook in before if hook.settings == wanted), None)
            if kept is not None:
                before.remove(kept)
            else:
                kept = self._made(wanted)
                self._nursery.start_soon(kept.run)
            self._hooks.append(kept)
        for given_up in before:
            given_up.end()

    async def finish(self) -> None:
        """Return when all that happened was told, or after a bound."""
        with trio.move_on_after(END_LIMIT_S):
            for hook in self._hooks:
                await hook.wait_idle()


class _Hook:
    def __init__(self, settings: HookSettings, listener: Listener, receiver: Receiver) -> None:
        self.settings = settings
        self._kinds = {Kind(word) for word in settings.on}
        self._match = LocalOnly(settings.match)
        self._name = settings.run[0] if settings.run else settings.url
        self._listener = listener
        self._receiver = receiver
        self._news = trio.Event()
        self._idle = trio.Event()
        listener.wake = self._wake

    def _wake(self) -> None:
        self._idle = trio.Event()
        self._news.set()

    def end(self) -> None:
        """Hear of nothing any more; `run` ends when what happened before was told."""
        self._listener.end()

    async def run(self) -> None:
        """Tell of one event after the other, until cancelled or `end`."""
        try:
            while True:
                await self._tell_all()
                self._idle.set()
                if self._listener.ended:
                    return
                await self._news.wait()
                self._news = trio.Event()
        finally:
            self._listener.leave()
            with trio.CancelScope(shield=True, deadline=trio.current_time() + 1.0):
                await self._receiver.aclose()

    async def wait_idle(self) -> None:
        await self._idle.wait()

    async def _tell_all(self) -> None:
        while (happening := self._listener.take()) is not None:
            if dropped := self._listener.take_dropped():
                log.warning("hook %s is too slow: %d events were not told", self._name, dropped)
            if happening.kind in self._kinds and self._matches(happening.path):
                await self._tell(happening)

    def _matches(self, path: bytes) -> bool:
        return not self._match or self._match.matches(path, is_directory=False)

    async def _tell(self, happening: Happening) -> None:
        try:
            await self._receiver.tell(happening)
        except MountfsError as error:
            what = f"{happening.kind.value} of {shown(happening.path)}"
            log.warning("hook %s was not told of %s: %s", self._name, what, error.message)
        except Exception:
            log.exception("hook %s failed", self._name)


def _receiver(settings: HookSettings, mountpoint: Path) -> Receiver:
    if settings.run:
        return Command(settings.run, limit_s=settings.timeout_s, mountpoint=mountpoint)
    assert settings.secret is not None, "the configuration requires one"
    return SignedRequests(Webhook(settings.url, settings.secret.reveal()))


class Command:
    """Runs a program for each event: the line of JSON on its standard input, the main fields also in its
    environment, which is the daemon's without the token."""

    def __init__(self, program: Sequence[str], *, limit_s: float, mountpoint: Path) -> None:
        self._program = list(program)
        self._limit_s = limit_s
        self._mountpoint = mountpoint

    async def tell(self, happening: Happening) -> None:
        """Raises HookFailed for a program that cannot be started, fails, or takes too long: it is killed with
        all that it started in its session."""
        run = partial(
            trio.run_process,
            self._program,
            stdin=event_line(happening),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
            env=self._environment(happening),
            cwd="/",
            start_new_session=True,
            deliver_cancel=_end_session,
        )
        try:
            with trio.fail_after(self._limit_s):
                done = await run()
        except trio.TooSlowError:
            raise HookFailed(f"it took longer than {self._limit_s:g} s and was ended") from None
        except OSError as error:
            raise HookFailed(f"it cannot be run: {error.strerror}") from error
        if done.returncode:
            raise HookFailed(f"it ended with {done.returncode}")

    async def aclose(self) -> None:
        """Nothing is held."""

    def _environment(self, happening: Happening) -> Mapping[str, str]:
        kept = {name: value for name, value in os.environ.items() if name != "MOUNTFS_TOKEN"}
        path = os.fsdecode(happening.path)
        return {
            **kept,
            "MOUNTFS_EVENT": happening.kind.value,
            "MOUNTFS_PATH": path,
            "MOUNTFS_FILE": str(self._mountpoint / path),
            "MOUNTFS_MOUNTPOINT": str(self._mountpoint),
        }


class HookFailed(MountfsError):
    """A command did not do its work."""


async def _end_session(process: trio.Process) -> None:
    """Also what outlives the program itself: the wait for that does not end with it."""
    with suppress(ProcessLookupError), trio.CancelScope(shield=True):
        os.killpg(process.pid, signal.SIGTERM)
        await trio.sleep(KILL_AFTER_S)
        os.killpg(process.pid, signal.SIGKILL)


class SignedRequests:
    """Posts each event, again after a while where the receiver does not answer."""

    def __init__(self, webhook: Webhook) -> None:
        self._webhook = webhook

    async def tell(self, happening: Happening) -> None:
        delivery, body = str(uuid.uuid4()), event_line(happening)
        for attempt in range(TRIES):
            try:
                await self._webhook.post(delivery, body)
            except RemoteUnavailable as error:
                if attempt == TRIES - 1:
                    raise
                log.info("webhook: %s; trying again", error.message)
                await trio.sleep(RETRY.delay_s(attempt, random.random()))
            else:
                return

    async def aclose(self) -> None:
        await self._webhook.aclose()
