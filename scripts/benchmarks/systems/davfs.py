"""davfs2 over rclone's WebDAV server."""

import os
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from scripts.benchmarks.processes import Absent, find_program, run_tool, wait_until
from scripts.benchmarks.systems.base import System
from scripts.benchmarks.systems.rclone import start_webdav

UMOUNT_S = 120.0


class Davfs(System):
    """It tells nobody when an upload is done, so nothing that waits for that is measured."""

    name = "davfs2"

    def start_server(self) -> None:
        if os.geteuid() != 0:
            raise Absent("mount.davfs needs root")
        self._program = find_program("mount.davfs")
        rclone = find_program("rclone", [self.setting.programs])
        self.version = run_tool([self._program, "--version"]).split("\n")[0]
        self._port = self.through_relay(start_webdav(rclone, self.folder, self._server))

    def mount(self, cache: Path) -> None:
        """The cache is outside the folder, which davfs2's own user may have no way into."""
        secrets = cache.parent / "davfs.secrets"
        secrets.touch(mode=0o600)
        cached = self._client.enter_context(TemporaryDirectory(prefix="mountfs-bench-", dir="/var/tmp"))
        os.chmod(cached, 0o1777)  # noqa: S103 - davfs2 refuses less, and makes a private folder in it
        config = cache.parent / "davfs.conf"
        settings = {"cache_dir": cached, "cache_size": "8192", "secrets": str(secrets)}
        settings |= dict.fromkeys(("use_locks", "delay_upload", "ask_auth"), "0")
        config.write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
        self._client.callback(self._umount)
        address = f"http://127.0.0.1:{self._port}/"
        run_tool([self._program, address, str(self.mountpoint), "-o", f"conf={config}"])
        wait_until(self.is_alive, "mount.davfs")

    def _umount(self) -> None:
        """It returns when davfs2 has sent everything and its daemon has ended."""
        with suppress(Absent):
            run_tool(["umount", str(self.mountpoint)], timeout_s=UMOUNT_S)
