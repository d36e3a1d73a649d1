"""Small new files of a folder go together, and each of them is as safe as if it went alone."""

import errno
from dataclasses import replace

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from mountfs.model.disk import DiskStep
from mountfs.model.errors import OutcomeUnknown, RequestRefused
from mountfs.model.ids import ROOT_NODE, NodeId
from mountfs.model.node import RemoteNode
from mountfs.model.remote import NewFile
from mountfs.remotes.memory import MemoryWorkspace
from mountfs.rules.backoff import Backoff
from mountfs.sync import follower, lookup, sender
from mountfs.sync.batches import BATCH_FILES
from mountfs.sync.lookup import LISTED_FROM
from tests.t3_filesystem.conftest import Mounting
from tests.t3_filesystem.served_mount import wait_seen
from tests.t3_filesystem.workspace_mount import WorkspaceMount, counted_calls

LOST = OutcomeUnknown("the answer was lost")


async def write_all(mount: WorkspaceMount, files: dict[str, bytes]) -> None:
    for path, content in files.items():
        await mount.write(path, content)


def many(count: int) -> dict[str, bytes]:
    return {f"f{number}": b"%d" % number for number in range(count)}


def each_has_one_version(workspace: MemoryWorkspace) -> bool:
    return all(len(workspace.versions(workspace.find(path))) == 1 for path in workspace.files())


async def begin(mount: WorkspaceMount, call: str) -> None:
    """Let the sender take all that is pending, and return when it is at this call, which waits."""
    mount.remote.hang(call)
    mount.parts.sender.expedite(mount.tree.pending.values())
    await mount.remote.wait_hanging(call)


async def test_files_of_a_folder_go_in_one_call(mount: WorkspaceMount, workspace: MemoryWorkspace) -> None:
    files = many(150)
    await write_all(mount, files)
    before = mount.memory.calls["nodes"]
    await mount.settle()
    assert workspace.files() == files
    assert mount.changing_calls() == {"upload_batch": 1}
    assert mount.memory.calls["nodes"] - before < 10
    assert each_has_one_version(workspace)


async def test_what_a_batch_has_to_record_is_written_together(mount: WorkspaceMount) -> None:
    await write_all(mount, many(150))
    before = mount.disk.counts[DiskStep.APPEND_LOG]
    await mount.settle()
    assert mount.disk.counts[DiskStep.APPEND_LOG] - before < 10


