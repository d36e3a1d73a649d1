"""Passthrough: reads and writes of an open file that the kernel takes to a file of ours without asking.

Needs the C extension: import this module only where `extension.AVAILABLE`. Everything here is called on the
thread of pyfuse3's event loop.
"""

import errno
import logging
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from mountfs.kernel import _extras
from mountfs.kernel.backing_files import BackingFiles, BackingId, OpenMode
from mountfs.kernel.requests import OpenReply
from mountfs.model.filesystem import Handle, OpenedDirectory, OpenedFile
from mountfs.model.ids import Ino
from mountfs.model.succession import BackedInode

_log = logging.getLogger(__name__)

_KEEP_CACHE: Final = 1 << 1
_CACHE_DIR: Final = 1 << 3
_NO_FLUSH: Final = 1 << 5
"""Flags of the answer to an open, from linux/fuse.h."""

_NO_ID: Final = 0

_REASONS: Final = {
    errno.EPERM: "not permitted: it needs CAP_SYS_ADMIN in the initial user namespace",
    errno.ELOOP: "the cache directory lies on a stacked file system such as overlayfs; use a real volume",
    errno.EOPNOTSUPP: "the file system of the cache directory cannot serve it",
}


@dataclass(frozen=True, slots=True)
class Passthrough:
    """Whether the kernel serves files by itself; `reason` says why not."""

    available: bool
    reason: str = ""


def probe() -> Passthrough:
    """Ask the kernel whether this mount may name backing files. Leaves nothing behind.

    A file in memory is tried, so this tells nothing about the cache's own file system.
    """
    agreed = _extras.passthrough_agreed()
    if agreed is None:
        return Passthrough(False, "the kernel has not opened the connection yet")
    if not agreed:
        return Passthrough(False, "the kernel does not offer it (6.9 or newer, with CONFIG_FUSE_PASSTHROUGH)")
    sample = os.memfd_create("mountfs-passthrough", os.MFD_CLOEXEC)
    try:
        _extras.close_backing(_extras.open_backing(sample))
    except OSError as error:
        return Passthrough(False, reason_for(error))
    finally:
        os.close(sample)
    return Passthrough(True)


def reason_for(error: OSError) -> str:
    return _REASONS.get(error.errno or 0, f"the kernel refuses a backing file: {error.strerror}")


class PassthroughFiles:
    """Decides for each open of a regular file how the kernel serves it, and tells the kernel so."""

    def __init__(self, *, wanted: bool) -> None:
        self._files = BackingFiles()
        self._state = None if wanted else Passthrough(False, "switched off for this mount")

    @property
    def open_ids(self) -> int:
        """How many backing ids the kernel holds for this mount."""
        return self._files.open_ids

    def state(self) -> Passthrough:
        """What is known now; the first call after the connection was opened asks the kernel."""
        if self._state is not None:
            return self._state
        found = probe()
        if _extras.passthrough_agreed() is not None:
            self._state = found
        return found

    def opened(self, ino: Ino, opened: OpenedFile) -> OpenReply | None:
        """Record an open, and return what its answer needs.

        A backing file that the kernel refuses makes it an ordinary open. Raises BackingDiffers where the
        kernel would fail the open.
        """
        backing = self._backing_id(ino, opened)
        flags = _NO_FLUSH if opened.no_flush else 0
        if flags or backing is not None:
            return OpenReply(flags, _NO_ID if backing is None else backing)
        return None

    def released(self, handle: Handle) -> None:
        """The kernel is done with `handle`."""
        unused = self._files.released(handle)
        if unused is None:
            return
        try:
            _extras.close_backing(unused)
        except OSError as error:  # the release itself has to go on
            _log.warning("the kernel keeps a backing file until the mount ends: %s", error.strerror)

    def handed_over(self) -> tuple[BackedInode, ...]:
        return self._files.handed_over()

    def take_over(self, backed: Iterable[BackedInode]) -> None:
        """Go on from what another process handed over: the kernel's numbers live as long as the mount."""
        self._files.take_over(backed)

    def directory_opened(self, opened: OpenedDirectory) -> OpenReply | None:
        """Return what the answer to the open of a directory needs."""
        if opened.may_cache:
            return OpenReply(_CACHE_DIR | (_KEEP_CACHE if opened.keep_cache else 0), _NO_ID)
        return None

    def prepare(self, handle: Handle, reply: OpenReply) -> None:
        """Have libfuse's answer amended: to be called right before the handler returns `handle`."""
        _extras.set_open_reply(handle, *reply)

    def _backing_id(self, ino: Ino, opened: OpenedFile) -> BackingId | None:
        offered = opened.backing if self.state().available else None
        stat = None if offered is None else os.fstat(offered)
        identity = None if stat is None else (stat.st_dev, stat.st_ino)
        mode = self._files.mode(ino, identity)
        if mode is OpenMode.SHARED:
            return self._files.opened_shared(ino, opened.handle)
        if mode is OpenMode.FIRST and offered is not None and identity is not None:
            backing = self._new_id(offered)
            if backing is not None:
                self._files.opened_first(ino, opened.handle, backing, identity)
                return backing
        self._files.opened_ordinary(ino, opened.handle)
        return None

    def _new_id(self, descriptor: int) -> BackingId | None:
        try:
            return BackingId(_extras.open_backing(descriptor))
        except OSError as error:
            if error.errno in (errno.EPERM, errno.ELOOP):  # it would be refused for every other file, too
                self._state = Passthrough(False, reason_for(error))
                _log.warning("files are served without passthrough from now on: %s", self._state.reason)
            else:
                _log.warning("a file is served without passthrough: %s", reason_for(error))
            return None
