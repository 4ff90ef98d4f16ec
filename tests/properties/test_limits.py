"""Spend limits: never passed in any window, whoever spends and whatever comes back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from contracts.problems import ProblemCode
from ledger_service.domain.account.terms import SpendLimit
from ledger_service.domain.commands import (
    CaptureHold,
    Command,
    DebitCredits,
    PlaceHold,
    RefundDebit,
    ReleaseHold,
    SetLimits,
)
from ledger_service.domain.policy import Policy
from ledger_service.domain.world import Decision, Refusal
from tests.fixtures.worlds import ALICE, MemoryLedger

KEYS = (None, "a", "b")
LIMITS = (
    SpendLimit(limit_id="day", amount=50),
    SpendLimit(limit_id="month", amount=90, window="month"),
    SpendLimit(limit_id="each", amount=30, per_key=True),
    SpendLimit(limit_id="a", amount=60, window="lifetime", key_id="a"),
)


class Step(NamedTuple):
    """Wait, then spend something or give something back."""

    hours: float
    kind: str
    amount: int
    spender: str | None
    number: int


def steps() -> st.SearchStrategy[list[Step]]:
    """Around midnights and the ends of months."""
    kinds = st.sampled_from(
        ["debit", "debit", "hold", "hold", "adjust", "refund", "capture", "end"]
    )
    one = st.builds(
        Step,
        st.sampled_from([0, 0, 0, 0.5, 11.5, 12, 24, 31 * 24]),
        kinds,
        st.integers(1, 45),
        st.sampled_from(KEYS),
        st.integers(0, 9),
    )
    return st.lists(one, min_size=5, max_size=40)


def windows(now: datetime) -> dict[str, str]:
    """The names of the windows of an instant, by their kind."""
    utc = now.astimezone(UTC)
    return {"day": f"{utc:%Y-%m-%d}", "month": f"{utc:%Y-%m}", "lifetime": ""}


class Counting:
    """What was spent and given back, kept apart from the ledger: a counter of a limit knows the
    newest window in which anything was spent."""

    def __init__(self) -> None:
        self.used: dict[str, tuple[str, int]] = {}
        self.counts: dict[str, list[tuple[str, str]]] = {}  # by debit or hold

    def would_pass(self, amount: int, spender: str | None, now: datetime) -> str | None:
        """The first limit that the spend would pass."""
        for limit, counter, window in self._counters(spender, now):
            known = self.used.get(counter, (window, 0))
            if amount + (known[1] if known[0] == window else 0) > limit.amount:
                return limit.limit_id
        return None

    def count(self, made: str, amount: int, spender: str | None, now: datetime) -> None:
        """A spend."""
        self.counts[made] = []
        for _, counter, window in self._counters(spender, now):
            known = self.used.get(counter, (window, 0))
            self.used[counter] = window, amount + (known[1] if known[0] == window else 0)
            self.counts[made].append((counter, window))

    def give_back(self, made: str, amount: int) -> None:
        """Part of a spend came back."""
        for counter, window in self.counts.get(made, []):
            known = self.used[counter]
            if known[0] == window:
                self.used[counter] = window, known[1] - amount

    def _counters(self, spender: str | None, now: datetime) -> list[tuple[SpendLimit, str, str]]:
        found = []
        for limit in LIMITS:
            if limit.limit_id in ("each", "a") and spender is None:
                continue
            if limit.key_id not in (None, spender):
                continue
            is_of_keys = limit.per_key or limit.key_id is not None
            counter = f"{limit.limit_id}/{spender}" if is_of_keys else limit.limit_id
            found.append((limit, counter, windows(now)[limit.window]))
        return found


class Spending:
    """An account with more credits than its limits allow to be spent."""

    def __init__(self, *, by_policy: bool) -> None:
        self.ledger = MemoryLedger(Policy(limits=LIMITS if by_policy else ()))
        self.ledger.grant(10**6)
        if not by_policy:
            self.ledger.do(SetLimits(owner=ALICE, limits=LIMITS))
        self.counting = Counting()
        self.debits: list[str] = []
        self.holds: list[str] = []

    def play(self, step: Step) -> None:
        """One step, and whether it was met as the limits say."""
        self.ledger.now += timedelta(hours=step.hours)
        command = self._command(step)
        if command is None:
            return
        (outcome,) = self.ledger.batch(command)
        if isinstance(command, DebitCredits | PlaceHold) and step.kind != "adjust":
            passed = self.counting.would_pass(step.amount, step.spender, self.ledger.now)
            assert isinstance(outcome, Decision) == (passed is None)
            if isinstance(outcome, Refusal):
                self._judge(outcome, step, passed)
        if isinstance(outcome, Decision):
            self._note(outcome.events[-1].event, step)

    def _judge(self, refusal: Refusal, step: Step, passed: str | None) -> None:
        assert refusal.code is ProblemCode.SPEND_LIMIT_REACHED
        numbers = refusal.fields
        assert (numbers["limit_id"], numbers["required"]) == (passed, step.amount)
        assert numbers["used"] + step.amount > numbers["limit"]
        resets_at = numbers["resets_at"]
        if resets_at is not None:
            assert resets_at > self.ledger.now
            assert (resets_at.hour, resets_at.minute) == (0, 0)

    def _command(self, step: Step) -> Command | None:
        if step.kind in ("debit", "adjust"):
            return DebitCredits(
                owner=ALICE,
                amount=step.amount,
                spender=step.spender,
                is_adjustment=step.kind == "adjust",
            )
        if step.kind == "hold":
            ttl = timedelta(days=7)
            return PlaceHold(owner=ALICE, amount=step.amount, spender=step.spender, ttl=ttl)
        made = self.debits if step.kind == "refund" else self.holds
        if not made:
            return None
        named = made[step.number % len(made)]
        if step.kind == "refund":
            return RefundDebit(owner=ALICE, debit_id=named, amount=step.amount)
        if step.kind == "capture":
            return CaptureHold(owner=ALICE, hold_id=named, amount=step.amount)
        return ReleaseHold(owner=ALICE, hold_id=named)

    def _note(self, event: Any, step: Step) -> None:
        counting, now = self.counting, self.ledger.now
        if step.kind in ("debit", "adjust"):
            self.debits.append(event.debit_id)
            if step.kind == "debit":
                counting.count(event.debit_id, step.amount, step.spender, now)
        elif step.kind == "hold":
            self.holds.append(event.hold.hold_id)
            counting.count(event.hold.hold_id, step.amount, step.spender, now)
        elif step.kind == "refund":
            counting.give_back(event.debit_id, event.amount)
        else:
            counting.give_back(event.hold.hold_id, event.hold.released)
            if step.kind == "capture":
                self.debits.append(event.debit_id)
                counting.counts[event.debit_id] = counting.counts[event.hold.hold_id]


@given(steps(), st.booleans())
def test_no_limit_is_passed_and_none_is_too_strict(drawn: list[Step], by_policy: bool) -> None:
    """A spend is met exactly when every window it falls in has room, the policy's limits like the
    account's own; what comes back within the newest window makes room again."""
    spending = Spending(by_policy=by_policy)
    for step in drawn:
        spending.play(step)
        for counter in spending.ledger.account().terms.counters:
            known = spending.counting.used[counter.counter]
            assert (counter.window, counter.used) == known
            assert 0 <= counter.used <= 90


@given(st.integers(-3, 3), st.integers(1, 50))
def test_windows_begin_at_midnight(seconds: int, amount: int) -> None:
    """The first instant of a day has the whole limit again, the last one of the day before not."""
    ledger = MemoryLedger(Policy(limits=(SpendLimit(limit_id="d", amount=50),)))
    ledger.grant(1_000)
    ledger.debit(50)
    ledger.now = ledger.now.replace(hour=0) + timedelta(days=1, seconds=seconds)
    (outcome,) = ledger.batch(DebitCredits(owner=ALICE, amount=amount))
    assert isinstance(outcome, Decision) == (seconds >= 0)
