"""Every error has one errno, and no refusal is taken for absence."""

import errno
import inspect

import pytest

from mountfs.kernel.errno_map import ERRNOS, errno_for
from mountfs.model import errors
from mountfs.model.errors import FileOperationError, MountfsError, StorageError

ALL = [found for _, found in inspect.getmembers(errors, inspect.isclass) if issubclass(found, MountfsError)]
EIO_ON_PURPOSE = {
    errors.MountfsError,
    errors.RemoteError,
    errors.WorkspaceUnknown,
    errors.LeaseNotHeld,
    errors.LeaseLost,
    errors.ContentSetAside,
    errors.MountEnding,
    errors.LeaseNotOverridable,
    errors.UploadVanished,
    errors.UploadFailed,
    errors.ArrivedSpoiled,
    errors.ContentDamaged,
    errors.RequestRefused,
    errors.NotOffered,
    errors.ProtocolViolation,
    errors.CacheInUse,
    errors.CacheUnusable,
    errors.CacheTooNew,
    errors.CredentialStoreUnusable,
    errors.InsecureAddress,
    errors.FileOperationError,
    errors.MountpointUnusable,
    errors.FuseUnavailable,
    errors.StorageError,  # has its own
}


def made(kind: type[MountfsError]) -> MountfsError:
    return kind.__new__(kind)


@pytest.mark.parametrize("kind", [kind for kind in ALL if kind is not StorageError])
def test_only_what_is_listed_here_is_a_plain_eio(kind: type[MountfsError]) -> None:
    assert (errno_for(made(kind)) == errno.EIO) == (kind in EIO_ON_PURPOSE)


@pytest.mark.parametrize("kind", FileOperationError.__subclasses__())
def test_each_refusal_by_posix_has_an_errno_of_its_own(kind: type[MountfsError]) -> None:
    assert kind in ERRNOS


@pytest.mark.parametrize("kind", [kind for kind in ALL if kind is not StorageError])
def test_only_file_not_found_is_absence(kind: type[MountfsError]) -> None:
    assert (errno_for(made(kind)) == errno.ENOENT) == (kind is errors.FileNotFound)


def test_error_of_the_disk_keeps_its_errno() -> None:
    assert errno_for(StorageError("full", errno=errno.ENOSPC)) == errno.ENOSPC
    assert errno_for(StorageError("which?", errno=0)) == errno.EIO


@pytest.mark.parametrize("number", [512, 524, 4095, -5])
def test_what_the_kernel_takes_for_no_errno_is_an_eio(number: int) -> None:
    assert errno_for(StorageError("of the kernel's own", errno=number)) == errno.EIO


def test_new_type_has_the_errno_of_its_base() -> None:
    class Denied(errors.AccessDenied): ...

    assert errno_for(Denied("no")) == errno.EACCES
