"""The clock that file times are taken from goes in steps."""

import time
from typing import Final

STEP_S: Final = 0.012
"""A little more than the longest step of Linux, which is that of its timer: 10 ms."""


def let_a_step_pass() -> None:
    """On return, what changes gets another time than what changed before the call."""
    time.sleep(STEP_S)
