"""What one mount finds out of the service is known to the next one with its cache."""

from collections import Counter

import pytest

from tests.t5_kernel.mounted import Mount, World

pytestmark = pytest.mark.kernel


def _updates(mount: Mount) -> int:
    sent: Counter[str] = Counter(mount.status()["requests"]["workspace"])
    return sum(count for route, count in sent.items() if "update" in route)


@pytest.mark.long
def test_the_next_mount_does_not_probe_again(world: World) -> None:
    mount = world.mount("first")
    for content in (b"one", b"second"):
        (mount / "a").write_bytes(content)
        mount.sync()
    assert _updates(mount) == 2, "a probe, and the change"
    mount.umount()
    mount.start()
    (mount / "a").write_bytes(b"by the next")
    mount.sync()
    assert _updates(mount) == 1
