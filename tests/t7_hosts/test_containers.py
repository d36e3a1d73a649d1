"""A sidecar and an agent's container that share a mount, as the Compose file and the Kubernetes manifest
want them: order, probes, a kill, the drain, and users who are not root."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from tests.t6_system.machine import REPOSITORY, Server, wait_until
from tests.t7_hosts.conftest import installation
from tests.t7_hosts.manifests import Pod, Side, compose, kubernetes
from tests.t7_hosts.podman import Podman

IMAGE = "localhost/mountfs:test"
READY_S = 60


@pytest.fixture(scope="module")
def podman(trees: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Podman]:
    """Return podman with an image that the Containerfile made, on Debian 13."""
    downloads = trees / "trixie.downloads" / "root" / ".cache" / "pip"
    opened = Podman(tmp_path_factory.mktemp("podman") / "all", downloads).open()
    try:
        opened.import_tree(trees / "trixie", "localhost/base:test")
        # For what it leaves in the cache of pip: the same would be built a second time.
        installation(trees / "trixie", tmp_path_factory)
        opened.build("localhost/base:test", REPOSITORY, IMAGE)
        yield opened
    finally:
        opened.close()


def _given(server: Server, place: str) -> dict[str, str]:
    return {
        "MOUNTFS_URL": server.url,
        "MOUNTFS_WORKSPACE": "main",
        "MOUNTFS_TOKEN": server.token_file.read_text().strip(),
        "MOUNTFS_MOUNTPOINT": place,
        "MOUNTFS_UPLOAD_DELAY_S": "30",  # what is written just before the end is still here then
    }


def _agent(side: Side, script: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    return (*side.options, "--entrypoint=/bin/sh"), ("-ec", script)


@pytest.mark.parametrize("made_by", [compose, kubernetes], ids=["compose", "kubernetes"])
def test_sidecar_and_agent(
    podman: Podman, server: Server, made_by: Callable[[Podman, Mapping[str, str]], Pod]
) -> None:
    name = made_by.__name__
    pod = made_by(podman, _given(server, f"/shared/{name}"))
    ready = [each.replace("/shared/workspace", pod.place) for each in pod.ready]
    live = [each.replace("/shared/workspace", pod.place) for each in pod.live]
    sidecar, agent = f"{name}-sidecar", f"{name}-agent"

    def answers(command: list[str]) -> bool:
        return podman.run(sidecar, *command).code == 0

    podman.start(sidecar, IMAGE, *pod.sidecar.command, options=pod.sidecar.options)
    wait_until(lambda: answers(ready), limit_s=READY_S)
    assert answers(live)
    assert podman.run(sidecar, "id", "-u").output.strip() == "1000"

    # The agent's container comes second, and sees the mount from its first moment on.
    options, command = _agent(pod.agent, f"echo first > {pod.place}/{name}-1; exec sleep infinity")
    podman.start(agent, IMAGE, *command, options=options)
    wait_until(lambda: podman.run(agent, "cat", f"{pod.place}/{name}-1").output == "first\n")
    assert podman.run(agent, "id", "-u").output.strip() == "1000"

    # A kill: what was closed is there again under the same path, in the same container of the agent.
    podman.call("kill", "--signal=KILL", sidecar).succeeded()
    assert podman.run(agent, "cat", f"{pod.place}/{name}-1").code != 0
    podman.call("start", sidecar).succeeded()
    wait_until(lambda: answers(ready), limit_s=READY_S)
    assert podman.run(agent, "cat", f"{pod.place}/{name}-1").succeeded().output == "first\n"
    podman.run(agent, "/bin/sh", "-ec", f"echo second > {pod.place}/{name}-2").succeeded()

    # The agent ends first, then the sidecar sends what is waiting.
    podman.call("stop", "--time=5", agent).succeeded()
    if pod.before_stop:
        before_stop = [each.replace("/shared/workspace", pod.place) for each in pod.before_stop]
        podman.run(sidecar, *before_stop).succeeded()
    podman.call("stop", f"--time={pod.stop_s}", sidecar).succeeded()
    assert podman.exit_code(sidecar) == 0
    assert podman.run(sidecar, "true").code != 0

    _workspace_has(podman, server, {f"{name}-1": "first\n", f"{name}-2": "second\n"}, name)


def _workspace_has(podman: Podman, server: Server, files: dict[str, str], name: str) -> None:
    """Check it by a mount that shares nothing with the others."""
    place, other = f"/shared/{name}-other", f"{name}-other"
    pod = compose(podman, _given(server, place) | {"MOUNTFS_CACHE": "/tmp/cache"})
    podman.start(other, IMAGE, options=pod.sidecar.options)
    wait_until(lambda: podman.run(other, "mountfs", "health", "--ready", place).code == 0, limit_s=READY_S)
    for path, content in files.items():
        assert podman.run(other, "cat", f"{place}/{path}").succeeded().output == content
    podman.call("stop", "--time=60", other).succeeded()
