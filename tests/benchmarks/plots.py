"""Pictures of a run and of all runs, as PNG."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tests.benchmarks.measure import Row, Run

mpl.use("Agg")
mpl.rcParams |= {
    "figure.figsize": (9, 4.5),
    "figure.dpi": 110,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "font.size": 9,
}
OURS, THEIRS = "#1f5fa8", "#b8bcc4"


def draw(run: Run, runs: list[Run], folder: Path) -> dict[str, str]:
    """Draw what there are figures for; returns what each picture shows, by its name."""
    pictures = {
        "beside": _beside(run.rows, folder / "beside.png"),
        "latency": _latency(run.rows, folder / "latency.png"),
        "growth": _growth(run.rows, folder / "growth.png"),
        "history": _history(runs, folder / "history.png"),
    }
    return {name: text for name, text in pictures.items() if text}


def _beside(rows: list[Row], file: Path) -> str | None:
    """Rates beside their yardsticks."""
    chosen = [r for r in rows if r.floor and r.yardstick and "pressure" not in r.group]
    if not chosen:
        return None
    figure, axes = plt.subplots()
    places = range(len(chosen))
    axes.barh([p + 0.2 for p in places], [r.ours for r in chosen], 0.38, color=OURS, label="ours")
    yardsticks = [r.yardstick or 0 for r in chosen]
    axes.barh([p - 0.2 for p in places], yardsticks, 0.38, color=THEIRS, label="yardstick")
    for place, row in zip(places, chosen, strict=True):
        axes.text(row.ours, place + 0.2, f" {row.ratio:.2f} of {row.yardstick_name}", va="center")
    axes.set_yticks(list(places), [row.what for row in chosen])
    axes.set_xlabel("per second")
    axes.set_xlim(right=1.25 * max(max(r.ours, r.yardstick or 0) for r in chosen))
    axes.legend(loc="lower right")
    return _saved(figure, file, "Rates beside their yardsticks, measured in turns")


def _latency(rows: list[Row], file: Path) -> str | None:
    """Latency by callers."""
    chosen = [row for row in rows if "callers, each waits" in row.what]
    if not chosen:
        return None
    figure, axes = plt.subplots()
    callers = [int(row.what.split()[1]) for row in chosen]
    _line(axes, callers, [row.ms_p50 or 0 for row in chosen], "p50", OURS)
    _line(axes, callers, [row.ms_p99 or 0 for row in chosen], "p99", "#c2571a")
    axes.set_xscale("log", base=2)
    axes.set_xticks(callers, [str(count) for count in callers])
    axes.set_ylim(0, 1.1 * max(row.ms_p99 or 0 for row in chosen))
    axes.set_xlabel("callers, each waits for its answer")
    axes.set_ylabel("ms")
    right = axes.twinx()
    right.plot(callers, [row.ours for row in chosen], color=THEIRS, marker="s")
    right.set_ylabel("spends per second (grey)")
    right.set_ylim(bottom=0)
    right.grid(visible=False)
    return _saved(figure, file, "Latency of a spend over HTTP by the number of callers")


def _growth(rows: list[Row], file: Path) -> str | None:
    """Rates by the length of the history."""
    kinds = {
        kind: [r for r in rows if r.group == "growth" and r.what.startswith(f"{kind}s with")]
        for kind in ("spend", "balance")
    }
    if not all(kinds.values()):
        return None
    figure, axes = plt.subplots()
    for (kind, found), color in zip(kinds.items(), (OURS, "#2f8f5b"), strict=True):
        _line(axes, [r.notes["events"] for r in found], [r.ours for r in found], f"{kind}s", color)
    axes.set_xscale("log")
    axes.set_ylim(0, 1.2 * max(row.ours for found in kinds.values() for row in found))
    axes.set_xlabel("events in the log")
    axes.set_ylabel("per second")
    return _saved(figure, file, "Spends and balance reads by the length of the history")


def _history(runs: list[Run], file: Path) -> str | None:
    """Ratios of all recorded runs."""
    names = dict.fromkeys(
        row.what for run in runs for row in run.rows if row.floor is not None and row.ratio
    )
    figure, axes = plt.subplots()
    for name in names:
        points = [
            (number, row.ratio)
            for number, run in enumerate(runs)
            for row in run.rows
            if row.what == name and row.ratio
        ]
        axes.plot([p[0] for p in points], [p[1] for p in points], marker="o", label=name)
    axes.set_xticks(range(len(runs)), [run.at[:10] for run in runs], rotation=30)
    axes.set_ylabel("ratio to the yardstick of the same run")
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=7)
    return _saved(figure, file, "Ratios of the recorded runs")


def _line(axes: Axes, x: list[float] | list[int], y: list[float], label: str, color: str) -> None:
    axes.plot(x, y, marker="o", label=label, color=color)
    axes.legend(loc="upper left")


def _saved(figure: Figure, file: Path, title: str) -> str:
    figure.suptitle(title)
    figure.tight_layout()
    figure.savefig(file, metadata={"Software": None})
    plt.close(figure)
    return title
