"""`mountfs locks` for people."""

from collections.abc import Sequence
from datetime import UTC, datetime

from mountfs.daemon.running import LockReport, LockUser, RemoteHolder, shown


def lock_lines(lock: LockReport, open_in: Sequence[tuple[int, str]]) -> list[str]:
    """Describe one lock: the file, who holds it where since when, who waits."""
    lines = [lock.path]
    if lock.holders:
        lease = "" if lock.lease_s is None else f", lease for {lock.lease_s:.0f} s more"
        lines.append(f"  held here by {_users(lock.holders)}{lease}")
    if lock.waiters:
        lines.append(f"  waited for here by {_users(lock.waiters)}")
    if open_in:
        programs = ", ".join(f"{shown(name)} ({pid})" for pid, name in open_in)
        lines.append(f"  open in {programs}")
    if lock.remote is not None:
        lines.append(f"  {remote_line(lock.remote)}")
    elif lock.remote_error:
        lines.append(f"  other hosts: not known, {lock.remote_error}")
    return lines


def remote_line(remote: RemoteHolder) -> str:
    """Say who holds the lock on the workspace."""
    who = "this mount" if remote.here else remote.holder or "somebody"
    since = f" since {_time(remote.since)}" if remote.since is not None else ""
    until = f", until {_time(remote.until)} unless renewed" if remote.until is not None else ""
    return f"on the workspace: {who}{since}{until}"


def _users(users: Sequence[LockUser]) -> str:
    return ", ".join(
        f"{user.kind} for {user.since_s:.0f} s{' (LOST: its program gets errors)' if user.lost else ''}"
        for user in users
    )


def _time(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"
