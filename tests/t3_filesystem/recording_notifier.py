"""A kernel that is told and does nothing. Implements KernelNotifier."""

import trio

from mountfs.model.ids import ROOT_INO, Ino


class RecordingNotifier:
    """What the kernel was told to forget."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Ino, bytes]] = []

    def attributes_changed(self, ino: Ino) -> None:
        self.told.append(("attributes", ino, b""))

    def content_changed(self, ino: Ino) -> None:
        self.told.append(("content", ino, b""))

    def entry_changed(self, parent: Ino, name: bytes) -> None:
        self.told.append(("entry", parent, name))

    can_expire_everything = True

    def everything_changed(self) -> None:
        self.told.append(("everything", ROOT_INO, b""))

    async def drained(self) -> bool:
        await trio.lowlevel.checkpoint()
        return True
