"""A bar on a terminal while the daemon works."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mountfs.daemon.control.messages import Progress


@contextmanager
def progress_bar(doing: str) -> "Iterator[Callable[[Progress], None]]":
    """Yield what shows progress: a bar on a terminal, nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda progress: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn(doing), BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)
        most = 0

        def tell(progress: "Progress") -> None:
            nonlocal most
            if progress.entries_left is None or progress.bytes_left is None:
                return
            most = max(most, progress.bytes_left)
            text = f"{progress.entries_left} left, {progress.bytes_left / 1024**2:.1f} MiB"
            bar.update(task, description=text, total=most or None, completed=most - progress.bytes_left)

        yield tell
