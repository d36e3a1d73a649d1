"""The error tree. A border translates foreign errors into these once; inside, nothing else is raised.

Each error says what happened and to what in its message, and what to do in `hint` where that is known.
"""

from typing import ClassVar

from mountfs.model.ids import VersionId


class MountfsError(Exception):
    """Base of every error that mountfs raises on purpose."""

    default_hint: ClassVar[str] = ""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint or self.default_hint


class RemoteError(MountfsError):
    """The remote refused, failed, or could not be reached."""


class RemoteUnavailable(RemoteError):
    """No answer, or one that says "later": retries within the call's budget did not help; try later."""

    default_hint = "check the address and the network; what was not sent yet stays in the cache"


class OutcomeUnknown(RemoteUnavailable):
    """A change was sent and its answer was lost: it may or may not have happened. Look before repeating."""


class RateLimited(RemoteUnavailable):
    """The remote asks to slow down."""

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class InsecureAddress(RemoteError):
    """The address would carry the token without encryption."""

    default_hint = "use https, or allow it explicitly"


class CredentialRefused(RemoteError):
    """The token is unknown, expired or malformed."""

    default_hint = "sign in with mountfs login, or give a valid token by MOUNTFS_TOKEN or --token-file"


class LoginEnded(CredentialRefused):
    """The stored login was valid, and cannot be renewed any more."""

    default_hint = "sign in again: mountfs login"


class AccessDenied(RemoteError):
    """The token is valid but does not reach this workspace, node or action."""

    default_hint = "ask for access to the workspace, or use another token"


class ReadOnlyCredential(AccessDenied):
    """The token may read but not write."""

    default_hint = "use a token with write scope"


class WorkspaceUnknown(RemoteError):
    """No workspace of that name or id is reachable with this token."""


class NodeNotFound(RemoteError):
    """The node does not exist, or no longer."""


class NameTaken(RemoteError):
    """Another node has that name in that folder."""


class NameRefused(RemoteError):
    """The remote does not accept this name."""

    default_hint = "rename the file; it stays in the cache until then"


class VersionMismatch(RemoteError):
    """The node has moved on from the version that the change was based on."""

    def __init__(self, message: str, *, current: VersionId | None) -> None:
        super().__init__(message)
        self.current = current


class LeaseHeld(RemoteError):
    """Somebody else holds the lock on the node."""

    default_hint = "wait until it is released; mountfs locks tells who holds it"


class LeaseNotHeld(RemoteError):
    """The lock token is not, or no longer, valid."""


class LeaseNotOverridable(RemoteError):
    """The service keeps the lock of somebody else: it knows no way to end it."""

    default_hint = "wait until it is released, or until its time is over"


class FileTooBig(RemoteError):
    """The file exceeds what the remote takes."""


class QuotaExceeded(RemoteError):
    """The plan, its storage or its credits are used up."""

    default_hint = "free space or extend the plan of the workspace"


class UploadVanished(RemoteError):
    """The upload session does not exist, or no longer."""


class UploadFailed(RemoteError):
    """The remote ended the upload session without a file."""


class ArrivedSpoiled(UploadFailed):
    """What arrived at the remote has not the hash of what was sent: sent again it may."""


class RequestRefused(RemoteError):
    """The remote refused the request for a reason without a type of its own. `fields`: of what it was told,
    that which it does not take."""

    fields: frozenset[str] = frozenset()


class NotOffered(RemoteError):
    """The service has no such thing, or not for this credential."""


class ProtocolViolation(RemoteError):
    """The answer cannot be understood: not this service, or a proxy in front of it."""

    default_hint = "check that the address is that of a workspace service"


class ForeignAnswer(ProtocolViolation, RemoteUnavailable):
    """What answered is not the service at all: a proxy's page, or a sign-in to the network."""


class StorageError(MountfsError):
    """Our own disk failed."""

    def __init__(self, message: str, *, errno: int, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.errno = errno


class CredentialStoreUnusable(MountfsError):
    """The place where logins are kept cannot be read, written, or trusted."""


class NoRoom(MountfsError):
    """The limit of the cache does not allow it."""


class CacheInUse(MountfsError):
    """Another daemon works on this cache directory."""

    default_hint = "unmount the other mount, or choose another --cache"


class CacheUnusable(MountfsError):
    """The cache directory cannot be used."""


class CacheTooNew(CacheUnusable):
    """The cache was written by a newer mountfs."""

    default_hint = "upgrade mountfs, or choose another --cache"


class FileOperationError(MountfsError):
    """A file operation refused by the rules of POSIX; the kernel side maps each type to one errno."""

    def __init__(self, message: str = "") -> None:
        super().__init__(message)


class FileNotFound(FileOperationError): ...


class FileExists(FileOperationError): ...


class NotADirectory(FileOperationError): ...


class IsADirectory(FileOperationError): ...


class DirectoryNotEmpty(FileOperationError): ...


class OperationNotPermitted(FileOperationError): ...


class OperationNotSupported(FileOperationError): ...


class AcrossFilesystems(FileOperationError):
    """A directory can go there only file by file."""


class InvalidArgument(FileOperationError): ...


class FileInUse(FileOperationError):
    """Programs have it open, or have just changed it."""


class NameTooLong(FileOperationError): ...


class NothingThere(FileOperationError):
    """There is no data, or no hole, from that place on."""


class AttributeMissing(FileOperationError): ...


class ReadOnlyMount(FileOperationError): ...


class HandleUnknown(FileOperationError): ...


class WouldBlock(FileOperationError):
    """The lock is held elsewhere and the caller does not want to wait."""


class WouldDeadlock(FileOperationError):
    """The lock is held by somebody who waits, at however many removes, for the caller."""


class Interrupted(FileOperationError):
    """A signal ended the wait."""


class MountEnding(FileOperationError):
    """The mount goes, and nobody gets or keeps a lock by it any more."""


class LeaseLost(MountfsError):
    """The lock may have gone to another host while it was relied on here."""

    default_hint = "unlock or close the file; what was not published is kept as a conflict copy"


class ContentSetAside(MountfsError):
    """The remote has other content: ours is kept as a conflict copy, and is not what others see."""

    default_hint = "see mountfs conflicts"


class ContentUnavailable(MountfsError):
    """Bytes that are not in the cache could not be fetched in time."""


class ContentDamaged(MountfsError):
    """What arrived is not what the remote says that it has."""

    default_hint = "read it again; where that does not help, the workspace or the way to it spoils content"


class MountpointUnusable(MountfsError):
    """The directory cannot be mounted on."""


class FuseUnavailable(MountfsError):
    """This machine, or this user, cannot mount."""
