"""Charts of a result, as SVG: the one module that runs in the environment that has matplotlib.

Usage: python -m scripts.benchmarks.charts RESULT.json FOLDER
"""

import json
import re
import sys
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib as mpl

mpl.use("svg")
from matplotlib import pyplot as plt

CHARTS = {
    "small-files": ("Small files, one process: µs each (lower is better)", r"small\.\w+"),
    "open-file": ("A cached open file: MiB/s (higher is better)", r"file\.\w+"),
    "programs": ("Programs: seconds (lower is better)", r"(git|tar|grep|pip)\.\w+"),
    "uploads": (
        "Until confirmed, and cold reads (higher is better)",
        r"(upload\.(large|small|small_single)|read\.\w+)",
    ),
    "delay": ("Round-trip delay of the server: µs each (lower is better)", r"delayed\.\w+@\d+ms"),
    "far-small-files": (
        "Small files, the server far away: µs each (lower is better)",
        r"small\.\w+@[1-9]\d*ms",
    ),
    "far-programs": (
        "Programs, the server far away: seconds (lower is better)",
        r"(git|tar|grep|pip)\.\w+@[1-9]\d*ms",
    ),
}
"""By name: the title, and which metrics are in it."""


def draw(result: dict[str, Any], folder: Path) -> list[Path]:
    """Draw what the result has samples for; return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    mpl.rcParams["svg.hashsalt"] = "bench"
    drawn = []
    for name, (title, wanted) in CHARTS.items():
        metrics = [metric for metric in sorted(result["samples"]) if re.fullmatch(wanted, metric)]
        if metrics:
            drawn.append(folder / f"bench-{name}.svg")
            _bars(result["samples"], title, metrics, drawn[-1])
    return drawn


def _bars(samples: dict[str, dict[str, list[float]]], title: str, metrics: list[str], path: Path) -> None:
    """A group of bars for each metric, a colour for each system; the whiskers are least and most."""
    systems = sorted({system for metric in metrics for system in samples[metric]}, key=_order)
    figure, axes = plt.subplots(figsize=(max(7, 1.8 * len(metrics) + 2), 4))
    width = 0.84 / len(systems)
    for place, system in enumerate(systems):
        found = [
            (at, samples[metric][system]) for at, metric in enumerate(metrics) if system in samples[metric]
        ]
        heights = [median(values) for _, values in found]
        below = [max(0.0, height - min(values)) for height, (_, values) in zip(heights, found, strict=True)]
        above = [max(0.0, max(values) - height) for height, (_, values) in zip(heights, found, strict=True)]
        across = [at + (place - (len(systems) - 1) / 2) * width for at, _ in found]
        axes.bar(across, heights, width, yerr=[below, above], label=system, error_kw={"linewidth": 0.7})
    axes.set_yscale("log")
    axes.set_xticks(range(len(metrics)), metrics)
    axes.set_title(title, fontsize=10)
    axes.tick_params(labelsize=8)
    axes.legend(fontsize=7, ncols=2)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def _order(system: str) -> tuple[int, str]:
    first = ("mountfs", "mountfs-no-passthrough", "ext4", "bare-http")
    return (first.index(system) if system in first else len(first), system)


if __name__ == "__main__":
    draw(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))