async def test_nothing_of_a_batch_is_sent_before_the_journal_has_it(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    await write_all(mount, many(20))
    mount.disk.fail(DiskStep.APPEND_LOG, DiskStep.COMMIT_JOURNAL, errno=errno.EIO)
    mount.parts.sender.expedite(mount.tree.pending.values())
    await mount.wait_until(lambda: len(mount.failures()) == 20)
    assert mount.changing_calls() == {}
    mount.disk.heal()
    await mount.crash()
    await mount.start()
    # The journal may have that they failed.
    mount.parts.sender.retry(list(mount.tree.pending.values()))
    await mount.settle()
    assert workspace.files() == many(20)
    assert each_has_one_version(workspace)


class _Turns(trio.abc.Instrument):
    """Counts the turns of tasks whose name ends so."""

    def __init__(self, name: str) -> None:
        self.count = 0
        self._name = name

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.count += task.name.endswith(self._name)


async def test_a_file_of_a_batch_takes_few_turns_of_the_event_loop(mount: WorkspaceMount) -> None:
    # Whether listings lag is known by then.
    await write_all(mount, {"first": b"1"})
    await mount.settle()
    await write_all(mount, many(150))
    turns = _Turns("send_member")
    trio.lowlevel.add_instrument(turns)
    await mount.settle()
    trio.lowlevel.remove_instrument(turns)
    assert 150 <= turns.count < 6 * 150


async def test_what_came_of_a_batch_is_asked_in_one_call_and_its_news_in_none(
    mounting: Mounting, workspace: MemoryWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The clock of these tests is fast, and answers are to come before the news counts as that of others.
    monkeypatch.setattr(follower, "MADE_DELAY_S", 20.0)
    monkeypatch.setattr(lookup, "NEWS_S", 20.0)
    monkeypatch.setattr(lookup, "TWICE_S", 0.0)
    async with mounting() as mount:
        await mount.catch_up()
        await write_all(mount, many(150))
        before = mount.memory.calls.copy()
        await mount.settle()
        # By then whatever the feed told is asked for.
        await trio.sleep(2 * 20.0)
        asked = mount.memory.calls - before
    assert workspace.files() == many(150)
    assert (asked["newest"], asked["nodes"]) == (1, 0)


async def test_what_others_change_right_after_a_batch_is_seen(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    files = many(LISTED_FROM)
    await write_all(mount, files)
    await mount.settle()
    workspace.put("f0", b"theirs")
    workspace.put("other", b"new")
    await wait_seen(mount, {**files, "f0": b"theirs", "other": b"new"})


async def test_each_is_asked_for_where_the_folder_does_not_list_it(
    mount: WorkspaceMount, workspace: MemoryWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nobody(folder: NodeId, most: int) -> list[RemoteNode]:
        return []

    monkeypatch.setattr(mount.memory, "newest", nobody)
    await write_all(mount, many(LISTED_FROM))
    await mount.settle()
    assert workspace.files() == many(LISTED_FROM)
    assert not mount.tree.pending


async def test_each_folder_has_calls_of_its_own(mount: WorkspaceMount, workspace: MemoryWorkspace) -> None:
    files = {f"{folder}/{name}": b"content" for name in "abc" for folder in "de"}
    for folder in "de":
        await mount.mkdir(folder)
    await mount.settle()
    await write_all(mount, files)
    with counted_calls(mount) as calls:
        await mount.settle()
    assert workspace.files() == files
    assert calls == {"upload_batch": 2}


async def test_files_that_come_during_two_calls_go_together_in_the_next(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    files = {f"{wave}{number}": b"%d" % number for wave in "abcdef" for number in range(4)}
    mount.remote.hang("upload_batch")
    for wave in "abcdef":
        await write_all(mount, {path: files[path] for path in files if path.startswith(wave)})
        mount.parts.sender.expedite(mount.tree.pending.values())
        await wait_all_tasks_blocked(0.05)
    mount.remote.release()
    await mount.settle()
    assert workspace.files() == files
    assert mount.changing_calls() == {"upload_batch": 3}


async def test_full_batch_does_not_wait_for_calls_under_way(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    files = {f"{wave}{number}": b"" for wave in "abc" for number in range(BATCH_FILES)}
    mount.remote.hang("upload_batch")
    for wave in "abc":
        await write_all(mount, {path: files[path] for path in files if path.startswith(wave)})
        mount.parts.sender.expedite(mount.tree.pending.values())
        await wait_all_tasks_blocked(0.05)
    assert all(inode.sending for inode in mount.tree.pending.values())
    mount.remote.release()
    await mount.settle()
    assert workspace.files() == files
    assert mount.changing_calls() == {"upload_batch": 3}


async def test_large_files_go_alone(mount: WorkspaceMount, workspace: MemoryWorkspace) -> None:
    files = many(2) | {"large": bytes(1024 * 1024)}
    await write_all(mount, files)
    await mount.settle()
    assert workspace.files() == files
    assert mount.changing_calls() == {"upload_batch": 1, "upload_small": 1}


@pytest.mark.parametrize(("most", "calls"), [(3, {"upload_batch": 3}), (0, {"upload_small": 9})])
async def test_batches_keep_to_the_limits_of_the_workspace(
    mounting: Mounting, workspace: MemoryWorkspace, most: int, calls: dict[str, int]
) -> None:
    workspace.limits = replace(workspace.limits, batch_files=most)
    async with mounting() as mount:
        await write_all(mount, many(9))
        await mount.settle()
        assert workspace.files() == many(9)
        assert mount.changing_calls() == calls


async def test_files_that_wait_for_their_folder_go_at_once_when_it_is_there(
    mount: WorkspaceMount, workspace: MemoryWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A retry's delay would outlast the patience of this test.
    monkeypatch.setattr(sender, "RETRY", Backoff(first_s=1e5, most_s=1e5))
    files = {f"d/e/{name}": content for name, content in many(20).items()}
    await mount.mkdir("d")
    await mount.mkdir("d/e")
    await write_all(mount, files)
    await begin(mount, "create_folder")
    mount.remote.release()
    await mount.settle()
    assert workspace.files() == files
    assert mount.changing_calls() == {"create_folder": 2, "upload_batch": 1}


async def test_file_that_is_removed_before_the_call_is_never_sent(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    await mount.mkdir("d")
    await mount.settle()
    for name in "abc":
        await mount.write(f"d/{name}", b"content")
    mount.parts.refresher.distrust()
    with counted_calls(mount) as calls:
        await begin(mount, "list_folder")
        await mount.unlink("d/b")
        mount.remote.release()
        await mount.settle()
    assert workspace.files() == {"d/a": b"content", "d/c": b"content"}
    assert calls == {"upload_batch": 1}
    assert workspace.trash_names() == []


async def test_file_that_is_renamed_before_the_call_goes_under_its_new_name_only(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    await mount.mkdir("d")
    await mount.settle()
    for name in "abc":
        await mount.write(f"d/{name}", b"content")
    mount.parts.refresher.distrust()
    with counted_calls(mount) as calls:
        await begin(mount, "list_folder")
        await mount.rename("d/b", "d/x")
        mount.remote.release()
        await mount.settle()
    assert workspace.files() == {f"d/{name}": b"content" for name in "acx"}
    assert calls == {"upload_batch": 1, "upload_small": 1}


async def test_what_happens_to_files_during_the_call_is_sent_behind_it(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    await write_all(mount, many(5))
    await begin(mount, "upload_batch")
    await mount.write("f0", b"rewritten")
    await mount.unlink("f1")
    await mount.rename("f2", "renamed")
    await mount.write("f3.tmp", b"saved")
    await mount.rename("f3.tmp", "f3")
    mount.remote.release()
    await mount.settle()
    await mount.catch_up()
    expected = {"f0": b"rewritten", "renamed": b"2", "f3": b"saved", "f4": b"4"}
    assert workspace.files() == await mount.contents() == expected
    assert mount.failures() == {}


@pytest.mark.parametrize("has_effect", [True, False])
async def test_lost_answer_makes_each_file_once(
    mount: WorkspaceMount, workspace: MemoryWorkspace, has_effect: bool
) -> None:
    await write_all(mount, many(12))
    mount.remote.fail("upload_batch", LOST, after_effect=has_effect)
    with counted_calls(mount) as calls:
        await mount.settle()
        await mount.catch_up()
    assert workspace.files() == await mount.contents() == many(12)
    assert each_has_one_version(workspace)
    if has_effect:
        assert calls == {"upload_batch": 1}


async def test_answer_lost_with_the_daemon_makes_each_file_once(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    await write_all(mount, many(12))
    mount.remote.fail("upload_batch", LOST, after_effect=True)
    mount.remote.hang("nodes")
    mount.parts.sender.expedite(mount.tree.pending.values())
    await mount.wait_until(lambda: mount.memory.calls["upload_batch"])
    await mount.crash()
    mount.remote.release()
    await mount.start()
    with counted_calls(mount) as calls:
        await mount.settle()
        await mount.catch_up()
    assert calls == {}
    assert workspace.files() == await mount.contents() == many(12)
    assert each_has_one_version(workspace)


async def test_refused_file_keeps_its_reason_and_holds_up_no_other(mounting: Mounting) -> None:
    workspace = MemoryWorkspace(accepts_name=lambda name: name != "f3")
    async with mounting() as mount:
        mount.memory.workspace = workspace
        await write_all(mount, many(5))
        await mount.settle()
        assert set(workspace.files()) == {"f0", "f1", "f2", "f4"}
        assert list(mount.failures()) == ["f3"]
        assert "does not accept this name" in mount.failures()["f3"]


async def test_files_of_a_refused_batch_go_alone(mount: WorkspaceMount, workspace: MemoryWorkspace) -> None:
    mount.remote.fail("upload_batch", RequestRefused("no such route"), times=None)
    await write_all(mount, many(5))
    await mount.settle()
    assert workspace.files() == many(5)
    assert mount.changing_calls() == {"upload_small": 5}
    assert mount.failures() == {}


async def test_file_that_somebody_else_made_meanwhile_is_kept_beside_ours(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    await mount.listdir()
    await write_all(mount, many(4))
    theirs = workspace.put("f1", b"theirs")
    await mount.catch_up()
    await mount.settle()
    await mount.catch_up()
    assert [version.content for version in workspace.versions(theirs)] == [b"theirs"]
    assert len(workspace.files()) == 5
    assert workspace.files() == await mount.contents()


async def test_member_that_has_to_be_sent_again_goes_alone(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    await write_all(mount, many(2))
    uploads = mount.parts.uploads
    inodes = [mount.inode(path) for path in many(2)]
    with trio.fail_after(100):
        async with uploads.batch(ROOT_NODE, inodes) as batch:
            batch.leave(inodes[1].ino)
            for _ in range(2):
                await uploads.send(inodes[0], NewFile(ROOT_NODE, "f0"))
    assert workspace.files() == {"f0": b"0"}
    await mount.settle()
    assert workspace.files() == many(2)


async def test_unchanged_content_is_not_sent_again(mount: WorkspaceMount, workspace: MemoryWorkspace) -> None:
    await mount.write("a", b"content")
    await mount.settle()
    with counted_calls(mount) as calls:
        await mount.write("a", b"content")
        await mount.settle()
    # Others are told that it was written.
    assert calls == {"describe": 1}
    assert not mount.inode("a").content_dirty
    workspace.put("a", b"theirs")
    await mount.catch_up()
    assert await mount.read("a") == b"theirs"


async def test_unchanged_content_does_not_hide_a_change_elsewhere(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    await mount.write("a", b"content")
    await mount.settle()
    await mount.write("a", b"content")
    workspace.put("a", b"theirs")
    await mount.settle()
    await mount.catch_up()
    assert b"theirs" in workspace.files().values()
    assert workspace.files() == await mount.contents()


async def test_file_that_is_written_again_while_it_waits_its_turn_is_sent_once(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    """The worker that took it lets programs go first, and they put it into the queue once more."""
    files = many(3)
    await write_all(mount, files)
    taking = trio.Event()

    def is_asked() -> float:
        taking.set()
        return 0.0

    mount.parts.sender.programs_idle_s = is_asked
    inodes = [mount.inode(path) for path in files]
    mount.parts.sender.expedite(inodes)
    await taking.wait()
    mount.parts.sender.expedite(inodes)
    await mount.settle()
    assert workspace.files() == files
    assert each_has_one_version(workspace)
    assert mount.failures() == {}


async def test_file_that_left_a_batch_may_be_in_the_next_one(
    mount: WorkspaceMount, workspace: MemoryWorkspace
) -> None:
    """Its own step is done while the others of its batch are on their way, and then it is due again."""
    files = many(3)
    await write_all(mount, files)
    uploads = mount.parts.uploads
    inodes = [mount.inode(path) for path in files]
    async with uploads.batch(ROOT_NODE, inodes) as first:
        async with uploads.batch(ROOT_NODE, inodes[:1]) as second:
            second.leave(inodes[0].ino)
        for inode in inodes:
            first.leave(inode.ino)
    await mount.settle()
    assert workspace.files() == files
