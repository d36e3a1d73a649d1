"""`mountfs doctor`"""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mountfs.cli.exit_codes import ExitCode
from mountfs.model.errors import MountfsError

if TYPE_CHECKING:
    from mountfs.daemon.mounted import Mounted

_OPTIONAL = frozenset({"locks across hosts", "abort of a connection", "passthrough"})
"""What a mount does without: it works, with that feature off."""


@click.command("doctor", short_help="Tell what this machine lacks, and audit caches.")
@click.argument("mountpoint", type=Path, required=False)
@click.option("--deep", is_flag=True, help="Compare all cached content with its hashes, and repair it.")
@click.option(
    "caches",
    "--cache",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    multiple=True,
    help="Audit the cache in DIR, which is not mounted, instead; may be repeated.",
)
def command(mountpoint: Path | None, *, deep: bool, caches: tuple[Path, ...]) -> int:
    """Tell what is missing on this machine, and audit the cache of MOUNTPOINT, or of all mounts found.

    Changes nothing without --deep. With it, all content that nobody has open is read and compared with its
    hash: what is damaged and in the workspace is fetched again when it is used; what was not sent yet is
    kept apart for you to look at, and the file has its last confirmed content again.

    With --cache a cache that is not mounted is brought in order, as its next mount would do it, and then
    audited, without the workspace. What --deep finds damaged there of content that was not sent yet is told,
    and kept apart by the next mount.

    The exit code is 0 when nothing that is needed is missing and every cache is sound, else 15.
    """
    from mountfs.daemon.mounted import all_mounted, find

    if caches and mountpoint is not None:
        raise click.UsageError("name a MOUNTPOINT or a --cache, not both")
    sound = _check_machine()
    for cache in caches:
        sound = _check_cache(cache, deep=deep) and sound
    mounts = [find(mountpoint)] if mountpoint is not None else [] if caches else all_mounted()
    for mounted in mounts:
        sound = _check_mount(mounted, deep=deep) and sound
    return ExitCode.OK if sound else ExitCode.FINDINGS


def _check_machine() -> bool:
    from mountfs.kernel import requirements

    sound = True
    for finding in requirements.findings():
        needed = finding.name not in _OPTIONAL
        mark = "ok" if finding.ok else "MISSING" if needed else "off"
        _line(mark, finding.name, finding.detail, finding.hint)
        sound = sound and (finding.ok or not needed)
    return sound


def _check_cache(cache: Path, *, deep: bool) -> bool:
    import trio

    from mountfs.daemon.running import shown
    from mountfs.daemon.unmounted_audit import audit_unmounted

    place = shown(str(cache))
    try:
        findings = trio.run(lambda: audit_unmounted(cache.absolute(), deep=deep))
    except MountfsError as error:
        _line("FAULT", place, shown(error.message), shown(error.hint))
        return False
    return _tell(place, findings, deep=deep)


def _tell(place: str, findings: list[str], *, deep: bool) -> bool:
    for finding in findings:
        _line("FAULT", place, finding)
    if not findings:
        content = ", and all content that nobody has open" if deep else ""
        _line("ok", place, f"the cache and its journal are sound{content}")
    return not findings


def _check_mount(mounted: "Mounted", *, deep: bool) -> bool:
    from mountfs.daemon.errors import DaemonSilent
    from mountfs.daemon.running import shown

    place = shown(str(mounted.mountpoint))
    try:
        findings = mounted.client().audit(deep=deep)
    except DaemonSilent as error:
        told = mounted.silent(error)
        _line("FAULT", place, told.message, told.hint)
        return False
    except MountfsError as error:
        _line("FAULT", place, shown(error.message), shown(error.hint))
        return False
    return _tell(place, findings, deep=deep)


def _line(mark: str, name: str, detail: str, hint: str = "") -> None:
    click.echo(f"{mark:<8} {name}: {detail}{f'; {hint}' if hint else ''}")
