"""Steps of the wall clock for chosen programs: the host's own clock belongs to everybody on it."""

import struct
import subprocess
from pathlib import Path

from scripts.benchmarks.processes import find_program

SOURCE = Path(__file__).with_name("wall_clock.c")


class WallClock:
    """The wall clock of every program that is started with `environment`."""

    def __init__(self, folder: Path) -> None:
        self._library = folder / "wall_clock.so"
        self._file = folder / "clock-step"
        compile_it = ["-shared", "-fPIC", "-O2", "-o", str(self._library), str(SOURCE), "-ldl"]
        subprocess.run([find_program("gcc"), *compile_it], check=True)
        self.step_s = 0
        self._file.write_bytes(struct.pack("q", 0))

    @property
    def environment(self) -> dict[str, str]:
        return {"LD_PRELOAD": str(self._library), "MOUNTFS_CLOCK_STEP": str(self._file)}

    def set(self, step_s: int) -> None:
        """Let the programs' clocks be off by so much, from now on."""
        self.step_s = step_s
        with self._file.open("r+b") as file:
            file.write(struct.pack("q", step_s))
