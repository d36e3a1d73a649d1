"""`mountfs status` for people."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from mountfs.daemon.running import Feature, LockState, Status, Uploads

_MAX_ROWS = 20
_MAX_PINS = 5
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def print_status(status: Status) -> None:
    """Print one mount. Names are never read as markup."""
    console = Console(highlight=False, soft_wrap=True)
    console.print(Text(status.mountpoint, style="bold"))
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2))
    for label, value in _summary(status):
        table.add_row(Text(f"  {label}"), Text(value))
    console.print(table)
    for line in [*_upload_lines(status.uploads), *_lock_lines(status.locks)]:
        console.print(Text(line))


def _summary(status: Status) -> list[tuple[str, str]]:
    cache, uploads = status.cache, status.uploads
    use = f"{size(cache.used_bytes)} of {size(cache.limit_bytes)}, {cache.files} files"
    unsent = f"{size(cache.dirty_bytes)} not sent yet"
    waiting = f"{uploads.pending_count} changes, {size(uploads.pending_bytes)}; {len(uploads.failed)} failed"
    access = ", read-only" if status.read_only else ""
    rows = [
        ("workspace", f"{status.workspace_name} ({status.workspace_id}) at {status.url}"),
        ("connection", connection_text(status)),
        ("daemon", f"pid {status.pid}, mountfs {status.version}{access}"),
        ("cache", f"{use}, {unsent}, in {status.cache_dir}"),
        ("to upload", waiting),
    ]
    if cache.writers != "free":
        rows.append(("writers", f"{cache.writers}: unsent content fills the cache, or its disk is full"))
    if status.conflicts:
        rows.append(("conflicts", f"{status.conflicts}; see mountfs conflicts {status.mountpoint}"))
    if status.pinned:
        shown = ", ".join(status.pinned[:_MAX_PINS]) + (", ..." if len(status.pinned) > _MAX_PINS else "")
        rows.append(("pinned", shown))
    if status.damaged:
        rows.append(
            ("damaged", f"{len(status.damaged)} files kept apart; see mountfs doctor {status.mountpoint}")
        )
    if status.leases_lost:
        rows.append(("lost locks", f"{status.leases_lost} since the start; the log tells which"))
    rows += [(each.name, _feature(each)) for each in status.features]
    return rows


def _feature(feature: Feature) -> str:
    word = "on" if feature.on else "off"
    return f"{word}: {feature.reason}" if feature.reason else word


def connection_text(status: Status) -> str:
    """Say in a few words whether the workspace answers."""
    if not status.online:
        return f"offline{f': {status.last_error}' if status.last_error else ''}"
    return "online" if status.feed_live else "online, but the change feed is down: entries are re-checked"


def _upload_lines(uploads: Uploads) -> list[str]:
    lines = [f"  uploading {a.path}: {size(a.sent_bytes)} of {size(a.size_bytes)}" for a in uploads.active]
    lines += [f"  FAILED {f.path}: {f.reason}{f'; {f.hint}' if f.hint else ''}" for f in uploads.failed]
    lines = _shortened(lines)
    if uploads.failed:
        lines.append("  when the cause is gone: mountfs retry [PATH]; to give it up: mountfs discard PATH")
    return lines


def _lock_lines(locks: tuple[LockState, ...]) -> list[str]:
    lines = []
    for lock in locks:
        lease = "" if lock.lease_s is None else f", lease for {lock.lease_s:.0f} s"
        lost = f", {lock.lost} of them LOST it and get errors until they unlock or close" if lock.lost else ""
        users = f"{lock.owners} holding{lost}, {lock.waiters} waiting"
        lines.append(f"  lock {lock.path}: {lock.kind}, {users}{lease}")
    return _shortened(lines)


def _shortened(lines: list[str]) -> list[str]:
    more = len(lines) - _MAX_ROWS
    return [*lines[:_MAX_ROWS], f"  ... and {more} more: see --json"] if more > 0 else lines


def size(count: float) -> str:
    """Return a number of bytes for people."""
    for unit in _UNITS[:-1]:
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} {_UNITS[-1]}"
