"""What people write to name a version."""

import pytest

from mountfs.model.errors import InvalidArgument
from mountfs.model.history import Version
from mountfs.model.ids import VersionId
from mountfs.rules.version_names import chosen, file_name, split

ID = VersionId("3aaaa1")
NOON = 1_767_960_000 * 10**9
VERSIONS = [Version(VersionId(text)) for text in ("3aaaa1", "3aaab2", "3bbbb3")]


@pytest.mark.parametrize(
    ("wanted", "number"),
    [("~0", 0), ("current", 0), ("~1", 1), ("~2", 2), ("3bbb", 2), ("3-AAAB2", 1), ("3aaaa1", 0)],
)
def test_versions_have_several_names(wanted: str, number: int) -> None:
    assert chosen(VERSIONS, wanted) is VERSIONS[number]


@pytest.mark.parametrize("wanted", ["~3", "~-1", "~", "~x", "3aaa", "3bb", "4444", "", "~99999999999"])
def test_what_names_none_or_several_is_refused(wanted: str) -> None:
    with pytest.raises(InvalidArgument):
        chosen(VERSIONS, wanted)


def test_file_without_versions_has_none() -> None:
    with pytest.raises(InvalidArgument, match="no version"):
        chosen([], "~0")


def test_last_at_divides_path_and_version() -> None:
    assert split("a/b@c/d.txt@~1") == ("a/b@c/d.txt", "~1")
    for text in ("a", "@~1", "a@", "a@b/c"):
        with pytest.raises(InvalidArgument, match="PATH@VERSION"):
            split(text)


@pytest.mark.parametrize(
    ("version", "name", "shown"),
    [
        (Version(ID, created_ns=NOON + 5), b"a.txt", b"2026-01-09T120000Z-3aaaa1.txt"),
        (Version(ID, name="old.md", created_ns=NOON), b"a.txt", b"2026-01-09T120000Z-3aaaa1.md"),
        (Version(ID, name="../x.y/z", created_ns=NOON), b"a.txt", b"2026-01-09T120000Z-3aaaa1.txt"),
        (Version(ID), b"a.tar.gz", b"3aaaa1.gz"),
        (Version(ID), b".hidden", b"3aaaa1"),
        (Version(ID), b"a." + 33 * b"x", b"3aaaa1"),
    ],
)
def test_version_as_a_file_is_named_by_time_id_and_suffix(
    version: Version, name: bytes, shown: bytes
) -> None:
    assert file_name(version, name) == shown
