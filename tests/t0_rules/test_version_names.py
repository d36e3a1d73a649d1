"""What people write to name a version."""

import pytest

from mountfs.model.errors import InvalidArgument
from mountfs.model.history import Version
from mountfs.model.ids import VersionId
from mountfs.rules.version_names import chosen, split

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
