"""What a killed daemon leaves of deleted files is freed beside the next mount, and nothing else is."""

import os
import signal

import pytest

from tests.t5_kernel.mounted import World

pytestmark = pytest.mark.kernel


@pytest.mark.long
def test_content_of_a_file_deleted_while_open_goes_with_the_next_mount(world: World) -> None:
    mount = world.mount("mnt")
    (mount / "kept").write_bytes(b"kept")
    descriptor = os.open(mount / "deleted", os.O_RDWR | os.O_CREAT)
    try:
        os.write(descriptor, b"deleted")
        os.unlink(mount / "deleted")
        ino = os.fstat(descriptor).st_ino
        mount.sync()
        mount.audit()
        mount.kill()
    finally:
        with pytest.raises(OSError, match="not connected"):
            os.close(descriptor)
    (leftover,) = (mount.cache / "content").glob(f"*/{ino}")
    assert leftover.read_bytes() == b"deleted"

    mount.start()
    mount.audit()  # waits until the search is through
    assert not leftover.exists()
    assert (mount / "kept").read_bytes() == b"kept"
    mount.signal(signal.SIGTERM)
