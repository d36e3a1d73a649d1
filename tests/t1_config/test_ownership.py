"""An owner is a user of this machine or numbers; without one it is who runs this."""

import grp
import os
import pwd

import pytest

from mountfs.daemon.ownership import ids


def test_owners() -> None:
    root, first = pwd.getpwuid(0), grp.getgrgid(0)
    assert ids(None) == (os.getuid(), os.getgid())
    assert ids(root.pw_name) == (0, root.pw_gid)
    assert ids(f"65530:{first.gr_name}") == (65530, 0)
    assert ids("65530") == (65530, 65530)
    assert ids("0:7") == (0, 7)


@pytest.mark.parametrize("owner", ["no-such-user", "0:no-such-group", ":0", ""])
def test_what_is_nobody_is_refused(owner: str) -> None:
    with pytest.raises(ValueError, match="must name"):
        ids(owner)
