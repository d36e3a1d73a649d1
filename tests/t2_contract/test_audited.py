"""The wrapper that records what is changed: every call passes, and each effect is recorded once."""

from dataclasses import dataclass, field
from hashlib import sha256

import pytest

from mountfs.model.effect import Change, Effect
from mountfs.model.errors import OutcomeUnknown, VersionMismatch
from mountfs.model.ids import ROOT_NODE, VersionId
from mountfs.model.remote import BatchFile, NewFile, Remote
from mountfs.remotes.audited import AuditedRemote
from mountfs.remotes.faulty import FaultyRemote
from mountfs.remotes.memory import MemoryRemote, MemoryWorkspace

DIGEST = sha256(b"x").hexdigest()


@dataclass
class Recorder:
    effects: list[tuple[str, bool]] = field(default_factory=list)

    def origin(self, change: Change) -> object:
        return change.kind

    def record(self, effect: Effect, origin: object) -> None:
        assert origin == effect.change.kind
        self.effects.append((effect.change.kind, effect.certain))


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def inner() -> FaultyRemote:
    return FaultyRemote(MemoryRemote(MemoryWorkspace()))


@pytest.fixture
def remote(inner: FaultyRemote, recorder: Recorder) -> AuditedRemote:
    return AuditedRemote(inner, recorder, lambda: "request")


def test_every_call_of_the_port_passes(remote: AuditedRemote) -> None:
    missing = [name for name in vars(Remote) if not name.startswith("_") and not hasattr(remote, name)]
    assert missing == []


async def test_each_effect_is_recorded_once(remote: AuditedRemote, recorder: Recorder) -> None:
    folder = (await remote.create_folder(ROOT_NODE, "d")).id
    node = (await remote.upload_small(NewFile(folder, "a"), b"x", DIGEST)).node
    assert node is not None
    await remote.upload_batch(folder, [BatchFile("b", b"x", DIGEST), BatchFile("c", b"x", DIGEST)])
    await remote.rename(node, "e")
    await remote.move(node, ROOT_NODE)
    await remote.describe(node, "text")
    lease = await remote.acquire_lease(node, duration_s=60, holder="h")
    await remote.renew_lease(node, lease.token)
    await remote.release_lease(node, lease.token)
    version = (await remote.nodes([node]))[node].version
    assert version is not None
    assert await remote.commit_known(node, DIGEST, version) is not None
    assert await remote.commit_known(node, "0" * 64, version) is None
    await remote.restore_version(node, version)
    await remote.trash(node)
    await remote.restore(node)
    await remote.list_folder(ROOT_NODE)
    assert recorder.effects == [
        (kind, True)
        for kind in (
            *("create folder", "create file", "create file", "create file", "rename", "move", "describe"),
            *("lock", "unlock", "new version", "restore version", "trash", "restore"),
        )
    ]


async def test_what_did_not_happen_is_no_effect_and_what_may_have_is_marked(
    remote: AuditedRemote, inner: FaultyRemote, recorder: Recorder
) -> None:
    node = (await remote.upload_small(NewFile(ROOT_NODE, "a"), b"x", DIGEST)).node
    assert node is not None
    recorder.effects.clear()
    with pytest.raises(VersionMismatch):
        await remote.commit_known(node, DIGEST, VersionId("3other"))
    assert recorder.effects == []
    inner.fail("trash", OutcomeUnknown("lost"), after_effect=True)
    with pytest.raises(OutcomeUnknown):
        await remote.trash(node)
    inner.fail("upload_batch", OutcomeUnknown("lost"))
    with pytest.raises(OutcomeUnknown):
        await remote.upload_batch(ROOT_NODE, [BatchFile("b", b"x", DIGEST)])
    assert recorder.effects == [("trash", False), ("create file", False)]
