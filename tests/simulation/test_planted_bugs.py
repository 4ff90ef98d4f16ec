"""Bugs planted on purpose: each judge of the simulation finds the one that is its own."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from msgspec.structs import replace

from job_worker import main as worker_main
from job_worker.steps.submit import submit
from ledger_service.domain.account import evolve, moving, spending
from ledger_service.domain.account.burn import Spend
from ledger_service.domain.account.lots import record_arrival
from ledger_service.domain.draft import Draft
from ledger_service.domain.events.account import LotDerived
from ledger_service.domain.events.holds import HoldExpired
from ledger_service.domain.generation import endings
from ledger_service.engine.loading import Loader
from ledger_service.engine.telling import Teller
from ledger_service.engine.tickets import Results
from ledger_service.store.columns import NO_KEYS, NOTHING_SEEN, Reliance, Writes
from tests.simulation import history
from tests.simulation.connection import MemoryConnection
from tests.simulation.history import Failed, History
from tests.simulation.running import be_quiet
from tests.simulation.tables import EventRow, Place, Tables

SEEDS = range(160)
"""Histories within which a planted bug must have been found."""


def judge_of(make_tables: Callable[[Callable[[], datetime]], Tables] = Tables) -> str:
    """Who objects first."""
    be_quiet()
    for seed in SEEDS:
        try:
            History(seed, make_tables=make_tables).run()
        except Failed as failure:
            return failure.judge
    return "nobody"


class SkipsPositions(Tables):
    """The log has gaps."""

    def put_events(self, rows: list[EventRow]) -> None:
        """One number is left out."""
        super().put_events(
            [row._replace(position=row.position + row.position // 12) for row in rows]
        )


class LosesAnAcknowledgedCommit(Tables):
    """A commit is acknowledged, and is not there."""

    def append(self, writes: Writes) -> int:
        """Every now and then."""
        if len(self.events) % 7 == 6:
            return len(self.events)
        return super().append(writes)


class LosesTheEndOfACommand(Tables):
    """The last event of a longer command is not written."""

    def put_events(self, rows: list[EventRow]) -> None:
        """Half a command."""
        super().put_events(rows[:-1] if len(rows) > 1 and not rows[-2].last else rows)


class LosesAnUpdate(Tables):
    """A head is not written."""

    def append(self, writes: Writes) -> int:
        """The events are."""
        before = dict(self.heads)
        base = super().append(writes)
        if len(before) > 2 and len(self.events) % 9 == 8:
            self.heads = before | {p: row for p, row in self.heads.items() if p not in before}
        return base


class ForgetsKeys(Tables):
    """A key that was used is not found."""

    def put_events(self, rows: list[EventRow]) -> None:
        """And may be used again."""
        super().put_events(rows)
        self.by_key.clear()


class AnswersWithTheState(Tables):
    """A repeated request is answered with something else than it was at first."""

    def put_events(self, rows: list[EventRow]) -> None:
        """The stored answer changes afterwards."""
        super().put_events(rows)
        for key, row in self.by_key.items():
            self.by_key[key] = row._replace(state=row.state.replace(b'"posted":', b'"posted":1'))


class ForgetsRefunds(Tables):
    """Whoever refunds finds nothing given back so far."""

    def put_rows(self, rows: dict[str, Any]) -> None:
        """So it is given back twice."""
        super().put_rows(rows)
        self.debit_refunds.clear()


class ForgetsOrigins(Tables):
    """Nobody can tell where a lot came from."""

    def put_rows(self, rows: dict[str, Any]) -> None:
        """Its row does not say."""
        super().put_rows(rows)
        for row in self.lots.values():
            row["origin"] = None


class MiscountsExpiry(Tables):
    """An event says another amount than its slices."""

    def put_events(self, rows: list[EventRow]) -> None:
        """Ten times as much, or more."""
        super().put_events(
            [
                row._replace(state=row.state.replace(b'"amount":', b'"amount":1'))
                if row.topic == "credits_expired.v1"
                else row
                for row in rows
            ]
        )


class NeverSweeps(Tables):
    """The timetable finds nothing to book."""

    def expiring(self, most: int) -> list[tuple[str]]:
        """Nothing."""
        return []


class NeverEndsJobs(Tables):
    """Nobody works on a generation, and no deadline ends it."""

    def due_jobs(self, most: int) -> list[Place]:
        """Nothing."""
        return []

    def overdue(self, most: int) -> list[Place]:
        """Nothing."""
        return []


@pytest.mark.parametrize(
    ("make_tables", "judges"),
    [
        (SkipsPositions, {"positions"}),
        (LosesAnAcknowledgedCommit, {"answers"}),
        (LosesTheEndOfACommand, {"order"}),
        (LosesAnUpdate, {"heads"}),
        (ForgetsKeys, {"keys"}),
        (AnswersWithTheState, {"replays", "answers"}),
        (ForgetsRefunds, {"fold", "replay"}),
        (ForgetsOrigins, {"replay"}),
        (MiscountsExpiry, {"sums"}),
        (NeverSweeps, {"timetable"}),
        (NeverEndsJobs, {"endings"}),
    ],
)
def test_a_faulty_store_is_found(
    make_tables: type[Tables], judges: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the store loses, makes up or mixes up, the judge concerned objects."""
    monkeypatch.setattr(history, "QUIET_SECONDS_MAX", 300.0)
    assert judge_of(make_tables) in judges


