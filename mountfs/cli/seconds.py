"""What options take as a time."""

import math
from typing import Any

import click


class Seconds(click.FloatRange):
    """A finite number of seconds: waits are computed with it, and no message has another one."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        seconds: float = super().convert(value, param, ctx)
        if not math.isfinite(seconds):
            self.fail(f"{value!r} is no number of seconds.", param, ctx)
        return seconds
