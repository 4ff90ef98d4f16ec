"""Chaos from a seed: the same order meets the same misbehaviours, again and after a kill."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import httpx
import pytest

from deploy.emulators.fal import directives
from deploy.emulators.fal.chaos import Chaos, modes, parse
from tests.fixtures.fal_emulator import VIDEO, Emulator, running

SUBMITS = 40


def drawn(chaos: Chaos, count: int) -> list[str]:
    """The misbehaviours of the first so many submits."""
    return [chaos.pick(number) for number in range(1, count + 1)]


def test_the_seed_and_the_number_decide() -> None:
    """One seed gives one sequence, another seed another; no draw depends on those before."""
    first = drawn(Chaos(seed=7), 200)
    assert drawn(Chaos(seed=7), 200) == first
    assert drawn(Chaos(seed=8), 200) != first
    assert Chaos(seed=7).pick(150) == first[149]


def test_every_mode_is_drawn_and_understood() -> None:
    """Sooner or later each directive comes, with a value it can obey."""
    texts = drawn(Chaos(seed=1), 5_000)
    names = {name for text in texts for name in directives.parse(text).given}
    assert names == set(directives.KNOWN)
    assert len(modes()) == len(directives.KNOWN)


@pytest.mark.parametrize(
    ("rate", "at_least", "at_most"), [(0, 0, 0), (0.2, 100, 300), (1, 999, 999)]
)
def test_the_rate_is_the_share_that_misbehaves(rate: float, at_least: int, at_most: int) -> None:
    """0 spoils nothing, 1 everything."""
    spoilt = [text for text in drawn(Chaos(seed=3, rate=rate), 999) if text]
    assert at_least <= len(spoilt) <= at_most


@pytest.mark.parametrize("text", ["", "x", "1:2", "1:-1", "1:", "-1", "1:0.5:1", "1" * 19])
def test_nonsense_is_no_chaos(text: str) -> None:
    """The command line refuses what is not SEED or SEED:RATE."""
    with pytest.raises(ValueError, match="not SEED"):
        parse(text)


def test_a_seed_and_a_rate_are_read() -> None:
    """The rate is 1 where it is not given."""
    assert parse("7") == Chaos(seed=7, rate=1)
    assert parse("7:0.25") == Chaos(seed=7, rate=0.25)


def met(fal: Emulator, prompt: str) -> Any:
    """What one submit met: a status, or the name of the client's error."""
    try:
        return fal.http.post(f"/{VIDEO}", json={"prompt": prompt}, timeout=0.5).status_code
    except httpx.TransportError as error:
        return type(error).__name__


def submits(fal: Emulator) -> list[tuple[int, str, bool]]:
    """The emulator's own account: number, chaos, and whether it became a job."""
    newest = fal.http.get("/admin/state").json()["submits"]["newest"]
    return [(row["number"], row["chaos"], row["request_id"] is not None) for row in newest]


def test_a_run_is_repeated_by_its_seed(tmp_path: Path) -> None:
    """Two emulators, one killed in the middle: equal answers in equal order, all on record."""
    options = ("--chaos", "11:0.8", "--job-seconds", "0")
    with running(tmp_path / "a", *options) as first, running(tmp_path / "b", *options) as second:
        answers = [met(first, "a sunset") for _ in range(SUBMITS)]
        again = [met(second, "a sunset") for _ in range(SUBMITS // 2)]
        second.stop(signal.SIGKILL)
        second.start()
        again += [met(second, "a sunset") for _ in range(SUBMITS // 2)]
        assert again == answers
        assert submits(first) == submits(second)
        expected = drawn(Chaos(seed=11, rate=0.8), SUBMITS)
        assert [chaos for _, chaos, _ in submits(first)] == expected[::-1]
        assert "seed 11, rate 0.8" in first.http.get("/admin").text
    assert len({*answers}) > 2


def test_who_asks_for_a_misbehaviour_gets_no_other(tmp_path: Path) -> None:
    """A prompt with a directive of its own is left alone; a reset begins the sequence anew."""
    with running(tmp_path, "--chaos", "5", "--job-seconds", "0") as fal:
        assert fal.result(fal.submit("[[fal:no-asset]]")).json()["video"] is None
        assert fal.accepted("[[fal:no-asset]]")[0]["chaos"] == ""
        met(fal, "spoilt")
        fal.http.post("/admin/reset")
        met(fal, "spoilt")
        assert submits(fal)[0][:2] == (1, Chaos(seed=5).pick(1))
