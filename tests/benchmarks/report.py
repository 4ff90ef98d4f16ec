"""The table for the terminal, and what is kept: `docs/benchmarks/`, `docs/performance.md`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec

from tests.benchmarks.measure import Machine, Row, Run
from tests.benchmarks.prose import GAPS, HOW, INTRODUCTION

DOCS = Path(__file__).resolve().parent.parent.parent / "docs"
RUNS = DOCS / "benchmarks"
HISTORY = RUNS / "history.jsonl"
LATEST = RUNS / "latest.json"


def print_table(run: Run) -> None:
    """Every row, group by group."""
    print(f"\n{described(run.machine)}\n{_settings(run)}\n")
    for group, rows in grouped(run.rows):
        print(
            f"{group}\n{'':58}{'ours':>12}{'yardstick':>12}{'ratio':>7}{'goal':>8}{'p50':>8}{'p99':>8}"
        )
        for row in rows:
            print(_line(row))
        print()


def _line(row: Row) -> str:
    return (
        f"  {row.what[:55]:56}{number(row.ours):>12}"
        f"{number(row.yardstick):>12}{ratio(row):>7}{goal(row):>8}"
        f"{number(row.ms_p50):>8}{number(row.ms_p99):>8}  "
        f"{'' if row.unit == '/s' else row.unit}{row.yardstick_name or ''}"
    )


def record(run: Run) -> None:
    """Keep the run: the newest whole, of the others what history needs; then write the pages."""
    RUNS.mkdir(exist_ok=True)
    kept = _merged(run)
    LATEST.write_bytes(msgspec.json.format(msgspec.json.encode(kept), indent=1) + b"\n")
    with HISTORY.open("ab") as file:
        file.write(msgspec.json.encode(run) + b"\n")
    write_pages()


def _merged(run: Run) -> Run:
    """Groups that this run has not measured stay as they were."""
    if not LATEST.exists():
        return run
    before = msgspec.json.decode(LATEST.read_bytes(), type=Run)
    groups = {row.group for row in run.rows}
    old = [row for row in before.rows if row.group not in groups]
    return msgspec.structs.replace(run, rows=[*run.rows, *old])


def write_pages() -> None:
    """The pages and pictures anew, from what was kept."""
    from tests.benchmarks import plots

    run = msgspec.json.decode(LATEST.read_bytes(), type=Run)
    runs = [msgspec.json.decode(line, type=Run) for line in HISTORY.read_bytes().splitlines()]
    pictures = plots.draw(run, runs, RUNS)
    (DOCS / "performance.md").write_text(_performance(run, pictures))
    (DOCS / "benchmarks.md").write_text(_benchmarks(run, runs, pictures))


def _performance(run: Run, pictures: dict[str, str]) -> str:
    parts = [
        "# Performance",
        INTRODUCTION,
        f"Measured {run.at[:10]} on {described(run.machine)} {_settings(run)}",
        *_picture(pictures, "beside"),
        *_tables(run.rows, only=("engine", "HTTP", "replay", "costs")),
        "## Latency",
        *_picture(pictures, "latency"),
        "## Under pressure",
        *_tables(run.rows, only=("pressure", "pressure, long history")),
        "## As it grows",
        *_picture(pictures, "growth"),
        *_tables(run.rows, only=("growth",)),
        "## Beside what else one would build it with",
        *_tables(run.rows, only=("peers",)),
        "## How it is fast",
        HOW,
        "## What is not measured",
        GAPS,
    ]
    return "\n\n".join(parts) + "\n"


def _benchmarks(run: Run, runs: list[Run], pictures: dict[str, str]) -> str:
    settings = ", ".join(f"`{name} = {value}`" for name, value in run.machine.settings.items())
    parts = [
        "# Benchmarks",
        "`make bench` prints what follows and ends with an error when a ledger does not add up "
        "afterwards: each one is folded from its log, with all equations, positions and rows. "
        "`make bench ARGS=--help` lists the parts; `--record` adds a run to this page and to "
        "[performance](performance.md). Figures are medians of turns, each taken in turns with "
        "its yardstick: a ratio holds when a machine's speed drifts, a rate does not.",
        f"PostgreSQL's settings: {settings}.",
        *_tables(run.rows),
        "## History",
        *_picture(pictures, "history"),
        _history_table(runs),
    ]
    return "\n\n".join(parts) + "\n"


def _picture(pictures: dict[str, str], name: str) -> list[str]:
    return [f"![{pictures[name]}](benchmarks/{name}.png)"] if name in pictures else []


def _tables(rows: Iterable[Row], only: tuple[str, ...] | None = None) -> list[str]:
    return [
        _table(group, found)
        for group, found in grouped(rows)
        if found and (only is None or group in only)
    ]


def _table(group: str, rows: list[Row]) -> str:
    lines = [
        f"| {group} | ours | yardstick | ratio | goal | p50 ms | p99 ms | |",
        "|---|--:|--:|--:|--:|--:|--:|---|",
    ]
    for row in rows:
        unit = "" if row.unit == "/s" else f" {row.unit}"
        beside = f"{number(row.yardstick)} {row.yardstick_name or ''}".strip()
        cells = [row.what, f"{number(row.ours)}{unit}", beside, ratio(row), goal(row)]
        cells += [number(row.ms_p50), number(row.ms_p99), _notes(row)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _history_table(runs: list[Run]) -> str:
    lines = ["| when | at | what | ours | ratio |", "|---|---|---|--:|--:|"]
    for run in runs:
        for row in run.rows:
            if row.floor is not None:
                cells = [run.at[:16].replace("T", " "), run.commit, row.what]
                cells += [number(row.ours), ratio(row)]
                lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _notes(row: Row) -> str:
    return ", ".join(f"{name}: {number(value)}" for name, value in row.notes.items())


def grouped(rows: Iterable[Row]) -> list[tuple[str, list[Row]]]:
    """Rows by group, in the order of their first ones."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.group, []).append(row)
    return list(groups.items())


def described(machine: Machine) -> str:
    """The machine in one sentence."""
    return (
        f"{machine.cores} processors ({machine.processor}), {machine.memory_gib} GiB, "
        f"{machine.system}, Python {machine.python}, PostgreSQL {machine.postgresql} with fsync "
        f"on; the load ({machine.client}), the ledger and PostgreSQL share them."
    )


def _settings(run: Run) -> str:
    return f"Medians of {run.rounds} turns of {run.seconds:g} s."


def number(value: float | None) -> str:
    """As people read it."""
    if value is None:
        return ""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def ratio(row: Row) -> str:
    """Ours as a share of the yardstick."""
    return "" if row.ratio is None else f"{row.ratio:.2f}"


def goal(row: Row) -> str:
    """The goal, and whether it was reached."""
    if row.floor is None:
        return ""
    sign = "≤" if row.is_ceiling else "≥"
    return f"{sign} {row.floor:g} {'✓' if row.holds else '✗'}"
