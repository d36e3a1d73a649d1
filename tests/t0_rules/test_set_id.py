"""Which set-id bits a write, a truncation and a change of owner leave."""

import stat

import pytest

from mountfs.rules.set_id import cleared


@pytest.mark.parametrize(
    ("before", "in_group", "after"),
    [
        (0o6777, True, 0o777),
        (0o6777, False, 0o777),
        (0o6766, True, 0o2766),
        (0o6766, False, 0o766),
        (0o2710, True, 0o710),
        (0o1777, False, 0o1777),
        (0o644, False, 0o644),
    ],
)
def test_bits_of_a_file(before: int, in_group: bool, after: int) -> None:
    assert cleared(stat.S_IFREG | before, in_group=in_group) == stat.S_IFREG | after


def test_directories_keep_theirs() -> None:
    assert cleared(stat.S_IFDIR | 0o6777, in_group=False) == stat.S_IFDIR | 0o6777
