"""A next version of the daemon that has a fault: it is this one, and what the fault does is brought in as the
`sitecustomize` of its Python, from when on a test has said so."""

from pathlib import Path
from typing import Final

from tests.t6_system.machine import REPOSITORY

_AT_THE_TASK: Final = "import sys\nif {task!r} in sys.orig_argv:\n    {then}\n"
REFUSES: Final = _AT_THE_TASK.format(task="check", then="raise SystemExit('this version is broken')")
CANNOT_GO_ON: Final = _AT_THE_TASK.format(
    task="go-on",
    then="import mountfs.kernel.connection as c; c.ask_for_unanswered = lambda _: 1 / 0",
)
LACKS_THE_FOREGROUND: Final = _AT_THE_TASK.format(
    task="mountfs.cli.successor", then="raise SystemExit('no such module')"
)
DIES: Final = _AT_THE_TASK.format(task="go-on", then="import os; os.kill(os.getpid(), 9)")
IS_STOPPED: Final = _AT_THE_TASK.format(task="go-on", then="import os; os.kill(os.getpid(), 15)")
NO_RESEND: Final = (
    "import mountfs.kernel.extension, mountfs.kernel._extras as e\ne.may_resend = lambda: False\n"
)
"""Not a fault of the next version: a kernel that is too old for any."""


class NextVersion:
    """`variables` are for the environment of the daemon that it follows."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._shim = folder / "sitecustomize.py"
        self.variables = {"PYTHONPATH": f"{folder}:{REPOSITORY}"}

    def has(self, fault: str) -> None:
        self._shim.write_text(fault)

    def is_mended(self) -> None:
        self._shim.unlink()
