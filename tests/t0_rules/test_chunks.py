"""Chunks cover the file exactly and keep to every limit of the workspace."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mountfs.model.errors import FileTooBig
from mountfs.model.remote import UploadLimits
from mountfs.rules.chunks import PREFERRED_BYTES, chunk_bytes, missing

MIB = 1024 * 1024
GIB = 1024 * MIB


def limits(least: int = MIB, most: int = 100 * MIB, count: int = 550, file: int = 25 * GIB) -> UploadLimits:
    return UploadLimits(4 * MIB, least, most, count, file, 3)


LIMITS = st.builds(
    limits, st.integers(1, 50), st.integers(50, 500), st.integers(1, 40), st.integers(1, 30_000)
)


@given(st.integers(0, 30_000), LIMITS)
def test_chunks_cover_the_file_within_the_limits(size: int, allowed: UploadLimits) -> None:
    try:
        chunk = chunk_bytes(size, allowed)
    except FileTooBig:
        assert size > allowed.file_max_bytes or size > allowed.chunk_max_bytes * allowed.chunks_max
        return
    assert size <= allowed.file_max_bytes
    chunks = missing(size, chunk, {})
    assert [one.order for one in chunks] == list(range(1, len(chunks) + 1))
    assert len(chunks) <= allowed.chunks_max
    assert b"".join(bytes(one.end - one.start) for one in chunks) == bytes(size)
    assert all(before.end == after.start for before, after in pairwise(chunks))
    sizes = [one.end - one.start for one in chunks]
    assert all(allowed.chunk_min_bytes <= length <= allowed.chunk_max_bytes for length in sizes[:-1])
    assert all(0 < length <= allowed.chunk_max_bytes for length in sizes)


@pytest.mark.parametrize(
    ("size", "allowed", "expected"),
    [
        (5 * MIB, limits(), PREFERRED_BYTES),
        (25 * GIB, limits(), -(-25 * GIB // 550)),
        (5 * MIB, limits(most=4 * MIB), 4 * MIB),
        (5 * MIB, limits(least=16 * MIB), 16 * MIB),
    ],
)
def test_size_of_chunks(size: int, allowed: UploadLimits, expected: int) -> None:
    assert chunk_bytes(size, allowed) == expected


@pytest.mark.parametrize("allowed", [limits(file=GIB), limits(most=MIB, count=GIB // MIB)])
def test_too_big_a_file_is_refused_with_the_limit(allowed: UploadLimits) -> None:
    assert chunk_bytes(GIB, allowed) > 0
    with pytest.raises(FileTooBig, match=str(GIB)):
        chunk_bytes(GIB + 1, allowed)


@given(st.integers(0, 1000), st.integers(1, 100), st.dictionaries(st.integers(-1, 30), st.integers(0, 110)))
def test_what_arrived_in_full_is_not_sent_again(size: int, chunk: int, arrived: dict[int, int]) -> None:
    every = missing(size, chunk, {})
    full = {one.order for one in every if arrived.get(one.order) == one.end - one.start}
    assert missing(size, chunk, arrived) == [one for one in every if one.order not in full]
    assert missing(size, chunk, {one.order: one.end - one.start for one in every}) == []
