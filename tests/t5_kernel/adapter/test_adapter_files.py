"""The files that the C extension makes many at a time."""

import os
import stat
from pathlib import Path

import pytest

from mountfs.kernel import extension

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(not extension.AVAILABLE, reason=f"NOT TESTED: {extension.REASON}"),
]


def test_unnamed_files_are_new_and_for_their_owner(tmp_path: Path) -> None:
    make = extension.file_maker()
    assert make is not None
    descriptors = make(str(tmp_path), 3)
    found = [os.fstat(descriptor) for descriptor in descriptors]
    assert len({status.st_ino for status in found}) == 3
    assert {(status.st_size, status.st_nlink, stat.S_IMODE(status.st_mode)) for status in found} == {
        (0, 0, 0o600)
    }
    assert not any(os.get_inheritable(descriptor) for descriptor in descriptors)
    assert os.listdir(tmp_path) == []
    for descriptor in descriptors:
        os.write(descriptor, b"x")
        os.close(descriptor)


def test_refusals_are_told(tmp_path: Path) -> None:
    make = extension.file_maker()
    assert make is not None
    with pytest.raises(FileNotFoundError):
        make(str(tmp_path / "absent"), 1)
    for count in (0, 257):
        with pytest.raises(ValueError, match="at a time"):
            make(str(tmp_path), count)
