"""Builds the C extension of the kernel side; everything else is in pyproject.toml.

The extension is optional: without a compiler or libfuse's headers the package installs and mounts, and
`flock` stays local to the host.
"""

import subprocess

from setuptools import Extension, setup


def pkg_config(*request: str) -> list[str]:
    try:
        found = subprocess.run(  # noqa: S603 - our own command
            ["pkg-config", *request, "fuse3"],  # noqa: S607 - of whichever toolchain builds
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return []
    return found.stdout.split()


setup(
    ext_modules=[
        Extension(
            "mountfs.kernel._extras",
            sources=[
                "mountfs/kernel/_extras.c",
                "mountfs/kernel/_device.c",
                "mountfs/kernel/_files.c",
                "mountfs/kernel/_file_parts.c",
                "mountfs/kernel/_immediate.c",
                "mountfs/kernel/_locks.c",
                "mountfs/kernel/_notices.c",
                "mountfs/kernel/_ranges.c",
                "mountfs/kernel/_set_id.c",
            ],
            depends=[
                "mountfs/kernel/_device.h",
                "mountfs/kernel/_files.h",
                "mountfs/kernel/_file_parts.h",
                "mountfs/kernel/_immediate.h",
                "mountfs/kernel/_locks.h",
                "mountfs/kernel/_notices.h",
                "mountfs/kernel/_ranges.h",
                "mountfs/kernel/_set_id.h",
                "mountfs/kernel/_requests.h",
            ],
            extra_compile_args=[*pkg_config("--cflags"), "-Wall", "-Wextra"],
            extra_link_args=pkg_config("--libs") or ["-lfuse3"],
            optional=True,
        )
    ]
)
