"""The documents name tests that hold their promises: those must exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEST = re.compile(r"`(t\d_\w+/(?:[\w/]+\.py)?)(?:::(\w+))?`")
QUESTIONS = 37
"""How many questions the specification of the service leaves open."""


def text_of(document: str) -> str:
    return (ROOT / "docs" / document).read_text()


def named_tests() -> list[tuple[str, str | None]]:
    found = TEST.findall(text_of("semantics.md") + text_of("fastio.md"))
    return sorted({(path, name or None) for path, name in found}, key=str)


@pytest.mark.parametrize(("path", "name"), named_tests())
def test_named_test_exists(path: str, name: str | None) -> None:
    file = ROOT / "tests" / path
    assert file.exists()
    if name is not None:
        assert f"def {name}(" in file.read_text()


def test_every_promise_of_the_tables_names_a_test() -> None:
    rows = [line for line in text_of("semantics.md").splitlines() if line.startswith("|")]
    assert all(TEST.search(row) for row in rows[2:])


def test_every_open_question_has_a_line_that_names_a_test() -> None:
    section = text_of("fastio.md").partition("\n## The open questions\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (\d+) \|(.*)\|$", section, re.MULTILINE)
    assert [int(number) for number, _ in rows] == list(range(1, QUESTIONS + 1))
    for number, row in rows:
        question, answer, played = (cell.strip() for cell in row.split(" | "))
        assert question.endswith("?"), number
        assert answer.endswith("."), number
        assert TEST.search(played), number
