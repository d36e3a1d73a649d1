"""What is told of a file in its free text leaves alone what others wrote there."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mountfs.rules.shared_attributes import TEXT_MOST, is_executable, with_executable


@pytest.mark.parametrize(
    ("text", "executable", "expected"),
    [
        ("", True, "[mountfs x]"),
        ("a user's words", True, "a user's words\n[mountfs x]"),
        ("a user's words\n[mountfs x]", False, "a user's words"),
        ("[mountfs x]", False, ""),
        ("[mountfs later=1 x]", False, "[mountfs later=1]"),
        ("[mountfs later=1]", True, "[mountfs later=1 x]"),
        ("[mountfs x]\nbehind", True, "[mountfs x]\nbehind\n[mountfs x]"),
        ("see [mountfs x]", True, "see [mountfs x]\n[mountfs x]"),
        ("long" * 512, True, "long" * 512),
    ],
)
def test_texts(text: str, executable: bool, expected: str) -> None:
    assert with_executable(text, executable) == expected


@given(st.text(max_size=300), st.booleans())
def test_what_is_told_is_read_and_can_be_taken_back(text: str, executable: bool) -> None:
    told = with_executable(text, executable)
    assert is_executable(told) == executable
    assert len(told) <= TEXT_MOST
    if not is_executable(text):
        assert with_executable(told, False) == text
