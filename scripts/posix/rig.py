"""An embedded server and two mounts of its workspace, for as long as the comparison runs."""

import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from scripts.benchmarks.systems.mountfs import EmbeddedServer, command_line

LIMIT_S = 600.0

CHANGES_LEFT = 11
"""With this `umount` ends where not all could be sent in time: the next mount of the cache does."""


@dataclass(frozen=True)
class Mounted:
    """`plain` is an ordinary directory on the file system that the caches lie on."""

    first: Path
    second: Path
    plain: Path
    mount_first: Callable[[], None]

    def sync(self) -> None:
        """Wait until the workspace has confirmed what the first mount has."""
        _call("sync", str(self.first))

    def remount(self) -> None:
        """End the first mount and start it again over its cache, which may have something to send yet."""
        _call("umount", str(self.first), accepted=(0, CHANGES_LEFT))
        self.mount_first()

    def audit(self) -> None:
        _call("doctor", str(self.first))


def _call(*words: str, accepted: Sequence[int] = (0,)) -> None:
    done = subprocess.run(
        [command_line(), *words], capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    if done.returncode not in accepted:
        raise RuntimeError(f"mountfs {words[0]} ends with {done.returncode}: {done.stdout}{done.stderr}")


@contextmanager
def mounted(folder: Path, *, passthrough: bool) -> Iterator[Mounted]:
    """Serve and mount below an empty folder; nothing is mounted and nothing runs afterwards."""
    # Cases act as several users: all of them have to come this far.
    folder.chmod(0o755)
    config = folder / "mountfs.toml"
    config.write_text(
        f"allow_other = true\nupload_delay_s = 0.05\npassthrough = {'true' if passthrough else 'false'}\n"
    )
    with ExitStack() as stack:
        server = EmbeddedServer(folder)
        stack.callback(server.stop)
        server.wait_ready()

        def mount(name: str) -> None:
            _call(
                *("mount", "--url", server.url(), "--workspace", "main", "--config", str(config)),
                *("--token-file", str(server.data / "token"), "--cache", str(folder / f"{name}-cache")),
                str(folder / name),
            )

        for name in ("first", "second"):
            (folder / name).mkdir()
            mount(name)
            stack.callback(_call, "umount", str(folder / name))
            (folder / name).chmod(0o755)
        plain = folder / "plain"
        plain.mkdir()
        yield Mounted(folder / "first", folder / "second", plain, partial(mount, "first"))
