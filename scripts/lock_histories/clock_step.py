"""Steps of the clocks of chosen programs: the host's own clocks belong to everybody on it."""

import struct
import subprocess
from pathlib import Path

from scripts.benchmarks.processes import find_program

SOURCE = Path(__file__).with_name("stepped_clocks.c")


class SteppedClocks:
    """The wall clock, and the time since the boot, of every program that is started with `environment`."""

    def __init__(self, folder: Path) -> None:
        self._library = folder / "stepped_clocks.so"
        self._file = folder / "clock-steps"
        compile_it = ["-shared", "-fPIC", "-O2", "-o", str(self._library), str(SOURCE), "-ldl"]
        subprocess.run([find_program("gcc"), *compile_it], check=True)
        self.wall_s = 0
        self.asleep_s = 0
        self._write("xb")

    @property
    def environment(self) -> dict[str, str]:
        return {"LD_PRELOAD": str(self._library), "MOUNTFS_CLOCK_STEP": str(self._file)}

    def set_wall(self, step_s: int) -> None:
        """Let the programs' wall clocks be off by so much, from now on."""
        self.wall_s = step_s
        self._write("r+b")

    def sleep(self, asleep_s: int) -> None:
        """Let the programs believe that the host slept for so long just now."""
        self.asleep_s += asleep_s
        self._write("r+b")

    def _write(self, mode: str) -> None:
        with self._file.open(mode) as file:
            file.write(struct.pack("qq", self.wall_s, self.asleep_s))
