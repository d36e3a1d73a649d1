"""Set-id bits that a request says are to be cleared. Needs the C extension."""

import logging

from mountfs.kernel import _extras
from mountfs.model.errors import MountfsError
from mountfs.model.filesystem import Caller, Filesystem
from mountfs.model.ids import Ino

_log = logging.getLogger(__name__)


class SetIdNotices:
    """Tells the file system before the request itself is handled. Make it before `pyfuse3.init`."""

    def __init__(self, filesystem: Filesystem) -> None:
        self._filesystem = filesystem
        _extras.install_set_id(self._told)

    def _told(self, ino: int, uid: int, gid: int, pid: int) -> None:
        try:
            self._filesystem.clear_set_id(Ino(ino), Caller(uid, gid, pid))
        except MountfsError as error:  # the request itself tells its own
            _log.warning("set-id bits of inode %d: %s", ino, error.message)
