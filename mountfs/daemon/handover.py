"""What a daemon leaves to the process that it becomes: a file in memory, and descriptors that stay open.

The next process is another program in the same process: it keeps the number, so that a service manager, the
record of the mount and the names of its leases hold on. Between the two programs the kernel keeps what asks.
"""

import os
import sys
from collections.abc import Iterable
from typing import Final, NoReturn

from pydantic import BaseModel, ConfigDict, ValidationError

from mountfs.daemon.errors import UpgradeRefused
from mountfs.model.remote import Workspace
from mountfs.model.succession import ConnectionState, GrantedLocks, OpenState, VirtualNumbers
from mountfs.storage import schema

FORMAT: Final = 1
"""Goes up whenever an earlier version could not read what this one writes, or would read it wrongly."""

GO_ON: Final = "go-on"
ANEW: Final = "anew"
CHECK: Final = "check"
"""What the next program is to do: serve the mount that is handed over, mount anew after that failed, or only
say whether it could."""

BACKGROUND: Final = "mountfs.daemon.successor"
"""The module that goes on with a mount in the background."""


class _Passed(BaseModel):
    # Built when they are used, which most daemons never do.
    model_config = ConfigDict(
        frozen=True, extra="forbid", ser_json_bytes="base64", val_json_bytes="base64", defer_build=True
    )


class Offer(_Passed):
    """What decides whether another version can go on. `settings` are as `MountSettings.dump` gives them, with
    the token in clear: this never goes anywhere but to a process of ours."""

    format: int = FORMAT
    journal_format: int = schema.FORMAT
    settings: str
    connection: ConnectionState


class Descriptors(_Passed):
    """Open files that the next process inherits. `cache`: its lock is the claim on the cache directory.
    `broker`: as in `HandedDevice`."""

    device: int
    cache: int
    broker: int | None
    made_here: bool

    def all(self) -> list[int]:
        return [each for each in (self.device, self.cache, self.broker) if each is not None]


class Handover(Offer):
    """A mount as it is handed over. `upgrades`: how often it was, this time included. `virtual`: None where
    there is no control directory."""

    upgrades: int
    workspace: Workspace
    descriptors: Descriptors
    open: OpenState
    locks: GrantedLocks
    virtual: VirtualNumbers | None


class FreshStart(_Passed):
    """What is left to do where a handover failed: the plain start, and why it came to that."""

    settings: str
    upgrades: int
    failure: str


Passed = Handover | FreshStart


def parsed_offer(text: str) -> Offer:
    """Raises UpgradeRefused where this version cannot go on with what is offered."""
    try:
        offer = Offer.model_validate_json(text)
    except ValidationError as error:
        raise UpgradeRefused(
            f"it does not understand what is handed over ({error.error_count()} faults)"
        ) from error
    if offer.format != FORMAT:
        raise UpgradeRefused(
            f"it reads handovers of format {FORMAT}, and this is one of format {offer.format}"
        )
    if offer.journal_format > schema.FORMAT:
        raise UpgradeRefused("the cache was written by a newer version")
    return offer


def become(module: str, task: str, passed: Passed, descriptors: Iterable[int] = ()) -> NoReturn:
    """Let `module` go on in this process with what is passed and with these open files. Raises OSError."""
    text = os.memfd_create("mountfs-handover", os.MFD_CLOEXEC)
    with open(text, "w", closefd=False) as file:
        file.write(passed.model_dump_json())
    os.lseek(text, 0, os.SEEK_SET)
    for descriptor in (text, *descriptors):
        os.set_inheritable(descriptor, True)
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, "-P", "-m", module, task, str(text)])  # noqa: S606 - our own program


def take_text(descriptor: int) -> str:
    """Return what was passed, and close it."""
    with open(descriptor) as file:
        return file.read()
