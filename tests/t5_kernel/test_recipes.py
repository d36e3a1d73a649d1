"""The recipes of docs/semantics.md, run as they stand there, on two mounts at once."""

import re
import sys
from pathlib import Path

import pytest

from tests.t5_kernel.mounted import PATIENCE_S, World

pytestmark = pytest.mark.kernel

DOCUMENT = Path(__file__).parents[2] / "docs" / "semantics.md"
RECIPE = re.compile(r"<!-- recipe: (\w+) -->\n```\w+\n(.*?)```", re.DOTALL)
RECIPES = dict(RECIPE.findall(DOCUMENT.read_text()))
INTERPRETERS = {"sh": ["sh"], "python": [sys.executable, "-W", "ignore"]}
ROUNDS = 6


def test_document_has_a_recipe_for_each() -> None:
    assert RECIPES.keys() == INTERPRETERS.keys()


@pytest.mark.parametrize("language", sorted(INTERPRETERS))
@pytest.mark.long
def test_checkpoint_recipe_loses_no_step(world: World, tmp_path: Path, language: str) -> None:
    recipe = tmp_path / "recipe"
    recipe.write_text(RECIPES[language])
    mounts = [world.mount("first"), world.mount("second")]
    loop = f'i=0; while [ $i -lt {ROUNDS} ]; do "$@" || exit 1; i=$((i + 1)); done'
    programs = [
        world.start(
            *("env", f"STATE={mount / 'state'}", "sh", "-c", loop, "sh"), *INTERPRETERS[language], recipe
        )
        for mount in mounts
        for _ in range(2)
    ]
    assert [program.wait(PATIENCE_S) for program in programs] == [0] * 4
    for mount in mounts:
        said = world.run("env", f"STATE={mount / 'state'}", *INTERPRETERS[language], recipe)
        assert said == ""
    assert (mounts[1] / "state").read_text() == f"{4 * ROUNDS + 2}\n"
