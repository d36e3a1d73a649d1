"""One table from error types to errnos. A type that is not in it has the errno of its nearest base."""

import errno
from typing import Final

from mountfs.model import errors
from mountfs.model.errors import MountfsError, StorageError

ERRNOS: Final[dict[type[MountfsError], int]] = {
    MountfsError: errno.EIO,
    errors.RemoteUnavailable: errno.ETIMEDOUT,
    errors.CredentialRefused: errno.EACCES,
    errors.AccessDenied: errno.EACCES,
    errors.ReadOnlyCredential: errno.EROFS,
    errors.NodeNotFound: errno.ESTALE,  # not ENOENT: an error is never absence
    errors.NameTaken: errno.EEXIST,
    errors.NameRefused: errno.EINVAL,
    errors.VersionMismatch: errno.ESTALE,
    errors.LeaseHeld: errno.EAGAIN,
    errors.FileTooBig: errno.EFBIG,
    errors.QuotaExceeded: errno.EDQUOT,
    errors.NoRoom: errno.ENOSPC,
    errors.ContentUnavailable: errno.ETIMEDOUT,
    errors.FileNotFound: errno.ENOENT,
    errors.FileExists: errno.EEXIST,
    errors.NotADirectory: errno.ENOTDIR,
    errors.IsADirectory: errno.EISDIR,
    errors.DirectoryNotEmpty: errno.ENOTEMPTY,
    errors.OperationNotPermitted: errno.EPERM,
    errors.OperationNotSupported: errno.ENOTSUP,
    errors.AcrossFilesystems: errno.EXDEV,
    errors.InvalidArgument: errno.EINVAL,
    errors.FileInUse: errno.EBUSY,
    errors.NameTooLong: errno.ENAMETOOLONG,
    errors.NothingThere: errno.ENXIO,
    errors.AttributeMissing: errno.ENODATA,
    errors.ReadOnlyMount: errno.EROFS,
    errors.HandleUnknown: errno.EBADF,
    errors.WouldBlock: errno.EWOULDBLOCK,
    errors.WouldDeadlock: errno.EDEADLK,
    errors.Interrupted: errno.EINTR,
    errors.MountEnding: errno.EIO,  # of EINTR without a signal the kernel makes one of its own, 512
}


_LARGEST: Final = 511
"""A larger one the kernel refuses with the whole answer, and the program waits on. File systems that a cache
may lie on know such ones, as ENOTSUPP (524) of NFS."""


def errno_for(error: MountfsError) -> int:
    """Return the errno that a program sees for `error`; never 0."""
    if isinstance(error, StorageError):
        return error.errno if 0 < error.errno <= _LARGEST else errno.EIO
    return next(ERRNOS[base] for base in type(error).__mro__ if base in ERRNOS)
