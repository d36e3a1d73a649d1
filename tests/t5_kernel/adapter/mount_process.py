"""The daemon under test: mounts a file system in memory, and obeys the test on its standard input.

Usage: python -m tests.t5_kernel.adapter.mount_process MOUNTPOINT OPTIONS. Each line is Python, as JSON; it
is run with `filesystem`, `notifier`, `session` and `until` at hand, and answered with the repr of its value.
The end of the input, SIGTERM and an unmounting from outside end the mount; the last line says which it was.
"""

import ast
import inspect
import json
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any

import trio

from mountfs.kernel import extension, mounts
from mountfs.kernel.notifier import Notifier
from mountfs.kernel.session import MountOptions, mount
from mountfs.model.filesystem import CacheTimes
from tests.t5_kernel.adapter.backed_filesystem import BackedFilesystem
from tests.t5_kernel.adapter.memory_filesystem import MemoryFilesystem
from tests.waiting import eventually

AT_ONCE = (
    *("lookup", "attributes", "unlink", "create", "create_unnamed"),
    *("open", "locate", "write", "flush", "release"),
)


def take_leaked_backing_ids(limit: int) -> list[int]:
    """Close every backing id up to `limit` that the kernel still holds for this mount, and return them."""
    from mountfs.kernel import _extras

    leaked = []
    for backing_id in range(1, limit):
        with suppress(FileNotFoundError):
            _extras.close_backing(backing_id)
            leaked.append(backing_id)
    return leaked


def make_waiting(filesystem: MemoryFilesystem) -> None:
    """Let each call that could be answered at once wait for other tasks, before and behind what it does."""
    for name in AT_ONCE:
        setattr(filesystem, name, waiting(getattr(filesystem, name)))


def waiting(call: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    async def waited(*arguments: Any) -> Any:
        await trio.lowlevel.checkpoint()
        result = await call(*arguments)
        await trio.lowlevel.checkpoint()
        return result

    return waited


async def obey(names: dict[str, Any]) -> None:
    async with trio.lowlevel.FdStream(os.dup(0)) as commands:
        rest = b""
        async for portion in commands:
            *lines, rest = (rest + portion).split(b"\n")
            for line in lines:
                code = compile(json.loads(line), "<test>", "eval", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
                value = eval(code, names)
                if inspect.isawaitable(value):
                    value = await value
                print(repr(value), flush=True)


async def serve(options: MountOptions, filesystem: MemoryFilesystem) -> str:
    notifier = Notifier()
    reasons: list[str] = []

    with trio.open_signal_receiver(signal.SIGTERM) as signals:
        async with mount(filesystem, notifier, options) as session:

            async def end_by_signal() -> None:
                async for _ in signals:
                    return

            names = {
                "os": os,
                "until": partial(eventually, limit_s=30),
                "extension": extension,
                "CacheTimes": CacheTimes,
                "mounts": mounts,
            }
            names |= {
                "take_leaked_backing_ids": take_leaked_backing_ids,
                "filesystem": filesystem,
                "notifier": notifier,
                "session": session,
            }
            print("mounted", flush=True)
            async with trio.open_nursery() as nursery:

                async def race(reason: str, job: Callable[[], Awaitable[None]]) -> None:
                    await job()
                    reasons.append(reason)
                    nursery.cancel_scope.cancel()

                nursery.start_soon(race, "signal", end_by_signal)
                nursery.start_soon(race, "unmounted", session.wait_ended)
                nursery.start_soon(race, "told", lambda: obey(names))
    return reasons[0]


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s %(message)s")
    extra = json.loads(sys.argv[2])
    double = BackedFilesystem() if extra.pop("backed", False) else MemoryFilesystem()
    if extra.pop("waits", False):
        make_waiting(double)
    print("ended:", trio.run(serve, MountOptions(sys.argv[1], **extra), double), flush=True)
