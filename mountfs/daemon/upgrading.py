"""Handing a running mount over to the installed version: first everything that can be refused, then one step.

Whatever is refused leaves the mount as it was. What programs asked for meanwhile waits in the kernel.
"""

import json
import logging
import os
import subprocess
import sys
from functools import partial
from typing import Final, Protocol

import trio

from mountfs.daemon import handover
from mountfs.daemon.errors import UpgradeRefused
from mountfs.daemon.handover import Descriptors, Handover, Offer, Passed
from mountfs.daemon.launch import SECRET_VARIABLES
from mountfs.daemon.running import shown
from mountfs.daemon.settings import MountSettings
from mountfs.filesystem.filesystem import WorkspaceFilesystem
from mountfs.filesystem.overlay import OverlaidFilesystem
from mountfs.kernel.session import Session
from mountfs.locks.file_locks import FileLocks
from mountfs.model.errors import MountfsError
from mountfs.model.remote import Workspace
from mountfs.model.succession import GrantedLocks
from mountfs.rules.fence import Fence
from mountfs.storage.journal import SqliteJournal
from mountfs.storage.layout import CacheDirectory
from mountfs.sync.content import FileContent

log = logging.getLogger(__name__)

HOLD_S: Final = 5.0
"""How long programs wait, with nothing lost, for calls under way that cannot be begun anew."""

CHECK_S: Final = 30.0
"""How long the installed version may take to say whether it can go on."""


class HandedParts(Protocol):
    """What the mount is composed of, as far as it is handed over."""

    content: FileContent
    fence: Fence
    filesystem: WorkspaceFilesystem
    journal: SqliteJournal
    locks: FileLocks


class HandedMount(Protocol):
    """`settings`: those that count at present."""

    @property
    def settings(self) -> MountSettings: ...

    @property
    def is_ending(self) -> bool: ...


class Upgrading:
    """`passed`: what was handed over to this process itself. `successor`: the module that goes on."""

    def __init__(
        self,
        parts: HandedParts,
        mount: HandedMount,
        session: Session,
        overlay: OverlaidFilesystem | None,
        directory: CacheDirectory,
        workspace: Workspace,
        passed: Passed | None,
        successor: str,
    ) -> None:
        self._parts = parts
        self._mount = mount
        self._session = session
        self._overlay = overlay
        self._directory = directory
        self._workspace = workspace
        self._upgrades = 0 if passed is None else passed.upgrades
        self._successor = successor
        self._one_at_a_time = trio.Lock()
        self._locks: GrantedLocks | None = None

    @property
    def is_left(self) -> bool:
        """Whether this process answers no program any more, and has to end."""
        return self._locks is not None

    async def leave(self) -> None:
        """Make this process one that is left, for the installed version to go on.

        Raises UpgradeRefused; then nothing has changed. A cancelled call leaves the mount serving.
        """
        async with self._one_at_a_time:
            if self.is_left:
                raise _refused("it is being handed over")
            hindrance = self._session.handover_hindrance
            if hindrance is not None:
                raise _refused(hindrance)
            version = await self._ask_installed()
            self._check_quiet()
            log.info("handing the mount over to version %s", version)
            hindrance = await self._session.hold(HOLD_S)
            if hindrance is not None:
                raise _refused(hindrance)
            try:
                # No await from here on: what is looked at now is what is left.
                self._check_quiet()
                self._locks = self._parts.locks.hand_over()
                self._session.leave()
            except BaseException:
                self._session.go_on()
                raise

    def _check_quiet(self) -> None:
        if self._mount.is_ending:
            raise _refused("it is being ended")
        if not (self._parts.locks.may_hand_over and self._parts.fence.is_clear):
            raise _refused("a lock was lost, and its programs have not unlocked yet")
        if self._parts.content.superseding.is_busy:
            raise _refused("a newer version of an open file is being put in its place")
        try:
            self._parts.journal.check_writable()
        except MountfsError as error:
            raise _refused(f"the journal takes no changes at present: {error.message}") from error

    def handover(self) -> Handover:
        """Return what the next process needs, when this one is left and has ended all work on the mount but
        the journal's."""
        assert self._locks is not None, "the mount is left"
        settings = self._mount.settings
        given = settings.device
        broker = given.broker if given is not None else None
        return Handover(
            settings=settings.dump(),
            connection=self._session.connection(),
            upgrades=self._upgrades + 1,
            workspace=self._workspace,
            descriptors=Descriptors(
                device=self._session.device(),
                cache=self._directory.keep_claim(),
                broker=None if broker is None else os.dup(broker.fileno()),
                made_here=given is None or given.made_here,
            ),
            open=self._parts.filesystem.handed_over(),
            locks=self._locks,
            virtual=self._overlay.numbers() if self._overlay is not None else None,
        )

    async def _ask_installed(self) -> str:
        """Return the version that is installed now, after it said that it can go on."""
        offer = Offer(settings=self._mount.settings.dump(), connection=self._session.connection())
        run = partial(
            trio.run_process,
            [sys.executable, "-P", "-m", self._successor, handover.CHECK],
            stdin=offer.model_dump_json().encode(),
            capture_stdout=True,
            capture_stderr=True,
            check=False,
            env={name: value for name, value in os.environ.items() if name not in SECRET_VARIABLES},
        )
        try:
            with trio.fail_after(CHECK_S):
                checked: subprocess.CompletedProcess[bytes] = await run()
            answer = json.loads(checked.stdout or b"{}")
        except trio.TooSlowError:
            raise _refused(f"the installed version does not answer within {CHECK_S:.0f} s") from None
        except (OSError, ValueError) as error:
            raise _refused(f"the installed version cannot be asked ({error})") from error
        if "version" not in answer:
            said = checked.stderr.decode(errors="replace").strip().splitlines()
            reason = answer.get("refused") or f"it fails: {said[-1] if said else checked.returncode}"
            raise _refused(f"the installed version cannot go on: {shown(reason)}")
        return str(answer["version"])


def _refused(reason: str) -> UpgradeRefused:
    return UpgradeRefused(
        f"the mount serves on as it was: {reason}",
        hint="try again later, or unmount and mount again: what programs have open then breaks",
    )
