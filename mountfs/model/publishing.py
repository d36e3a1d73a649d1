"""The port between the locks and the traffic: what must be true of a file when its lock changes hands."""

from dataclasses import dataclass
from typing import Protocol

from mountfs.model.ids import Ino, NodeId
from mountfs.model.remote import KnownLease


@dataclass(frozen=True, slots=True)
class Glance:
    """What the remote shows of a file whose lock another mount has, or had."""

    locked: bool
    """Somebody has it still; False also where the remote does not tell."""
    newer: bool
    """There is a version that was not known here before, or not whole; what is wanted of it is on its way."""


class LeaseMemory(Protocol):
    """What survives the death of the process, of the leases that this mount has."""

    def record_lease(self, lease: KnownLease) -> None: ...

    def erase_lease(self, ino: Ino) -> None:
        """It was given back, or is lost."""
        ...


class Publishing(Protocol):
    """Every call may be cancelled at any time and called again; what it had begun goes on or not, but
    nothing is half done."""

    async def ensure_remote(self, ino: Ino) -> NodeId:
        """Return the node of the file, created on the remote first if it is not there yet.

        Raises OperationNotSupported for a directory and for what never goes to the remote,
        RemoteUnavailable and other errors of the remote where it cannot be told or created.
        """
        ...

    async def refresh(self, ino: Ino) -> None:
        """On return, everything that the remote confirmed before this call is visible here, also through
        open descriptors and the kernel's caches. Raises RemoteUnavailable, ContentUnavailable, RequestRefused
        where what was changed here before hides it and cannot be sent."""
        ...

    async def look_ahead(self, ino: Ino) -> Glance:
        """Ask the remote for the file, and begin to fetch what is newer, so that less is left to `refresh`
        once the lock is here. Raises what the remote says."""
        ...

    async def collect(self, ino: Ino) -> None:
        """On return, what programs wrote to this file by mappings is here. To be called before
        `has_unpublished` and `publish`."""
        ...

    async def publish(self, ino: Ino) -> None:
        """On return, the content of this file as it stood at the call, and everything that this mount had
        queued before, is confirmed by the workspace. Raises when it cannot be: RemoteUnavailable where
        trying later may help, ContentSetAside where something of it became a conflict copy instead, be it
        before this call: since `refresh`."""
        ...

    async def is_overtaken(self, ino: Ino) -> bool:
        """Say whether the workspace has a newer version of the file than the last that is known here. Raises
        RemoteUnavailable."""
        ...

    def lease_lost(self, ino: Ino, *, told: bool) -> None:
        """The lease under which this file was changed is lost: what the remote has not confirmed of it never
        becomes its content there, and is kept as a conflict copy, as soon as all who relied on the lease
        were `told` and write no more. To be repeated then."""
        ...

    def lease_released(self, ino: Ino) -> None:
        """The lease was given back: what becomes of the file from now on concerns nobody who had it."""
        ...

    def has_unpublished(self, ino: Ino) -> bool:
        """Say whether `publish` would have anything to do for this file or for what was queued before."""
        ...
