"""`make check-fal`, with a second emulator standing in for fal.ai."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.check_fal.answers import Answer, Unasked
from deploy.check_fal.budget import Budget, CapReached
from deploy.check_fal.scenes import FACTS, JOBS_MAX, SWITCHES
from deploy.check_fal.table import compare
from deploy.emulators.fal.assumptions import choices
from deploy.run.host import free_port
from tests.fixtures.fal_emulator import IMAGE, REPOSITORY, Emulator, eventually, running

pytestmark = pytest.mark.slow

KEY = "id-of-tests:a-secret-of-tests"
CONSENT = ("--max-usd", "1", "--yes-spend-money")
OPTIONS = ("--key", KEY, "--job-seconds", "2", "--concurrency", "2", "--allow-loopback-webhooks")
REFUSED = "[[fal:422]]"
OTHERWISE = {name: others[0] for name, (_, *others) in choices().items() if name != "moderation"}
"""Every open point but one answered in another way; that one would hide another."""
LIFE_SECONDS = "40"
"""Of a result; a large one lives a tenth of that."""


@pytest.fixture
def stand_in(tmp_path: Path) -> Iterator[Emulator]:
    """An emulator in fal's place, with the same habits."""
    with running(tmp_path / "fal", *OPTIONS, "--result-seconds", LIFE_SECONDS) as emulator:
        emulator.http.headers["authorization"] = f"Key {KEY}"
        yield emulator


def check(
    fal: Emulator, *arguments: str, key: str = KEY, **environ: str
) -> subprocess.CompletedProcess[str]:
    """Run the command against the stand-in, to its end."""
    addresses = ("--fal-url", fal.url, "--api-url", f"{fal.url}/v1")
    keys = ("--jwks-url", f"{fal.url}/.well-known/jwks.json")
    return subprocess.run(
        (sys.executable, "-m", "deploy.check_fal", *addresses, *keys, *arguments),
        env={**os.environ, "FAL_KEY": key, **environ},
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )


def expired_request(fal: Emulator, gone: int = 404) -> str:
    """The id of a request that is kept no more."""
    job = fal.submit("[[fal:slow=0]][[fal:big-result]]", endpoint=IMAGE)
    eventually(lambda: fal.http.get(job["status_url"]).status_code == gone)
    return str(job["request_id"])


def submits(fal: Emulator) -> Any:
    """How many submits the stand-in was asked for."""
    return fal.http.get("/admin/state").json()["submits"]["asked"]


def verdicts(output: str) -> dict[str, str]:
    """The verdict on each fact, as printed."""
    return {
        fact: verdict
        for line in output.splitlines()
        for verdict in ("same", "DIFFERS", "could not be asked")
        for fact in FACTS
        if line.startswith(f"{verdict:<20}  {fact:<28}  ")
    }


@pytest.mark.parametrize("given", [(), ("--max-usd", "1"), ("--yes-spend-money",)])
def test_without_consent_and_cap_nothing_is_sent(
    stand_in: Emulator, given: tuple[str, ...]
) -> None:
    """It says what it would cost and what is missing, and ends with 2."""
    done = check(stand_in, *given)
    assert done.returncode == 2
    assert "estimated at" in done.stdout
    assert "Nothing was sent" in done.stdout
    for option in {"--max-usd", "--yes-spend-money"} - {*given}:
        assert f"  {option}" in done.stdout
    assert submits(stand_in) == 0


def test_without_a_key_nothing_is_sent(stand_in: Emulator) -> None:
    """Nobody is there to pay."""
    done = check(stand_in, *CONSENT, key="")
    assert (done.returncode, submits(stand_in)) == (2, 0)
    assert "FAL_KEY" in done.stdout