def test_an_answer_before_its_instant_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Callers hear at once, whatever the database's clock says."""

    def tell(self: Teller, results: Results, said: datetime) -> None:
        self.fail(results)

    monkeypatch.setattr(Teller, "tell", tell)
    assert judge_of() == "instants"


def test_a_failure_without_a_refund_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """No result, no charge."""
    monkeypatch.setattr(endings, "give_back", lambda world, draft, state: None)
    assert judge_of() == "refunds"


def test_an_overspent_account_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """No spend takes more than there is."""

    def generous(state: Any, amount: int, *_: Any, **__: Any) -> Spend:
        return Spend(slices=(), on_credit=amount)

    monkeypatch.setattr(spending, "plan_spend", generous)
    assert judge_of() == "overspent"


def test_credits_that_stay_held_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is held is what open holds hold, even if the live path and replay err together."""
    evolvers: Any = evolve._EVOLVERS
    monkeypatch.setitem(evolvers, HoldExpired, lambda state, event: {})
    assert judge_of() == "equations"


def test_a_transfer_that_makes_credits_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """What arrives is what left."""

    def generous(draft: Draft, owner: str, lot: LotDerived) -> None:
        record_arrival(draft, owner, replace(lot, amount=lot.amount + 1))

    monkeypatch.setattr(moving, "record_arrival", generous)
    assert judge_of() == "transfers"


def test_time_that_goes_back_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Within a stream time never goes back, whatever the database's clock does."""
    monkeypatch.setattr(Loader, "time_for", lambda loader, command, extra: loader._clock)
    assert judge_of() == "order"


def test_a_second_submit_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that repeats a POST runs a job twice."""

    async def eager(*arguments: Any) -> Any:
        await submit(*arguments)
        return await submit(*arguments)

    monkeypatch.setattr(worker_main, "submit", eager)
    assert judge_of() == "submits"


def test_a_bug_that_nobody_foresaw_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the writer survives and logs ends a history all the same."""

    def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(moving, "record_arrival", broken)
    assert judge_of() == "bugs"


@pytest.mark.parametrize(
    ("unverified", "judges"),
    [
        # What comes behind a batch that failed was decided on what never was.
        ({"after": None}, {"fold", "heads", "endings", "timetable"}),
        # A refusal was decided on a head that was not the newest any more.
        ({"seen": NOTHING_SEEN}, {"refusals"}),
        # A repetition that can no longer be carried out is refused, though it was done.
        ({"keys": NO_KEYS}, {"replays"}),
    ],
)
def test_an_append_that_does_not_verify_is_found(
    unverified: dict[str, Any], judges: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is decided without locks is only as good as what its append verifies."""
    careful = MemoryConnection._append

    async def careless(
        connection: MemoryConnection, holder: object, writes: Writes, by: Reliance
    ) -> Any:
        return await careful(connection, holder, writes, replace(by, **unverified))

    monkeypatch.setattr(MemoryConnection, "_append", careless)
    monkeypatch.setattr(history, "QUIET_SECONDS_MAX", 300.0)
    assert judge_of() in judges
