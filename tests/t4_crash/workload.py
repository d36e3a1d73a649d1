"""What a program does while it is killed, and what may be there afterwards."""

import hashlib
import os
import random
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import trio

from mountfs.daemon.parts import Parts
from mountfs.filesystem.filesystem import WorkspaceFilesystem
from mountfs.model.ids import Ino
from mountfs.model.remote import Unplaced
from tests.t3_filesystem.path_operations import PathOperations
from tests.waiting import eventually

COPY = "(conflict)"
"""In place of host and date in the name of a conflict copy."""

Contents = dict[str, bytes | None]
"""Path to content; None for a folder."""

IsPartial = Callable[[bytes | None], bool]

LIMIT_S = 30.0

FETCHED = random.Random(1).randbytes(300_000)
"""What the workspace has at the path `fetched` from the beginning."""


class BareMount(PathOperations):
    """A mount without a kernel."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts

    @property
    def filesystem(self) -> WorkspaceFilesystem:
        return self.parts.filesystem

    async def settle(self) -> None:
        """Return when the workspace has confirmed everything."""
        publisher = self.parts.publisher
        while pending := publisher.pending_below(None):
            failed = await publisher.settle(pending)
            assert not failed, [(inode, inode.failure) for inode in failed]

    async def catch_up(self) -> None:
        await eventually(lambda: self.parts.refresher.live_since is not None, limit_s=LIMIT_S)
        await self.parts.follower.catch_up()

    async def evict(self) -> None:
        """Evict all that may go."""
        await self.parts.content.upkeep.evict(limit_bytes=0)


@dataclass(frozen=True)
class Operation:
    """`change` does to a model what `perform` does to a mount.

    While it is under way each path is as before or as after it, or, of those in `partial`, in any state
    between.
    """

    name: str
    perform: Callable[[BareMount], Awaitable[object]]
    change: Callable[[Contents], object] = lambda model: None
    partial: dict[str, IsPartial] = field(default_factory=dict)


def _random(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


def _beginning_of(content: bytes, *, behind: bytes = b"") -> IsPartial:
    whole = behind + content
    return lambda found: found is not None and len(found) >= len(behind) and whole.startswith(found)


def _write(path: str, content: bytes) -> Operation:
    return Operation(
        f"write {path}",
        lambda mount: mount.write(path, content),
        lambda model: model.update({path: content}),
        {path: _beginning_of(content)},
    )


def _append(path: str, old: bytes, added: bytes) -> Operation:
    return Operation(
        f"append to {path}",
        lambda mount: mount.append(path, added),
        lambda model: model.update({path: old + added}),
        {path: _beginning_of(added, behind=old)},
    )


def _truncate(path: str, content: bytes, size: int) -> Operation:
    return Operation(
        f"truncate {path}",
        lambda mount: mount.truncate(path, size),
        lambda model: model.update({path: content[:size]}),
    )


def _make_folder(path: str) -> Operation:
    return Operation(
        f"mkdir {path}", lambda mount: mount.mkdir(path), lambda model: model.update({path: None})
    )


def _unlink(path: str) -> Operation:
    return Operation(f"unlink {path}", lambda mount: mount.unlink(path), lambda model: model.pop(path))


def _rename(old: str, new: str) -> Operation:
    def change(model: Contents) -> None:
        for path in [path for path in model if f"{path}/".startswith(f"{old}/")]:
            model[new + path[len(old) :]] = model.pop(path)

    return Operation(f"rename {old} to {new}", lambda mount: mount.rename(old, new), change)


def _synced(path: str, content: bytes) -> Operation:
    async def perform(mount: BareMount) -> None:
        async with mount.opened(path, os.O_WRONLY | os.O_CREAT) as file:
            await file.write(content)
            await file.fsync()

    def change(model: Contents) -> None:
        model[path] = content

    return Operation(f"write and fsync {path}", perform, change, {path: _beginning_of(content)})


def _read(path: str, content: bytes) -> Operation:
    async def perform(mount: BareMount) -> None:
        assert await mount.read(path) == content

    return Operation(f"read {path}", perform)


async def _commit_elsewhere(mount: BareMount, path: str, ino: Ino, content: bytes) -> None:
    """Another host makes this the next version."""
    base, remote = mount.parts.tree.get(ino).base, mount.parts.remote
    assert base is not None
    assert base.version is not None
    digest = hashlib.sha256(content).hexdigest()
    upload = await remote.upload_small(Unplaced(path), content, digest)
    await remote.commit(base.node, upload.id, base.version)


def _superseded(path: str, content: bytes) -> Operation:
    """Another host writes a new version while the file is open here."""

    async def perform(mount: BareMount) -> None:
        async with mount.opened(path, os.O_RDONLY) as file:
            await file.read()
            inode = mount.parts.tree.get(file.ino)
            await _commit_elsewhere(mount, path, file.ino, content)
            while await file.read() != content:  # noqa: ASYNC110 - as programs look
                await trio.sleep(0.005)
            await mount.parts.content.superseding.ended(inode)

    return Operation(
        f"another host's version of {path}", perform, lambda model: model.update({path: content})
    )


def _conflicting(path: str, ours: bytes, theirs: bytes) -> Operation:
    """Both hosts write, while a program has the file open here: the content goes aside, the file stays."""

    async def perform(mount: BareMount) -> None:
        async with mount.opened(path, os.O_RDONLY) as file:
            async with mount.opened(path, os.O_WRONLY | os.O_TRUNC) as written:
                await _commit_elsewhere(mount, path, file.ino, theirs)
                await written.write(ours)
            await mount.settle()
            await mount.parts.content.superseding.ended(mount.parts.tree.get(file.ino))
            assert await file.read() == theirs

    def change(model: Contents) -> None:
        model[path] = theirs
        model[f"{path} {COPY}"] = ours

    return Operation(f"conflict over {path}", perform, change)


A, B, C, D, E, F, G = (
    _random(seed, size) for seed, size in enumerate([300_000, 900, 40, 7_000, 500, 80, 3_000])
)
SETTLE = Operation("settle", lambda mount: mount.settle())

WORKLOAD = (
    _make_folder("d"),
    _make_folder("d/e"),
    _write("d/a", A),
    _write("d/b", B),
    _write("c", C),
    SETTLE,
    _write("c", D),
    _append("d/b", B, E),
    _write("d/tmp", F),
    _rename("d/tmp", "d/a"),
    _write("new", G),
    _rename("new", "renamed"),
    _truncate("c", D, 100),
    _synced("d/e/f", E),
    SETTLE,
    _rename("d/e", "moved"),
    _unlink("d/b"),
    _read("fetched", FETCHED),
    SETTLE,
    Operation("evict", lambda mount: mount.evict()),
    _read("c", D[:100]),
    _superseded("c", B),
    _append("c", B, F),
    _write("gone", G),
    _unlink("gone"),
    SETTLE,
)


CONFLICT = (_read("fetched", FETCHED), _conflicting("fetched", A, B), SETTLE)

WORKLOADS = {"conflict": CONFLICT, "ordinary": WORKLOAD}


def with_plain_copies(found: Contents) -> Contents:
    """Return what a model can tell: conflict copies without host and date."""
    return {re.sub(r"\(conflict [^)]*\)", COPY, path): content for path, content in found.items()}


def states(done: int) -> tuple[Contents, Contents, dict[str, IsPartial]]:
    """Return what was there before and after the operation that followed the first `done` ones, and what its
    paths may be in between."""
    model: Contents = {"fetched": FETCHED}
    for operation in WORKLOAD[:done]:
        operation.change(model)
    if done == len(WORKLOAD):
        return model, model, {}
    after = dict(model)
    WORKLOAD[done].change(after)
    return model, after, WORKLOAD[done].partial


def is_allowed(found: Contents, done: int) -> bool:
    """Tell whether this may be there after a crash behind the first `done` operations."""
    before, after, partial = states(done)
    return any(
        all(partial.get(path, _never)(found.get(path)) for path in _differences(found, model))
        for model in (before, after)
    )


def _never(found: bytes | None) -> bool:
    return False


def _differences(one: Contents, other: Contents) -> set[str]:
    missing = object()
    return {path for path in one.keys() | other.keys() if one.get(path, missing) != other.get(path, missing)}
