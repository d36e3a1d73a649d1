"""Names: nothing from the remote leaves its folder, nothing that it would not keep is sent to it."""

from contextlib import nullcontext
from datetime import datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mountfs.model.errors import FileExists, InvalidArgument, NameRefused, NameTooLong
from mountfs.rules.names import (
    NAME_MAX_BYTES,
    check_local,
    check_suffix,
    conflict_name,
    folded,
    free_mark,
    from_remote,
    is_folded,
    is_safe_from_remote,
    mark_of,
    to_remote,
)

WHEN = datetime(2026, 5, 18, 19, 26, 25)
NEARLY_ESCAPED = st.characters(min_codepoint=0xEFF0, max_codepoint=0xF110) | st.sampled_from("a.\n\x85/ ")
PLAIN = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/"), min_size=1, max_size=60
)


@pytest.mark.parametrize("name", [b"a", b"...", b".hidden", b" ", b"\xff\xfe", b"new\nline", b"n" * 255])
def test_programs_may_use_any_byte_but_slash_and_nul(name: bytes) -> None:
    check_local(name)


@pytest.mark.parametrize(
    ("name", "error"),
    [
        (b".", FileExists),
        (b"..", FileExists),
        (b"", InvalidArgument),
        (b"a/b", InvalidArgument),
        (b"a\0b", InvalidArgument),
        (b"n" * 256, NameTooLong),
        ("\u2603".encode() * 86, NameTooLong),
    ],
)
def test_what_is_no_name_here(name: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        check_local(name)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        (b"plain", "plain"),
        (b"new\nline", "new\uf00aline"),
        (b"\xff.txt", "\uf0ff.txt"),
        ("\x85".encode(), "\uf0c2\uf085"),
        ("\uf00a".encode(), "\uf0ef\uf080\uf08a"),
        ("\uf041".encode(), "\uf041"),
        ("\uf02e".encode(), "\uf02e"),
        ("\uf02f".encode(), "\uf02f"),
        (b"trailing. ", "trailing. "),
        (b"\xff" * 255, "\uf0ff" * 255),
    ],
)
def test_what_the_remote_would_refuse_is_escaped_and_nothing_else(name: bytes, told: str) -> None:
    assert to_remote(name) == told
    assert from_remote(told) == name


LOCAL = st.binary(min_size=1, max_size=300) | st.text(NEARLY_ESCAPED, min_size=1, max_size=100).map(
    str.encode
)


@given(LOCAL)
def test_what_is_sent_comes_back(name: bytes) -> None:
    try:
        check_local(name)
    except (FileExists, InvalidArgument, NameTooLong):
        return
    told = to_remote(name)
    assert from_remote(told) == name
    assert is_safe_from_remote(told)
    assert len(told) <= 255


@given(st.text(max_size=300) | st.text(NEARLY_ESCAPED, max_size=300))
@example("\uf02e")
@example("\uf02e\uf02e")
@example("a\uf02fb")
@example("..")
@example("../../etc/passwd")
@example("a\0")
@example("\ud800")
@example("\u2603" * 86)
def test_a_safe_name_is_one_that_a_program_could_have_given(name: str) -> None:
    if is_safe_from_remote(name):
        check_local(from_remote(name))
        assert to_remote(from_remote(name), mark_of(name)) == name or "\uf100" < name[-1] <= "\uf1ff"
        assert from_remote(to_remote(from_remote(name))) == from_remote(name)


@pytest.mark.parametrize(
    "name", ["", ".", "..", "/", "a/b", "../x", "a\0", "a\nb", "\x1b[2J", "\x7f", "\ud800", "n" * 256]
)
def test_unsafe_names(name: str) -> None:
    assert not is_safe_from_remote(name)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (b"report.txt", b"report (conflict here 2026-05-18 192625).txt"),
        (b"archive.tar.gz", b"archive.tar (conflict here 2026-05-18 192625).gz"),
        (b"Makefile", b"Makefile (conflict here 2026-05-18 192625)"),
        (b".hidden", b".hidden (conflict here 2026-05-18 192625)"),
        (b"dot.", b"dot (conflict here 2026-05-18 192625)."),
    ],
)
def test_conflict_copies_keep_their_suffix(name: bytes, expected: bytes) -> None:
    assert conflict_name(name, "here", WHEN) == expected


@given(PLAIN, st.integers(0, 1000), st.integers(0, 1000))
def test_another_attempt_is_another_name(name: str, first: int, second: int) -> None:
    copies = [conflict_name(name.encode(), "here", WHEN, attempt) for attempt in (first, second)]
    assert (copies[0] == copies[1]) == (first == second)
    assert name.encode() not in copies


@given(st.integers(1, 255), st.integers(0, 20))
def test_conflict_name_of_a_long_name_is_a_name(length: int, attempt: int) -> None:
    name = b"n" * (length - 4) + b".txt" if length > 4 else b"n" * length
    check_local(conflict_name(name, "host", WHEN, attempt))


def test_conflict_name_of_a_long_name_can_be_sent() -> None:
    for length in (80, 81, 82):
        copy = conflict_name(b"n" * (length - 80) + "\u2603".encode() * 80 + b".txt", "host", WHEN)
        assert is_safe_from_remote(to_remote(copy))


def test_conflict_name_of_a_long_suffix_is_a_name() -> None:
    check_local(conflict_name(b"a." + b"s" * (NAME_MAX_BYTES - 2), "host", WHEN))


def test_conflict_name_with_a_long_host_is_a_name() -> None:
    check_local(conflict_name(b"report.txt", "h" * NAME_MAX_BYTES, WHEN))


@pytest.mark.parametrize(
    ("name", "refused"),
    [("a.exe", True), ("A.EXE", True), ("exe", False), ("a.exe.txt", False), (".exe", True)],
)
def test_suffix_that_the_workspace_refuses(name: str, refused: bool) -> None:
    with pytest.raises(NameRefused, match=r"\.exe") if refused else nullcontext():
        check_suffix(name, frozenset({"exe"}))


@pytest.mark.parametrize(
    ("name", "other"),
    [
        (b"README", b"readme"),
        ("\u00e4".encode(), "a\u0308".encode()),
        ("\u00c4.TXT".encode(), "a\u0308.txt".encode()),
        ("stra\u00dfe".encode(), b"STRASSE"),
        (b"\xffA", b"\xffa"),
    ],
)
def test_names_that_may_be_taken_for_one_are_alike(name: bytes, other: bytes) -> None:
    assert folded(name) == folded(other)
    assert name != other
    assert folded(to_remote(name, 1).encode()) != folded(to_remote(other).encode())


@given(LOCAL, st.integers(0, 255))
def test_marked_name_comes_back(name: bytes, mark: int) -> None:
    try:
        check_local(name)
    except (FileExists, InvalidArgument, NameTooLong):
        return
    told = to_remote(name, mark)
    assert from_remote(told) == name
    assert mark_of(told) == mark
    assert is_safe_from_remote(told)
    assert is_folded(folded(name).encode("utf-8", "surrogateescape"))


def test_free_mark() -> None:
    assert [free_mark(set()), free_mark({0, 2}), free_mark({1})] == [0, 1, 0]
    with pytest.raises(NameRefused):
        free_mark(set(range(256)))
