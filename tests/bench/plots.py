"""The plots of docs/benchmarks, from latest.json. Run by the baselines' Python, which has matplotlib.

python plots.py DIRECTORY
"""

import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

OURS, THEIRS = "#1a7f5a", "#9aa5b1"
STEPS = (
    *("#243b53", "#486581", "#829ab1", "#1a7f5a", "#2f9e78", "#3ebd93"),
    *("#7bc9a8", "#f0b429", "#de911d", "#ba2525", "#7b8794"),
)
SIDE_BY_SIDE = {
    "dynamodb": "DynamoDB: CPU µs an event (× against the first)",
    "firehose": "Firehose: CPU µs an event (× against the first)",
    "latency": "DynamoDB with latency: thousand events/s (× against the first)",
}


def side_by_side(latest: dict, path: Path) -> None:
    """One panel a scenario; bars of ours stand out, and each says its ratio to the first."""
    panels = [name for name in SIDE_BY_SIDE if any(run["scenario"] == name for run in latest["medians"])]
    if not panels:
        return
    runs = {name: [run for run in latest["medians"] if run["scenario"] == name] for name in panels}
    heights = [len(runs[name]) + 1 for name in panels]
    figure, axes = plt.subplots(
        len(panels), 1, figsize=(9, 0.42 * sum(heights) + 0.6), height_ratios=heights, squeeze=False
    )
    for axis, name in zip(axes[:, 0], panels, strict=True):
        is_rate = name == "latency"
        figures = [run["events_per_second"] / 1e3 if is_rate else run["cpu_us_per_event"] for run in runs[name]]
        first, longest = figures[0], max(figures)
        colours = [OURS if run["trial"].startswith("ours") else THEIRS for run in runs[name]]
        axis.barh([run["says"] for run in runs[name]], figures, color=colours, height=0.7)
        for row, value in enumerate(figures):
            ratio = value / first if is_rate else first / value
            told = f"{value:,.1f}" + (f"  ({ratio:.1f} ×)" if row else "")
            axis.text(value + longest * 0.01, row, told, va="center", fontsize=9)
        axis.set_title(SIDE_BY_SIDE[name], loc="left", fontsize=11, fontweight="bold")
        axis.set_xlim(0, longest * 1.16)
        _plain(axis)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def ladder(latest: dict, path: Path) -> None:
    """A stacked bar a sink: what each step adds."""
    ladders = latest.get("ladder") or {}
    if not ladders:
        return
    figure, axis = plt.subplots(figsize=(9, 0.9 * len(ladders) + 2.2))
    longest = max(sum(max(step["adds_us"], 0) for step in steps) for steps in ladders.values())
    names = [step["name"] for step in max(ladders.values(), key=len)]
    colours = dict(zip(names, STEPS, strict=False))
    for row, steps in enumerate(ladders.values()):
        left = 0.0
        for step in steps:
            width = max(step["adds_us"], 0)
            label = step["says"] if row == _first_longest(ladders) else None
            axis.barh(row, width, left=left, color=colours[step["name"]], height=0.6, label=label)
            if width > longest * 0.04:
                axis.text(left + width / 2, row, f"{width:.1f}", ha="center", va="center", color="white", fontsize=9)
            left += width
        axis.text(
            left + longest * 0.01, row, f"{steps[-1]['so_far_us']:.1f}", va="center", fontsize=10, fontweight="bold"
        )
    axis.set_yticks(range(len(ladders)), ladders)
    axis.set_xlim(0, longest * 1.1)
    axis.set_title("Where each microsecond goes: CPU µs an event", loc="left", fontsize=11, fontweight="bold")
    axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncol=3, fontsize=8, frameon=False)
    _plain(axis)
    figure.savefig(path, dpi=110, bbox_inches="tight")
    plt.close(figure)


def _first_longest(ladders: dict) -> int:
    lengths = [len(steps) for steps in ladders.values()]
    return lengths.index(max(lengths))


def _plain(axis) -> None:
    axis.invert_yaxis()
    axis.tick_params(left=False, labelsize=9)
    for side in ("top", "right", "left"):
        axis.spines[side].set_visible(False)


if __name__ == "__main__":
    directory = Path(sys.argv[1])
    read = json.loads((directory / "latest.json").read_text(encoding="utf-8"))
    side_by_side(read, directory / "side-by-side.png")
    ladder(read, directory / "ladder.png")
