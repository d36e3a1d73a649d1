"""rclone: its mount, and the WebDAV server that davfs2 is measured over, too."""

import json
from contextlib import ExitStack
from pathlib import Path
from urllib.request import Request, urlopen

from scripts.benchmarks.processes import Program, answers, find_program, free_port, run_tool, wait_until
from scripts.benchmarks.systems.base import Confirm, System

CONFIRM_S = 1800.0


def start_webdav(program: str, folder: Path, ends: ExitStack) -> int:
    """Serve `folder/served` over WebDAV; return the port."""
    served = folder / "served"
    served.mkdir()
    port = free_port()
    server = Program(
        [program, "serve", "webdav", str(served), "--addr", f"127.0.0.1:{port}", "--config", "/dev/null"],
        folder / "server.log",
    )
    ends.callback(server.stop)
    server.wait_until(lambda: answers(port), "rclone serve webdav")
    return port


class RcloneMount(System):
    """`rclone mount` with `--vfs-cache-mode full`, over `rclone serve webdav`."""

    name = "rclone"

    def start_server(self) -> None:
        self._program = find_program("rclone", [self.setting.programs])
        self.version = run_tool([self._program, "version"]).split("\n")[0]
        port = start_webdav(self._program, self.folder, self._server)
        self._port = self.through_relay(port)

    def mount(self, cache: Path) -> None:
        self._control = free_port()
        self._cache = cache
        mount = Program(
            [
                *(self._program, "mount", ":webdav:", str(self.mountpoint), "--config", "/dev/null"),
                *("--webdav-url", f"http://127.0.0.1:{self._port}", "--webdav-vendor", "rclone"),
                *("--cache-dir", str(cache), "--vfs-cache-mode", "full", "--vfs-write-back", "500ms"),
                *("--rc", "--rc-no-auth", "--rc-addr", f"127.0.0.1:{self._control}"),
            ],
            self.folder / "mount.log",
        )
        self._client.callback(mount.stop)
        self._mount = mount
        mount.wait_until(self.is_alive, "rclone mount")

    def confirm(self) -> Confirm:
        return lambda: wait_until(self._is_sent, "the uploads of rclone", CONFIRM_S)

    def daemon_pid(self) -> int | None:
        return self._mount.pid

    def _is_sent(self) -> bool:
        """The queue alone tells too little: a file enters it some time after its close."""
        return self._is_queue_empty() and not any(map(_is_dirty, self._cache.glob("vfsMeta/**/*")))

    def _is_queue_empty(self) -> bool:
        request = Request(f"http://127.0.0.1:{self._control}/vfs/stats", b"{}", method="POST")
        request.add_header("content-type", "application/json")
        with urlopen(request, timeout=30) as answer:  # noqa: S310 - an address of this machine
            cache = json.load(answer)["diskCache"]
        return not cache["uploadsInProgress"] and not cache["uploadsQueued"]


def _is_dirty(record: Path) -> bool:
    """Whether rclone's note on a cached file says that it is not sent, or is being written just now."""
    try:
        return record.is_file() and bool(json.loads(record.read_text())["Dirty"])
    except (OSError, ValueError):
        return record.exists()
