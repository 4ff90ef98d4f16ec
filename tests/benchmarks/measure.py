"""Figures, and how they are taken: in turns with their yardstick, medians over the turns."""

from __future__ import annotations

import os
import platform
import re
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

TICKS = os.sysconf("SC_CLK_TCK")


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One figure, `unit` per second where nothing else is said, beside its yardstick.

    `floor` is the ratio (or, with `is_ceiling`, the value) that was set as a goal. `notes` are
    further numbers, by name.
    """

    group: str
    what: str
    ours: float
    unit: str = "/s"
    yardstick: float | None = None
    yardstick_name: str | None = None
    floor: float | None = None
    is_ceiling: bool = False
    ms_p50: float | None = None
    ms_p99: float | None = None
    notes: dict[str, float] = {}

    @property
    def ratio(self) -> float | None:
        """Ours as a share of the yardstick."""
        return self.ours / self.yardstick if self.yardstick else None

    @property
    def holds(self) -> bool | None:
        """Whether the goal was reached; null where there is none."""
        if self.floor is None:
            return None
        if self.is_ceiling:
            return self.ours <= self.floor
        return (self.ratio if self.ratio is not None else self.ours) >= self.floor


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """Where it ran."""

    processor: str
    cores: int
    memory_gib: int
    system: str
    python: str
    postgresql: str
    settings: dict[str, str]
    client: str

    @staticmethod
    def here(postgresql: str, settings: dict[str, str], client: str) -> Machine:
        """This one."""
        cpuinfo = Path("/proc/cpuinfo").read_text()
        model = re.search(r"^model name\s*: (.+)$", cpuinfo, re.MULTILINE)
        pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        return Machine(
            processor=model[1] if model else platform.machine(),
            cores=os.cpu_count() or 1,
            memory_gib=round(pages / 1024**3),
            system=f"{platform.system()} {platform.release().split('-')[0]}",
            python=platform.python_version(),
            postgresql=postgresql,
            settings=settings,
            client=client,
        )


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that one run has found."""

    at: str
    commit: str
    machine: Machine
    seconds: float
    rounds: int
    rows: list[Row]


class Turns(msgspec.Struct, frozen=True):
    """How long one turn is, and how many of each there are."""

    seconds: float
    rounds: int

    def of(self, *measures: Callable[[], float]) -> list[float]:
        """The median of each, measured in turns after one turn of each that does not count."""
        for measure in measures:
            measure()
        rounds = [[measure() for measure in measures] for _ in range(self.rounds)]
        return [statistics.median(found) for found in zip(*rounds, strict=True)]


def cpu_seconds(pid: int) -> float:
    """What a process has used of processors so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def family_cpu_seconds(pid: int) -> float:
    """The same of a process, its living children and those it has waited for."""
    total = 0.0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = stat.read_text()
        except OSError:
            continue
        number, fields = int(text.split(" ", 1)[0]), text.rpartition(")")[2].split()
        if number == pid:
            total += sum(map(int, fields[11:15])) / TICKS
        elif int(fields[1]) == pid:
            total += (int(fields[11]) + int(fields[12])) / TICKS
    return total


def resident_mib(pid: int) -> float:
    """How much memory a process holds."""
    found = re.search(r"^VmRSS:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) / 1024


def say(text: str) -> None:
    """Tell whoever waits what happens."""
    print(f"… {text}", file=sys.stderr, flush=True)
