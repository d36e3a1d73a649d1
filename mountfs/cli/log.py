"""`mountfs log`"""

import json
import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from mountfs.cli.exit_codes import ExitCode
from mountfs.model.errors import MountfsError

if TYPE_CHECKING:
    from mountfs.daemon.mounted import Mounted

_LOOK_EVERY_S = 1.0
_ASK_EVERY_S = 10.0
_OVERLAP = timedelta(seconds=60)
"""Events come late, and their times are whole seconds by another clock."""

_MOST_NEWS: Final = 10_000
"""Of one look; it goes no further back than the overlap before the last that was answered."""

_KNOWN_AT_LEAST: Final = 1_000
"""So many events are known at the beginning of `--follow`, however few are shown: what happened within the
overlap is no news."""


@click.command("log", short_help="Show who changed what and when.")
@click.option("--follow", "-f", is_flag=True, help="Go on with what happens from now on, until interrupted.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON lines.")
@click.option(
    "--limit",
    type=click.IntRange(1, 10_000),
    default=100,
    show_default=True,
    metavar="N",
    help="The last so many.",
)
@click.argument("path", type=Path, required=False)
def command(follow: bool, as_json: bool, limit: int, path: Path | None) -> int:
    """Show the events of the workspace, and what this mount changed there and for which program, in one
    order.

    With PATH only what happened to that file or folder, and in the mount's own log also below it.
    """
    from mountfs.cli.targets import targets

    chosen = targets(path)
    if len(chosen) > 1:
        raise click.UsageError("there are several mounts: go into one of them, or name a path in it")
    ((mounted, below),) = chosen
    os.chdir("/")
    story = _Story(mounted, below, limit, follows=follow)
    for row in story.so_far():
        click.echo(as_line(row, as_json=as_json))
    while follow:
        time.sleep(_LOOK_EVERY_S)
        for row in story.news():
            click.echo(as_line(row, as_json=as_json))
    return ExitCode.OK


class _Story:
    """The rows of both sources as one; `source` tells which one a row is of."""

    def __init__(self, mounted: "Mounted", below: bytes | None, limit: int, *, follows: bool) -> None:
        from mountfs.daemon.running import shown
        from mountfs.storage.effect_log import Reader

        self._mounted = mounted
        self._below = below
        self._path = shown(below) if below is not None else None
        self._limit = limit
        self._known_first = max(limit, _KNOWN_AT_LEAST) if follows else limit
        self._complained = False
        self._seen: set[str] = set()
        self._reader = None if mounted.record is None else Reader(mounted.record.cache_dir)
        self._asked_at = time.monotonic()
        self._told_until = datetime.now(UTC)

    def so_far(self) -> list[dict[str, Any]]:
        own = [row for row in self._own() if self._is_about_path(row)]
        rows = sorted(own + self._remote(since=None, most=self._known_first), key=lambda row: row["at"])
        return rows[-self._limit :]

    def news(self) -> list[dict[str, Any]]:
        rows = [row for row in self._own() if self._is_about_path(row)]
        if time.monotonic() - self._asked_at >= _ASK_EVERY_S:
            self._asked_at = time.monotonic()
            rows += self._remote(since=self._told_until - _OVERLAP, most=_MOST_NEWS)
        return sorted(rows, key=lambda row: row["at"])

    def _own(self) -> Iterator[dict[str, Any]]:
        """Yield what the mount wrote since the last look."""
        for row in self._reader.new_rows() if self._reader is not None else ():
            if is_shown(row):
                yield {**row, "source": "mount"}

    def _is_about_path(self, row: dict[str, Any]) -> bool:
        path = row.get("path") or ""
        return self._path is None or path == self._path or path.startswith(self._path + "/")

    def _remote(self, *, since: datetime | None, most: int) -> list[dict[str, Any]]:
        from mountfs.cli.archive_access import ask
        from mountfs.daemon.control.archive_messages import EventsRequest
        from mountfs.daemon.mounted import find

        since_ns = int(since.timestamp() * 10**9) if since is not None else 0
        request = EventsRequest(path=self._below, since_ns=since_ns, limit=most)
        asked_at = datetime.now(UTC)
        try:
            told = ask(find(self._mounted.mountpoint), request)  # another daemon may serve it by now
        except MountfsError as error:
            if not self._complained:
                click.echo(f"mountfs: without the events of the workspace: {error.message}", err=True)
            self._complained = True
            return []
        self._complained, self._told_until = False, asked_at
        events = [event for event in told if event["id"] not in self._seen]
        self._seen.update(event["id"] for event in events)
        return [{"source": "workspace", **event} for event in events]


_KINDS: Final[dict[str, Any]] = {
    **dict.fromkeys(("at", "effect"), str),
    **dict.fromkeys(("path", "name", "node"), str | None),
    "who": dict | None,
}


def is_shown(row: dict[str, Any]) -> bool:
    """Tell a row that a mount wrote from whatever else may lie in a damaged cache."""
    return all(isinstance(row.get(key), kind) for key, kind in _KINDS.items())


def as_line(row: dict[str, Any], *, as_json: bool) -> str:
    if as_json:
        return json.dumps(row)
    from mountfs.daemon.running import shown

    at = row["at"][:19].replace("T", " ")
    if row["source"] == "workspace":
        what = row["event"].removeprefix("workspace_storage_").replace("_", " ")
        place = row["path"] or row["name"] or row["node"] or ""
        return shown(f"{at}  workspace  {what.ljust(18)}  {place}  {_by(row['actor'])}").rstrip()
    what = row["effect"] + ("" if row.get("certain", True) else " (perhaps)")
    place = row.get("path") or row.get("name") or row.get("node") or ""
    return shown(f"{at}  mount      {what.ljust(18)}  {place}  {_who(row.get('who'))}").rstrip()


def _by(actor: str) -> str:
    return f"by {actor}" if actor else ""


def _who(who: dict[str, Any] | None) -> str:
    if who is None:
        return ""
    agent = f", agent {who['agent']}" if who.get("agent") else ""
    container = f", container {who['container']}" if who.get("container") else ""
    return f"by {who.get('program') or '?'} [{who.get('pid')}], uid {who.get('uid')}{agent}{container}"
