"""`mountfs status --watch`: a view that renews itself until it is interrupted."""

import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from mountfs.cli.status_view import connection_text, size
from mountfs.daemon.running import ActiveUpload, FailedUpload, LockState, Status

if TYPE_CHECKING:
    from mountfs.daemon.mounted import Mounted

EVERY_S: Final = 1.0
_NARROW: Final = 50
"""Columns below which there is no room for bars."""

_BAR_WIDTH: Final = 16
_MOST: Final = 8
"""So many rows of each kind are shown."""


@dataclass(frozen=True, slots=True)
class Moment:
    """What one mount said, and when by a steady clock; `status` is a text where it did not answer."""

    mountpoint: str
    status: Status | str
    at: float


def watch(mounted: "Sequence[Mounted]", ask: "Callable[[Mounted], Status | str]") -> None:
    """Show the mounts until interrupted by the keyboard."""
    os.chdir("/")  # watching must not keep a mount busy
    console = Console(highlight=False)
    before: dict[str, Moment] = {}
    with (
        suppress(KeyboardInterrupt),
        Live(console=console, screen=console.is_terminal, auto_refresh=False) as live,
    ):
        while True:
            now = [Moment(str(each.mountpoint), ask(each), time.monotonic()) for each in mounted]
            width = console.size.width
            views = [view(each, before.get(each.mountpoint), width) for each in now]
            live.update(Group(*views), refresh=True)
            before = {each.mountpoint: each for each in now}
            time.sleep(EVERY_S)


def view(now: Moment, before: Moment | None, width: int) -> RenderableType:
    """Return what is shown of one mount in a terminal of this width. Names are never read as markup."""
    status = now.status
    title = Text(
        now.mountpoint if isinstance(status, str) else status.mountpoint, style="bold", overflow="ellipsis"
    )
    title.no_wrap = True
    if isinstance(status, str):
        return Group(title, Text(f"  {status}", style="red"))
    rows: list[RenderableType] = [title, _line(*_state(status))]
    rows += [_line(text, "") for text in _figures(status, now, before)]
    rows += [_upload(each, width) for each in status.uploads.active[:_MOST]]
    rows += [_line(*failed) for failed in _failures(status.uploads.failed)]
    rows += [_line(*lock) for lock in _locks(status.locks)]
    rows += [_line(f"{status.conflicts} conflicts: mountfs conflicts", "red")] if status.conflicts else []
    return Group(*rows)


def _line(text: str, style: str) -> RenderableType:
    return Padding(Text(text, style=style, overflow="ellipsis", no_wrap=True), (0, 0, 0, 2))


def _state(status: Status) -> tuple[str, str]:
    return connection_text(status), "green" if status.online and status.feed_live else "yellow"


def _figures(status: Status, now: Moment, before: Moment | None) -> list[str]:
    cache, uploads = status.cache, status.uploads
    share = f"{100 * cache.used_bytes / cache.limit_bytes:.0f} %" if cache.limit_bytes else "-"
    lines = [
        f"up {_rate(now, before, lambda each: each.sent_bytes)}"
        f"   down {_rate(now, before, lambda each: each.fetched_bytes)}"
        f"   {_rate(now, before, lambda each: sum(each.requests.kernel.values()), count=True)}",
        f"cache {size(cache.used_bytes)} of {size(cache.limit_bytes)} ({share}), {cache.files} files",
        f"to upload {uploads.pending_count} changes, {size(uploads.pending_bytes)};"
        f" {len(uploads.failed)} failed",
    ]
    if status.pinned:
        lines.append(f"pinned {len(status.pinned)} paths")
    return lines


def _rate(
    now: Moment, before: Moment | None, counted: Callable[[Status], int], *, count: bool = False
) -> str:
    """Return the growth in a second since the last moment; a daemon that was started anew counts from 0."""
    rate = 0.0
    if before is not None and isinstance(before.status, Status) and isinstance(now.status, Status):
        grown = counted(now.status) - counted(before.status)
        rate = max(0, grown) / max(now.at - before.at, 0.001)
    return f"{rate:.0f} requests/s" if count else f"{size(rate)}/s"


def _upload(upload: ActiveUpload, width: int) -> RenderableType:
    share = 100 * upload.sent_bytes / upload.size_bytes if upload.size_bytes else 0.0
    text = Text(f"{share:3.0f} % {upload.path}, {size(upload.size_bytes)}", overflow="ellipsis", no_wrap=True)
    if width < _NARROW:
        return Padding(text, (0, 0, 0, 2))
    table = Table.grid(padding=(0, 1))
    table.add_column(width=_BAR_WIDTH)
    table.add_column(overflow="ellipsis", no_wrap=True)
    bar = ProgressBar(total=max(upload.size_bytes, 1), completed=upload.sent_bytes, width=_BAR_WIDTH)
    table.add_row(bar, text)
    return Padding(table, (0, 0, 0, 2))


def _failures(failed: Sequence[FailedUpload]) -> list[tuple[str, str]]:
    rows = [(f"FAILED {each.path}: {each.reason}", "red") for each in failed[:_MOST]]
    return [*rows, *_more(len(failed), "failed changes")]


def _locks(locks: Sequence[LockState]) -> list[tuple[str, str]]:
    rows = []
    for lock in locks[:_MOST]:
        lease = "" if lock.lease_s is None else f", lease {lock.lease_s:.0f} s"
        lost = f", {lock.lost} LOST" if lock.lost else ""
        text = f"lock {lock.path}: {lock.kind}, {lock.owners} holding, {lock.waiters} waiting{lease}{lost}"
        rows.append((text, "red" if lock.lost else ""))
    return [*rows, *_more(len(locks), "locks")]


def _more(count: int, what: str) -> list[tuple[str, str]]:
    return [(f"... and {count - _MOST} more {what}", "")] if count > _MOST else []
