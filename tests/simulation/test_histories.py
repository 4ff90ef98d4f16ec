"""Histories of the whole system in virtual time: all of them lawful, each of them repeatable."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.simulation import running
from tests.simulation.history import Failed, History, Summary
from tests.simulation.running import Total, be_quiet, play, run_histories
from tests.simulation.tables import EventRow, Tables

FEW = range(40)
MANY = range(1_000, 1_000 + running.ENOUGH)


def total_of(seeds: range) -> Total:
    """What came of these histories."""
    be_quiet()
    total = Total()
    for result in play(list(seeds)):
        assert isinstance(result, Summary), result
        total.add(result)
    return total


def test_histories_are_lawful() -> None:
    """No judge objects, and the histories are about something."""
    total = total_of(FEW)
    assert total.histories == len(FEW)
    assert {"succeeded", "failed", "expired"} <= total.generations.keys()


@pytest.mark.slow
def test_every_kind_of_fault_strikes_and_is_survived() -> None:
    """No judge objects, although everything that can go wrong did."""
    assert total_of(MANY).never_fired == []


@pytest.mark.parametrize("seed", [3, 4])
def test_a_seed_is_a_history(seed: int) -> None:
    """The same seed gives the same steps, each time."""
    be_quiet()
    assert History(seed).run() == History(seed).run()


def test_no_order_is_left_to_chance() -> None:
    """The same seed gives the same steps whatever order this Python gives its sets."""
    program = (
        "from tests.simulation.history import History;"
        "print([History(seed).run().digest for seed in (3, 4)])"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", program],
            env=os.environ | {"PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    }
    assert len(digests) == 1


def test_seeds_are_different_histories() -> None:
    """Each seed is another one."""
    be_quiet()
    assert len({History(seed).run().digest for seed in range(8)}) == 8


class LosesRows(Tables):
    """A planted bug: some event is never written."""

    def put_events(self, rows: list[EventRow]) -> None:
        """All but the ninth."""
        super().put_events([row for row in rows if row.position != 9])


def test_a_failure_can_be_had_again() -> None:
    """A failing seed fails alike each time, and says how it came to that."""
    first, second = failure_of(LosesRows), failure_of(LosesRows)
    assert first == second
    assert "make simulate SEED=8" in first
    assert "credits" in first


def failure_of(make_tables: Callable[..., Tables]) -> str:
    """What a broken history of one seed says."""
    be_quiet()
    with pytest.raises(Failed) as failure:
        History(8, make_tables=make_tables).run()
    return str(failure.value)


def test_a_run_on_several_cores_is_the_same_run() -> None:
    """Which process plays a seed does not matter."""
    alone = run_histories(0, histories=12, seconds=None, cores=1)
    together = run_histories(0, histories=12, seconds=None, cores=2)
    assert alone.histories == together.histories == 12
    assert alone.fired == together.fired
    assert alone.events == together.events


def test_a_fault_that_never_fired_is_told() -> None:
    """A run that is long enough has tested what it says, or fails."""
    total = Total(histories=running.ENOUGH)
    total.fired["commit_lost"] = 1
    assert "answer_lost" in total.never_fired
    assert "commit_lost" not in total.never_fired
