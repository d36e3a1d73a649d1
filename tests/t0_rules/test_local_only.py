"""Patterns of what stays here, as git reads them."""

import pytest

from mountfs.rules.local_only import LocalOnly

PATTERNS = ["# what builds make", "", "node_modules/", "*.o", "!keep.o", "/top", "docs/**/draft"]


@pytest.mark.parametrize(
    ("path", "matches"),
    [
        ("node_modules/", True),
        ("a/b/node_modules/", True),
        ("node_modules/x/y.js", True),
        ("node_modules", False),
        ("src/a.o", True),
        ("src/keep.o", False),
        ("top", True),
        ("below/top", False),
        ("docs/a/b/draft", True),
        ("docs/draft", True),
        ("src/a.c", False),
    ],
)
def test_patterns_match_as_in_gitignore(path: str, matches: bool) -> None:
    found = LocalOnly(PATTERNS).matches(path.rstrip("/").encode(), is_directory=path.endswith("/"))
    assert found == matches


def test_any_bytes_may_be_in_a_path() -> None:
    assert LocalOnly(["*.o"]).matches(b"\xff\n.o", is_directory=False)


def test_root_and_everything_without_patterns_travel() -> None:
    assert not LocalOnly(["*"]).matches(b"", is_directory=True)
    assert not LocalOnly(["# nothing", ""])
    assert not LocalOnly().matches(b"a", is_directory=False)
