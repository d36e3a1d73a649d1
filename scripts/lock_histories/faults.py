"""What goes wrong in a run: a seeded order of faults, each with its end."""

import random
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from scripts.lock_histories.rig import Mount, Rig


@dataclass(frozen=True)
class Fault:
    """One fault of the plan: what, on which mount (by number), for how long, and how much of it."""

    kind: str
    mount: int
    lasts_s: float
    amount: float


def plan(seed: str, mounts: int, lease_s: float, kinds: tuple[str, ...]) -> Iterator[Fault]:
    """The same faults for the same arguments, without an end; each kind once in every round."""
    chance = random.Random(f"faults-{seed}")
    while True:
        for kind in chance.sample(kinds, len(kinds)):
            least, most = LASTS_S[kind](lease_s)
            yield Fault(kind, chance.randrange(mounts), chance.uniform(least, most), chance.random())


LASTS_S: dict[str, Callable[[float], tuple[float, float]]] = {
    "partition of one mount": lambda lease_s: (0.3, 2 * lease_s),
    "partition of all mounts": lambda lease_s: (0.3, 1.5 * lease_s),
    "delay": lambda lease_s: (1.0, 3.0),
    "drop": lambda lease_s: (0.3, lease_s),
    "cut": lambda lease_s: (0.1, 0.5),
    "kill of the server": lambda lease_s: (0.1, lease_s),
    "pause of a daemon": lambda lease_s: (lease_s + 0.5, 2 * lease_s),
    "kill of a daemon": lambda lease_s: (0.1, 1.5 * lease_s),
    "step of the clock": lambda lease_s: (0.5, 2.0),
    "expired token": lambda lease_s: (0.5, 1.5 * lease_s),
}
"""Every kind, with the least and the most that it lasts."""

KINDS = tuple(LASTS_S)
HOUR_S = 3600
MOST_DELAY_MS = 400


class Faults:
    """Applies faults to a rig, one at a time; nothing of a fault is left when its call returns, but for a
    step of the clock, which lasts until the next one."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig

    def apply(self, fault: Fault) -> None:
        mount = self._rig.mounts[fault.mount]
        match fault.kind:
            case "partition of one mount":
                self._partition([mount], fault.lasts_s)
            case "partition of all mounts":
                self._partition(self._rig.mounts, fault.lasts_s)
            case "delay":
                mount.relay.set_delay_ms(fault.amount * MOST_DELAY_MS)
                time.sleep(fault.lasts_s)
                mount.relay.set_delay_ms(0)
            case "drop":
                mount.relay.set_dropping(True)
                time.sleep(fault.lasts_s)
                mount.relay.set_dropping(False)
            case "cut":
                mount.relay.cut()
                time.sleep(fault.lasts_s)
            case "kill of the server":
                self._rig.server.kill()
                time.sleep(fault.lasts_s)
                self._rig.server.start()
            case "pause of a daemon":
                mount.signal(signal.SIGSTOP)
                time.sleep(fault.lasts_s)
                mount.signal(signal.SIGCONT)
            case "kill of a daemon":
                mount.kill()
                time.sleep(fault.lasts_s)
                mount.start()
            case "step of the clock":
                others = [step for step in (-HOUR_S, 0, HOUR_S) if step != self._rig.clocks.wall_s]
                self._rig.clocks.set_wall(others[fault.amount >= 0.5])
                time.sleep(fault.lasts_s)
            case "expired token":
                mount.revoke()
                time.sleep(fault.lasts_s)
                mount.kill()
                mount.start()

    def _partition(self, mounts: list[Mount], lasts_s: float) -> None:
        for mount in mounts:
            self._rig.network.pull(mount.name)
        time.sleep(lasts_s)
        for mount in mounts:
            self._rig.network.plug(mount.name)
