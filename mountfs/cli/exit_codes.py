"""The exit codes of every command, in one place. Scripts rely on them: a number never changes its meaning."""

from enum import IntEnum

from mountfs.daemon.errors import type_names


class ExitCode(IntEnum):
    OK = 0
    UNEXPECTED = 1
    USAGE = 2
    CONFIGURATION = 3
    CREDENTIAL_REFUSED = 4
    REMOTE_UNREACHABLE = 5
    WORKSPACE_UNKNOWN = 6
    ACCESS_DENIED = 7
    MOUNTPOINT_UNUSABLE = 8
    FUSE_UNAVAILABLE = 9
    CACHE_UNUSABLE = 10
    DATA_LEFT = 11
    NOT_MOUNTED = 12
    TIMEOUT = 13
    BUSY = 14
    FINDINGS = 15
    LOCK_KEPT = 16
    NOT_READY = 17
    UPGRADE_REFUSED = 18
    INTERRUPTED = 130


MEANINGS: dict[ExitCode, str] = {
    ExitCode.OK: "done",
    ExitCode.UNEXPECTED: "unexpected error",
    ExitCode.USAGE: "wrong option or argument, or not something that can be done to this path",
    ExitCode.CONFIGURATION: "configuration, token file or runtime directory not as it must be",
    ExitCode.CREDENTIAL_REFUSED: "the token is refused",
    ExitCode.REMOTE_UNREACHABLE: "no workspace service answers at the address",
    ExitCode.WORKSPACE_UNKNOWN: "no such workspace",
    ExitCode.ACCESS_DENIED: "the token does not allow it, or allows only reading",
    ExitCode.MOUNTPOINT_UNUSABLE: "the mountpoint is missing, not empty, no directory or already mounted",
    ExitCode.FUSE_UNAVAILABLE: "FUSE cannot be used on this machine",
    ExitCode.CACHE_UNUSABLE: "the cache directory cannot be used, or another daemon uses it",
    ExitCode.DATA_LEFT: "done, but changes are left in the journal for the next mount",
    ExitCode.NOT_MOUNTED: "no mount of mountfs at this place",
    ExitCode.TIMEOUT: "something did not answer, was not confirmed or not fetched, in time",
    ExitCode.BUSY: "programs still use the mount or the file",
    ExitCode.FINDINGS: "doctor found something that needs attention",
    ExitCode.LOCK_KEPT: "the workspace does not let this lock be broken",
    ExitCode.NOT_READY: "the mount answers, and is being ended",
    ExitCode.UPGRADE_REFUSED: "the installed version could not go on with the running mount",
    ExitCode.INTERRUPTED: "interrupted from the keyboard",
}

_BY_TYPE: dict[str, ExitCode] = {
    "ConfigurationRefused": ExitCode.CONFIGURATION,
    "CredentialRefused": ExitCode.CREDENTIAL_REFUSED,
    "WorkspaceUnknown": ExitCode.WORKSPACE_UNKNOWN,
    "AccessDenied": ExitCode.ACCESS_DENIED,
    "InsecureAddress": ExitCode.CONFIGURATION,
    "LeaseNotOverridable": ExitCode.LOCK_KEPT,
    "RemoteError": ExitCode.REMOTE_UNREACHABLE,
    "MountpointUnusable": ExitCode.MOUNTPOINT_UNUSABLE,
    "FuseUnavailable": ExitCode.FUSE_UNAVAILABLE,
    "CacheInUse": ExitCode.CACHE_UNUSABLE,
    "CacheUnusable": ExitCode.CACHE_UNUSABLE,
    "StorageError": ExitCode.CACHE_UNUSABLE,
    "DataLeft": ExitCode.DATA_LEFT,
    "NotMounted": ExitCode.NOT_MOUNTED,
    "NotReady": ExitCode.NOT_READY,
    "UpgradeRefused": ExitCode.UPGRADE_REFUSED,
    "NotFetched": ExitCode.TIMEOUT,
    "NotConfirmed": ExitCode.TIMEOUT,
    "DaemonSilent": ExitCode.TIMEOUT,
    "StartTimedOut": ExitCode.TIMEOUT,
    "SignInTimedOut": ExitCode.TIMEOUT,
    "CredentialStoreUnusable": ExitCode.CONFIGURATION,
    "NodeNotFound": ExitCode.USAGE,
    "RequestRefused": ExitCode.USAGE,
    "NameTaken": ExitCode.USAGE,
    "NameRefused": ExitCode.USAGE,
    "MountpointBusy": ExitCode.BUSY,
    "FileInUse": ExitCode.BUSY,
    "NoRoom": ExitCode.USAGE,
    "FileOperationError": ExitCode.USAGE,
}


def for_error(error: BaseException) -> ExitCode:
    """Return the code of the closest class of the error that has one.

    By name, because an error may have happened in another process, and because the classes of the kernel
    side are not imported for it.
    """
    known = (_BY_TYPE[name] for name in type_names(error) if name in _BY_TYPE)
    return next(known, ExitCode.UNEXPECTED)


def as_text() -> str:
    """Return the table for `--help`."""
    return "\n".join(f"  {code.value:>3}  {meaning}" for code, meaning in MEANINGS.items())
