"""Whether a node has the content that was known of it."""

from dataclasses import replace

import pytest

from mountfs.model.entry import Base
from mountfs.model.history import Version
from mountfs.model.ids import NodeId, VersionId
from mountfs.model.node import NodeKind, RemoteNode
from mountfs.rules.remote_edits import has_content_of, is_only_renamed

ROOT = NodeId("root")
BASE = Base(NodeId("2n"), ROOT, "f", VersionId("1"), None, 4, "", 0)
NODE = RemoteNode(NodeId("2n"), NodeKind.FILE, "g", ROOT, 4, VersionId("2"))


@pytest.mark.parametrize(
    ("ours", "theirs", "same"),
    [("a", "a", True), ("a", "b", False), (None, "a", None), ("a", None, None), (None, None, None)],
)
def test_hashes_tell_and_without_them_the_version(
    ours: str | None, theirs: str | None, same: bool | None
) -> None:
    base, node = replace(BASE, sha256=ours), replace(NODE, sha256=theirs)
    assert has_content_of(base, node) is same
    assert has_content_of(base, replace(node, size=5)) is False
    if None in (ours, theirs):
        assert has_content_of(base, replace(node, version=base.version)) is True


@pytest.mark.parametrize(
    ("history", "renamed", "only"),
    [
        ("21", True, True),
        ("21", False, False),  # a move makes no version: it is of others
        ("2x1", True, False),
        ("321", True, True),  # what came after the answer is told later
        ("1", True, False),
        ("", True, False),
    ],
)
def test_renaming_makes_one_version(history: str, renamed: bool, only: bool) -> None:
    versions = [Version(VersionId(word)) for word in history]
    assert is_only_renamed(BASE, NODE, versions, renamed=renamed) is only


def test_hash_in_the_history_tells_as_well() -> None:
    base = replace(BASE, sha256="a")
    versions = [Version(VersionId("2"), sha256="a"), Version(VersionId("x"), sha256="b")]
    assert is_only_renamed(base, NODE, versions, renamed=False)
    assert not is_only_renamed(replace(base, sha256="b"), NODE, versions, renamed=True)
