"""Siblings are fetched only behind several readers who waited, in batches that stay within their bounds."""

from hypothesis import given
from hypothesis import strategies as st

from mountfs.model.ids import Ino
from mountfs.rules.prefetch_plan import FIRST_BATCH_FILES, FOLDERS_WATCHED, SiblingReads, choose

FOLDER = Ino(7)
SIBLINGS = st.dictionaries(st.integers(1, 100).map(Ino), st.integers(1, 50), max_size=40)


def waited(reads: SiblingReads, *files: int) -> list[int]:
    return [reads.waited(FOLDER, Ino(file)) for file in files]


def test_third_file_of_a_folder_begins_a_batch_and_the_next_is_twice_as_large() -> None:
    expected = [0, 0, FIRST_BATCH_FILES, 0, 0, 2 * FIRST_BATCH_FILES]
    assert waited(SiblingReads(), 11, 12, 13, 14, 15, 16) == expected


def test_one_file_read_often_begins_no_batch() -> None:
    assert waited(SiblingReads(), 11, 11, 11, 11, 12, 11) == [0] * 6


def test_files_of_different_folders_begin_no_batch() -> None:
    reads = SiblingReads()
    assert [reads.waited(Ino(folder), Ino(folder + 100)) for folder in range(1, 9)] == [0] * 8


def test_folder_that_was_not_read_for_long_is_forgotten() -> None:
    reads = SiblingReads()
    waited(reads, 11, 12)
    for folder in range(100, 100 + FOLDERS_WATCHED):
        reads.waited(Ino(folder), Ino(1))
    assert waited(reads, 13) == [0]


@given(SIBLINGS, st.integers(1, 100).map(Ino), st.integers(0, 40), st.integers(0, 500))
def test_choice_stays_within_its_bounds(sizes: dict[Ino, int], current: Ino, files: int, size: int) -> None:
    chosen = choose(sizes.items(), current, most_files=files, most_bytes=size)
    assert len(chosen) == len(set(chosen)) <= files
    assert sum(sizes[ino] for ino in chosen) <= size


def test_files_listed_behind_the_current_one_come_first() -> None:
    siblings = [(Ino(number), 1) for number in (5, 3, 9, 1, 7)]
    assert choose(siblings, Ino(5), most_files=4, most_bytes=100) == [5, 7, 9, 1]
