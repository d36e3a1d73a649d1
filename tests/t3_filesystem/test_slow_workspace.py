"""However slow the workspace answers, and in whatever order: it gets what is here, and nothing else.

`scripts/torture-model` runs many more seeds.
"""

import tempfile
from pathlib import Path

import pytest

from tests.t3_filesystem import slow_runs


@pytest.mark.parametrize("writers", [1, 2])
@pytest.mark.parametrize("seed", range(8))
def test_slow_answers_change_nothing_of_the_outcome(seed: int, writers: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        slow_runs.run(Path(folder), seed, slow_runs.plan(seed, writers=writers), writers=writers)
