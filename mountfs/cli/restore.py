"""`mountfs restore`"""

from pathlib import Path

import click

from mountfs.cli.exit_codes import ExitCode


@click.command("restore", short_help="Bring back an old version, or what was deleted.")
@click.argument("path", type=Path)
@click.argument("version", required=False)
def command(path: Path, version: str | None) -> int:
    """Make VERSION of the file PATH the present one; without VERSION the one before the present.

    What was the present one stays in the history. Where nothing is at PATH, what was deleted there last comes
    back from the trash.
    """
    from mountfs.cli.archive_access import ask
    from mountfs.cli.targets import target
    from mountfs.daemon.control.archive_messages import RestoreRequest
    from mountfs.daemon.running import shown

    mounted, below = target(path)
    restored = ask(mounted, RestoreRequest(path=below, version=version))
    version_id = f", version {restored['version']}" if restored["version"] else ""
    click.echo(f"restored {shown(str(mounted.mountpoint))}/{restored['path']}{version_id}")
    return ExitCode.OK
