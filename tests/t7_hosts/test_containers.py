"""A sidecar and an agent's container that share a mount: order, a kill, the drain, and users who are not
root."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.t6_system.machine import REPOSITORY, Server, wait_until
from tests.t7_hosts.podman import Podman

IMAGE = "localhost/mountfs:test"
PLACE = "/shared/workspace"


@pytest.fixture(scope="module")
def podman(trees: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Podman]:
    """Return podman with an image that the Containerfile made, on Debian 13."""
    downloads = trees / "trixie.downloads" / "root" / ".cache" / "pip"
    opened = Podman(tmp_path_factory.mktemp("podman") / "all", downloads).open()
    try:
        opened.import_tree(trees / "trixie", "localhost/base:test")
        opened.build("localhost/base:test", REPOSITORY, IMAGE)
        yield opened
    finally:
        opened.close()


def _sidecar(podman: Podman, server: Server, name: str, folder: str) -> None:
    podman.shared.chmod(0o777)
    token = server.token_file.read_text().strip()
    podman.start(
        name,
        IMAGE,
        options=[
            *(
                f"--device={podman.device}:/dev/fuse",
                "--cap-add=SYS_ADMIN",
                "--security-opt=apparmor=unconfined",
            ),
            f"--volume={podman.shared}:/shared:rshared",
            *(
                f"--env=MOUNTFS_URL={server.url}",
                "--env=MOUNTFS_WORKSPACE=main",
                f"--env=MOUNTFS_TOKEN={token}",
            ),
            *(f"--env=MOUNTFS_MOUNTPOINT=/shared/{folder}", "--env=MOUNTFS_UPLOAD_DELAY_S=30"),
        ],
    )


def _is_ready(podman: Podman, name: str, place: str = PLACE) -> bool:
    return podman.run(name, "mountfs", "health", "--ready", place).code == 0


def test_sidecar_and_agent(podman: Podman, server: Server) -> None:
    _sidecar(podman, server, "sidecar", "workspace")
    wait_until(lambda: _is_ready(podman, "sidecar"), limit_s=60)
    assert podman.run("sidecar", "id", "-u").output.strip() == "1000"

    # The agent's container comes second, and sees the mount from its first moment on.
    agent = [
        "--user=1000:1000",
        f"--volume={podman.shared}:/shared:rslave",
        "--entrypoint=/bin/sh",
        "--cap-drop=all",
    ]
    podman.start("agent", IMAGE, "-ec", f"echo first > {PLACE}/first; exec sleep infinity", options=agent)
    wait_until(lambda: podman.run("agent", "cat", f"{PLACE}/first").output == "first\n")

    # A kill: what was closed is there again under the same path, in the same container of the agent.
    podman.call("kill", "--signal=KILL", "sidecar").succeeded()
    podman.call("start", "sidecar").succeeded()
    wait_until(lambda: _is_ready(podman, "sidecar"), limit_s=60)
    assert podman.run("agent", "cat", f"{PLACE}/first").succeeded().output == "first\n"
    podman.run("agent", "/bin/sh", "-ec", f"echo second > {PLACE}/second").succeeded()

    # The agent ends first, then the sidecar sends what is waiting.
    podman.call("stop", "--time=5", "agent").succeeded()
    podman.call("stop", "--time=120", "sidecar").succeeded()
    assert podman.exit_code("sidecar") == 0

    _sidecar(podman, server, "other", "other")
    wait_until(lambda: _is_ready(podman, "other", "/shared/other"), limit_s=60)
    for name in ("first", "second"):
        assert podman.run("other", "cat", f"/shared/other/{name}").succeeded().output == f"{name}\n"
    podman.call("stop", "--time=60", "other").succeeded()
