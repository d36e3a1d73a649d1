"""What the Compose file and the Kubernetes manifest say, as options of podman: what they ask for is what is
tried.

podman has no native sidecars (init containers that go on), so the order in which containers start and end
is the test's.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.t6_system.machine import REPOSITORY
from tests.t7_hosts.podman import Podman

CONTAINERS = REPOSITORY / "containers"
_SECONDS = {"s": 1, "m": 60}


@dataclass(frozen=True)
class Side:
    """One container. `command` is what follows the image; empty: what the image says."""

    options: tuple[str, ...]
    command: tuple[str, ...] = ()


@dataclass(frozen=True)
class Pod:
    """`before_stop`: empty where nothing is called before the signal. `stop_s`: how long the end may take."""

    sidecar: Side
    agent: Side
    ready: tuple[str, ...]
    live: tuple[str, ...]
    before_stop: tuple[str, ...]
    stop_s: int
    place: str


def kubernetes(podman: Podman, given: Mapping[str, str]) -> Pod:
    """`given`: values for variables of the sidecar."""
    spec = _load("kubernetes.yaml")["spec"]
    (sidecar,), (agent,) = spec["initContainers"], spec["containers"]
    assert sidecar["restartPolicy"] == "Always"
    user = "--user={runAsUser}:{runAsGroup}".format(**spec["securityContext"])
    cache = podman.folder_of_user("kubernetes-cache", spec["securityContext"]["fsGroup"])
    places = {"shared": podman.shared, "cache": cache}
    values = {**{each["name"]: each.get("value", "") for each in sidecar["env"]}, **given}
    assert {each["name"] for each in sidecar["env"] if "valueFrom" in each} <= given.keys()
    assert sidecar["startupProbe"]["exec"] == sidecar["readinessProbe"]["exec"]
    return Pod(
        Side(
            (user, *_kubernetes_options(sidecar, places, podman), *_variables(values)), tuple(sidecar["args"])
        ),
        Side((user, *_kubernetes_options(agent, places, podman))),
        ready=tuple(sidecar["readinessProbe"]["exec"]["command"]),
        live=tuple(sidecar["livenessProbe"]["exec"]["command"]),
        before_stop=tuple(sidecar["lifecycle"]["preStop"]["exec"]["command"]),
        stop_s=spec["terminationGracePeriodSeconds"],
        place=values["MOUNTFS_MOUNTPOINT"],
    )


def _kubernetes_options(
    container: Mapping[str, Any], places: Mapping[str, Path], podman: Podman
) -> list[str]:
    rights = container["securityContext"]
    propagation = {"Bidirectional": ":rshared", "HostToContainer": ":rslave", None: ""}
    options = [
        f"--volume={places[each['name']]}:{each['mountPath']}{propagation[each.get('mountPropagation')]}"
        for each in container["volumeMounts"]
    ]
    if rights.get("privileged"):
        options += ["--privileged", f"--volume={podman.device}:/dev/fuse"]
    if rights.get("allowPrivilegeEscalation") is False:
        options.append("--security-opt=no-new-privileges")
    return options + [f"--cap-drop={each}" for each in rights.get("capabilities", {}).get("drop", ())]


def compose(podman: Podman, given: Mapping[str, str]) -> Pod:
    """`given`: values for variables of the sidecar."""
    services = _load("compose.yaml")["services"]
    sidecar, agent = services["mountfs"], services["agent"]
    assert agent["depends_on"]["mountfs"]["condition"] == "service_healthy"
    assert sidecar["devices"] == ["/dev/fuse"]
    options = [f"--device={podman.device}:/dev/fuse"]
    options += [f"--cap-add={each}" for each in sidecar["cap_add"]]
    options += [f"--security-opt={each.replace(':', '=')}" for each in sidecar["security_opt"]]
    values = {**sidecar["environment"], **given}
    kind, *ready = sidecar["healthcheck"]["test"]
    assert kind == "CMD"
    return Pod(
        Side((*options, *_compose_volumes(sidecar, podman), *_variables(values))),
        Side((f"--user={agent['user']}", *_compose_volumes(agent, podman))),
        ready=tuple(ready),
        live=tuple(ready),
        before_stop=(),
        stop_s=_seconds(sidecar["stop_grace_period"]),
        place=values["MOUNTFS_MOUNTPOINT"],
    )


def _compose_volumes(service: Mapping[str, Any], podman: Podman) -> Sequence[str]:
    return [
        f"--volume=compose-{each}"
        if isinstance(each, str)
        else f"--volume={podman.shared}:{each['target']}:{each['bind']['propagation']}"
        for each in service["volumes"]
    ]


def _variables(values: Mapping[str, str]) -> list[str]:
    return [f"--env={name}={value}" for name, value in values.items()]


def _seconds(text: str) -> int:
    found = re.fullmatch(r"(\d+)([sm])", text)
    assert found, text
    return int(found[1]) * _SECONDS[found[2]]


def _load(name: str) -> Any:
    return yaml.safe_load((CONTAINERS / name).read_text())
