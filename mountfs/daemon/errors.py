"""What can go wrong around the process of a mount."""

from mountfs.model.errors import MountfsError


class ConfigurationRefused(MountfsError):
    """A configuration file, an environment variable or a token file is not as it must be."""


class NotMounted(MountfsError):
    """There is no mount of mountfs at this place."""


class MountpointBusy(MountfsError):
    """Programs still use the mount."""


class DaemonSilent(MountfsError):
    """The daemon of a mount does not answer."""


class UpgradeRefused(MountfsError):
    """A running mount could not be handed over to another version."""


class NotReady(MountfsError):
    """The mount answers, and is not to be used: it is being ended."""


class DataLeft(MountfsError):
    """The end was reached with changes that the workspace does not have yet; they are safe in the journal."""


class NotConfirmed(MountfsError):
    """The workspace did not confirm everything in the given time."""


class NotFetched(MountfsError):
    """Something that was to be brought into the cache could not be."""


class StartFailed(MountfsError):
    """A process that was started ended, or was ended, before it was ready."""


class SignInTimedOut(MountfsError):
    """Nobody finished a sign-in."""


class StartTimedOut(StartFailed):
    """A process that was started was not ready in time, and was ended."""


class ReportedError(MountfsError):
    """An error that happened in another process of ours. `types`: its class names, the closest first."""

    def __init__(self, message: str, *, hint: str, types: tuple[str, ...]) -> None:
        super().__init__(message, hint=hint)
        self.types = types


def type_names(error: BaseException) -> tuple[str, ...]:
    """Return the class names by which another process can recognise the error."""
    if isinstance(error, ReportedError):
        return error.types
    return tuple(cls.__name__ for cls in type(error).__mro__[:-1])


def first_cause(error: BaseException) -> BaseException:
    """Return the error itself, or the first one inside a group: what a line about it is to name."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def first_of_ours(error: BaseException) -> MountfsError | None:
    """Return the error itself or the first one of ours inside a group, None where there is none."""
    if isinstance(error, MountfsError):
        return error
    if isinstance(error, BaseExceptionGroup):
        found = (first_of_ours(inner) for inner in error.exceptions)
        return next((ours for ours in found if ours is not None), None)
    return None