def test_one_like_the_other_differs_in_nothing(stand_in: Emulator) -> None:
    """Every fact is asked, and every answer is the same; the key is not shown."""
    port = free_port()
    done = check(
        stand_in,
        *CONSENT,
        *("--old-request", expired_request(stand_in), "--refused-prompt", REFUSED),
        *("--webhook-url", f"http://127.0.0.1:{port}/", "--webhook-port", str(port)),
    )
    assert verdicts(done.stdout) == dict.fromkeys(FACTS, "same"), done.stdout + done.stderr
    assert done.returncode == 0
    assert done.stdout.index("estimated at") < done.stdout.index("fal said")
    for secret in (KEY, *KEY.split(":")):
        assert secret not in done.stdout + done.stderr
    accepted = len(stand_in.http.get("/admin/jobs").json()["items"]) - 1  # the expired one
    assert accepted == JOBS_MAX
    assert f"{JOBS_MAX} jobs" in done.stdout


def test_a_provider_that_answers_otherwise_is_found_out(tmp_path: Path) -> None:
    """Every switch is changed, and the facts that depend on them differ, and no other; each is
    shown with its switch."""
    assumed = [part for pair in OTHERWISE.items() for part in ("--assume", "=".join(pair))]
    with running(tmp_path / "fal", *OPTIONS, "--result-seconds", LIFE_SECONDS, *assumed) as fal:
        fal.http.headers["authorization"] = f"Key {KEY}"
        old = expired_request(fal, gone=410)
        done = check(fal, *CONSENT, "--old-request", old, "--refused-prompt", REFUSED)
    found = verdicts(done.stdout)
    differing = {fact for fact, verdict in found.items() if verdict == "DIFFERS"}
    assert differing == SWITCHES.keys() - {"refused prompt"}, done.stdout
    assert {fact for fact, verdict in found.items() if verdict == "could not be asked"} == {
        "webhook"
    }
    assert "filter by tags: the emulator's --assume tag-filter=ignored|honoured" in done.stdout
    assert done.returncode == 1


def test_the_questions_can_be_listed_before_anything_is_sent(stand_in: Emulator) -> None:
    """Each with the jobs that it takes, and the switch of each open point."""
    done = check(stand_in, "--list", key="")
    assert (done.returncode, submits(stand_in)) == (0, 0)
    assert [fact for fact in FACTS if fact not in done.stdout] == []
    assert [name for name in choices() if f"--assume {name}=" not in done.stdout] == []
    jobs = [line[:6].strip() for line in done.stdout.splitlines()[1:]]
    assert sum(int(number) for number in jobs if number) == JOBS_MAX


def test_it_stops_at_the_cap(stand_in: Emulator) -> None:
    """With money for two jobs there are two, and the rest could not be asked."""
    done = check(stand_in, "--max-usd", "0.05", "--yes-spend-money")
    assert len(stand_in.http.get("/admin/jobs").json()["items"]) == 2, done.stdout
    found = verdicts(done.stdout)
    assert found["wrong key"] == "same"
    assert found["listed"] == found["cancel in the queue"] == "could not be asked"
    assert "the cap of 0.05 USD" in " ".join(done.stdout.split())


def test_no_more_is_booked_than_the_cap() -> None:
    """Up to the cap to the last cent, and no job further, at the dearer of two prices."""
    budget = Budget(max_usd=1.0, usd_per_job=0.25)
    budget.learn_price(0.5)
    budget.learn_price(0.1)
    budget.pay()
    budget.pay()
    with pytest.raises(CapReached):
        budget.pay()
    assert (budget.jobs, budget.spent_usd) == (2, 1.0)


def test_what_a_provider_echoes_of_the_key_is_not_shown() -> None:
    """Whole or in part."""
    said: dict[str, Answer | Unasked] = {
        "a": Answer(f"your key is {KEY}", "x"),
        "b": Unasked("a-secret-of-tests is bad"),
    }
    rows = compare(said, {"a": Answer("…", "x"), "b": Answer("…", "x")}, KEY)
    assert [row.verdict for row in rows] == ["same", "could not be asked"]
    assert all("tests" not in row.fal for row in rows)
