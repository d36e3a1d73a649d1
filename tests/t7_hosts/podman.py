"""Containers by podman, in a mount namespace of their own."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from tests.t7_hosts.nspawn import Ran, package_places, run_command

_HOLD = """
if mountpoint -q /sys/fs/cgroup/unified; then umount /sys/fs/cgroup/unified; fi
echo ready
exec sleep infinity
"""
"""podman does not understand a machine with both kinds of control groups."""

_LIMITS = ("--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024")


class Podman:
    """Images and containers below one folder; all of it goes by `close`."""

    def __init__(self, folder: Path, downloads: Path) -> None:
        """`downloads` keeps what builds fetched for the next run."""
        self._folder = folder
        # podman takes no long name for it.
        self._running = Path(tempfile.mkdtemp(prefix="mfs-", dir="/var/tmp"))
        self._downloads = downloads
        self._names: list[str] = []
        self._holder: subprocess.Popen[bytes] | None = None

    def open(self) -> Self:
        for name in ("root", "shared"):
            (self._folder / name).mkdir(parents=True)
        self._holder = subprocess.Popen(
            ["unshare", "--mount", "--propagation=private", "/bin/sh", "-c", _HOLD], stdout=subprocess.PIPE
        )
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == b"ready\n"
        # As udev makes it; the one of this machine may be root's alone.
        self._inside("mknod", "--mode=666", str(self.device), "c", "10", "229").succeeded()
        shared = self.shared
        self._inside("mount", "--bind", str(shared), str(shared)).succeeded()
        self._inside("mount", "--make-shared", str(shared)).succeeded()
        shared.chmod(0o777)
        return self

    def folder_of_user(self, name: str, uid: int) -> Path:
        """Make a folder for a volume that this user may write to."""
        folder = self._folder / name
        folder.mkdir()
        os.chown(folder, uid, uid)
        return folder

    @property
    def shared(self) -> Path:
        """A folder whose mounts containers can share."""
        return self._folder / "shared"

    @property
    def device(self) -> Path:
        """A FUSE device that every user may open."""
        return self._folder / "fuse"

    def _inside(self, *command: str, timeout_s: float = 240) -> Ran:
        assert self._holder is not None
        return run_command(["nsenter", f"--target={self._holder.pid}", "--mount", *command], timeout_s)

    def call(self, *arguments: str, timeout_s: float = 240) -> Ran:
        places = [f"--root={self._folder}/root", f"--runroot={self._running}"]
        settings = ["--cgroup-manager=cgroupfs", "--events-backend=file", "--storage-driver=overlay"]
        return self._inside("podman", *places, *settings, *arguments, timeout_s=timeout_s)

    def import_tree(self, tree: Path, name: str) -> None:
        archive = self._folder / "tree.tar"
        subprocess.run(["tar", "--create", "--file", archive, "--directory", tree, "."], check=True)
        self.call("import", "--quiet", str(archive), name).succeeded()
        archive.unlink()

    def build(self, base: str, context: Path, name: str) -> None:
        places = [f"--volume={place}:{place}:ro" for place in package_places()]
        self._downloads.mkdir(parents=True, exist_ok=True)
        places.append(f"--volume={self._downloads}:/root/.cache/pip")
        self.call(
            *(
                "build",
                "--layers=false",
                "--quiet",
                "--isolation=chroot",
                "--network=host",
                f"--build-arg=BASE={base}",
                *places,
            ),
            *("--pull=never", f"--file={context}/containers/Containerfile", f"--tag={name}", str(context)),
            timeout_s=900,
        ).succeeded()

    def start(self, name: str, image: str, *command: str, options: Sequence[str] = ()) -> None:
        self._names.append(name)
        self.call(
            "run", "--detach", f"--name={name}", "--network=host", *_LIMITS, *options, image, *command
        ).succeeded()

    def run(self, name: str, *command: str, timeout_s: float = 120) -> Ran:
        return self.call("exec", name, *command, timeout_s=timeout_s)

    def exit_code(self, name: str) -> int:
        return int(self.call("inspect", "--format={{.State.ExitCode}}", name).succeeded().output)

    def close(self) -> None:
        for name in reversed(self._names):
            self.call("rm", "--force", "--time=5", name)
        if self._holder is not None:
            self._holder.kill()
            self._holder.wait()
            assert self._holder.stdout is not None
            self._holder.stdout.close()
        for folder in (self._folder, self._running):
            shutil.rmtree(folder, ignore_errors=True)
