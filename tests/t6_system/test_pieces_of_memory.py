"""What the memory costs that pieces of content pass through."""

import platform
import subprocess
import sys

import pytest

COUNT_FAULTS = """
import os, resource
from mountfs.daemon.memory import keep_freed_pieces
if {keeps}:
    keep_freed_pieces()
source = os.open("/dev/zero", os.O_RDONLY)
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def pass_through():
    pieces = [os.read(source, size) for size in (2**20, 2**19, 2**20)]
pass_through()
before = faults()
for _ in range(100):
    pass_through()
print(faults() - before)
"""


def faults(*, keeps: bool) -> int:
    command = [sys.executable, "-c", COUNT_FAULTS.format(keeps=keeps)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="NOT TESTED: another C library")
def test_pieces_of_content_use_the_same_pages_again() -> None:
    assert faults(keeps=True) * 20 < faults(keeps=False)
