"""Content on its way to the server and back, beside bare HTTP loops of the same bytes."""

import os
import random
from pathlib import Path

from scripts.benchmarks import bare
from scripts.benchmarks.workloads.base import MEBIBYTE, Bare, NotMeasured, Place, Readings, Unit, Workload
from scripts.benchmarks.workloads.clock import timed
from scripts.benchmarks.workloads.small_files import CONTENT, create


def write_large(path: Path, size_mib: int) -> None:
    block = random.Random(1).randbytes(MEBIBYTE)
    with open(path, "wb", buffering=0) as file:
        for number in range(size_mib):
            file.write(number.to_bytes(8, "big") + block[8:])


def _memory_kib(pid: int, field: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field))


def _reset_peak(pid: int) -> int:
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    return _memory_kib(pid, "VmRSS")


def upload_large(place: Place) -> Readings:
    """From the first write to the confirmation."""
    if place.confirm is None:
        raise NotMeasured("it does not tell when an upload is done")
    place.confirm()
    before_kib = _reset_peak(place.daemon_pid) if place.daemon_pid else 0
    with timed() as span:
        write_large(place.directory / "large", place.sizes.large_file_mib)
        place.confirm()
    readings = {"upload.large": span.rate(place.sizes.large_file_mib)}
    if place.daemon_pid:
        readings["upload.memory"] = (_memory_kib(place.daemon_pid, "VmHWM") - before_kib) / 1024
    return readings


def upload_small(place: Place) -> Readings:
    if place.confirm is None:
        raise NotMeasured("it does not tell when an upload is done")
    place.confirm()
    with timed() as span:
        create(place.directory, place.sizes.uploaded_files)
        place.confirm()
    return {"upload.small": span.rate(place.sizes.uploaded_files)}


def _put_large(place: Place) -> None:
    write_large(place.directory / "large", place.sizes.large_file_mib)


def read_cold(place: Place) -> Readings:
    buffer = bytearray(MEBIBYTE)
    total = 0
    with timed() as span, open(place.directory / "large", "rb", buffering=0) as file:  # some fetch it at open
        while count := file.readinto(buffer):
            total += count
    if total != place.sizes.large_file_mib * MEBIBYTE:
        raise OSError(f"{total} bytes came")
    return {"read.cold": span.rate(place.sizes.large_file_mib)}


def _put_far(place: Place) -> None:
    with open(place.directory / "far", "wb") as file:
        os.truncate(file.fileno(), place.sizes.far_file_mib * MEBIBYTE)


def read_far_end(place: Place) -> Readings:
    """The first byte, and 1 MiB at the far end, of a file nothing is cached of."""
    with timed() as span:  # with the open, in which some fetch the whole file
        descriptor = os.open(place.directory / "far", os.O_RDONLY)
        os.pread(descriptor, 1, 0)
    try:
        end = os.pread(descriptor, MEBIBYTE, (place.sizes.far_file_mib - 1) * MEBIBYTE)
    finally:
        os.close(descriptor)
    if end != bytes(MEBIBYTE):
        raise OSError("the far end is not what was written")
    return {"far.first_byte": span.seconds}


def bare_upload_large(place: Place, server: Bare) -> Readings:
    with bare.connected(server) as http, timed() as span:
        bare.upload_chunked(http, place.directory.name, place.sizes.large_file_mib * MEBIBYTE)
    return {"upload.large": span.rate(place.sizes.large_file_mib)}


def bare_upload_small(place: Place, server: Bare) -> Readings:
    """In batches, and one call for each file."""
    count, name = place.sizes.uploaded_files, place.directory.name
    with bare.connected(server) as http:
        with timed() as batched:
            bare.upload_batches(http, name, CONTENT, count)
        alone = max(1, count // 10)
        with timed() as single:
            bare.upload_single(http, name, CONTENT, alone)
    return {"upload.small": batched.rate(count), "upload.small_single": single.rate(alone)}


def bare_read_cold(place: Place, server: Bare) -> Readings:
    size = place.sizes.large_file_mib * MEBIBYTE
    with bare.connected(server) as http:
        node = bare.upload_chunked(http, f"{place.directory.name}-read", size)
    with timed() as span:
        bare.download_parallel(server, node, size)
    return {"read.cold": span.rate(place.sizes.large_file_mib)}


WORKLOADS = (
    Workload(
        "upload_large",
        {"upload.large": Unit.MEBIBYTES_PER_S, "upload.memory": Unit.MEBIBYTES},
        upload_large,
        on_disk=False,
        bare=bare_upload_large,
        large=True,
    ),
    Workload(
        "upload_small",
        {"upload.small": Unit.PER_SECOND, "upload.small_single": Unit.PER_SECOND},
        upload_small,
        on_disk=False,
        bare=bare_upload_small,
        large=True,
    ),
    Workload(
        "read_cold",
        {"read.cold": Unit.MEBIBYTES_PER_S},
        read_cold,
        _put_large,
        cold=True,
        on_disk=False,
        bare=bare_read_cold,
        large=True,
    ),
    Workload(
        "far_end",
        {"far.first_byte": Unit.SECONDS, "far.transferred": Unit.MEBIBYTES},
        read_far_end,
        _put_far,
        cold=True,
        on_disk=False,
        relayed=True,
        large=True,
    ),
)
