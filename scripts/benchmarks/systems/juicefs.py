"""JuiceFS with `--writeback`, its data in a local folder, its metadata in SQLite or Redis.

Behind delay proxies its data is on rclone's WebDAV server: a local folder is never far away.
"""

import os
from pathlib import Path

from scripts.benchmarks.processes import Program, answers, find_program, free_port, run_tool, wait_until
from scripts.benchmarks.systems.base import Confirm, System
from scripts.benchmarks.systems.rclone import start_webdav

CONFIRM_S = 1800.0


class _JuiceFS(System):
    def start_server(self) -> None:
        self._program = find_program("juicefs", [self.setting.programs])
        self.version = run_tool([self._program, "--version"]).strip()
        self._metadata = self.start_metadata()
        self._environment = {"HOME": str(self.setting.folder)}
        options = (*self._data_options(), "--trash-days", "0")
        run_tool([self._program, "format", *options, self._metadata, "bench"], self._environment)

    def _data_options(self) -> tuple[str, ...]:
        if self.setting.relayed:
            rclone = find_program("rclone", [self.setting.programs])
            port = self.through_relay(start_webdav(rclone, self.folder, self._server))
            return ("--storage", "webdav", "--bucket", f"http://127.0.0.1:{port}/")
        bucket = self.folder / "bucket"
        bucket.mkdir()
        return ("--storage", "file", "--bucket", f"{bucket}/")

    def start_metadata(self) -> str:
        raise NotImplementedError

    def mount(self, cache: Path) -> None:
        self._cache = cache
        mount = Program(
            [
                *(self._program, "mount", self._metadata, str(self.mountpoint), "--writeback"),
                *("--cache-dir", str(cache), "--no-usage-report", "--log", str(self.folder / "juicefs.log")),
            ],
            self.folder / "mount.log",
            self._environment,
        )
        self._client.callback(mount.stop)
        self._mount = mount
        mount.wait_until(self.is_alive, "juicefs mount")

    def confirm(self) -> Confirm:
        return lambda: wait_until(self._is_sent, "the uploads of JuiceFS", CONFIRM_S)

    def daemon_pid(self) -> int | None:
        return self._mount.pid

    def _is_sent(self) -> bool:
        return not any(files for staged in self._cache.glob("*/rawstaging") for *_, files in os.walk(staged))


class JuiceFSOverSQLite(_JuiceFS):
    name = "juicefs-sqlite"
    has_server = False

    def start_metadata(self) -> str:
        return f"sqlite3://{self.folder}/metadata.db"


class JuiceFSOverRedis(_JuiceFS):
    name = "juicefs-redis"

    def start_metadata(self) -> str:
        redis = find_program("redis-server")
        port = free_port()
        server = Program(
            [
                *(redis, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(self.folder)),
                *("--appendonly", "yes", "--appendfsync", "everysec"),
            ],
            self.folder / "redis.log",
        )
        self._server.callback(server.stop)
        server.wait_until(lambda: answers(port), "redis-server")
        return f"redis://127.0.0.1:{self.through_relay(port)}/1"
