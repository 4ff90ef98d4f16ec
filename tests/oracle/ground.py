"""What every command stands on: settling, new lots, repayment, freed credits, passing on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from tests.oracle.periods import period_start
from tests.oracle.things import (
    OUTSIDE,
    Account,
    Lot,
    Policy,
    Refused,
    Schedule,
    Terms,
    stream_digest,
)

GRANTS_PER_COMMAND_MAX = 100


@dataclass(frozen=True)
class Outcome:
    """What an accepted command did: its noun, and the balance of every account it touched."""

    noun: dict[str, Any]
    balances: dict[str, dict[str, int]]


class Ground:
    """The accounts of one tenant, and the movements that commands are made of."""

    def __init__(self, tenant: str = "demo", policy: Policy | None = None) -> None:
        self.tenant = tenant
        self.policy = policy or Policy()
        self.accounts: dict[str, Account] = {}
        self.touched: set[str] = set()
        self.now = 0

    # --- accounts -----------------------------------------------------------------------------

    def opened(self, name: str) -> Account:
        """A new account."""
        stream = stream_digest(f"{self.tenant}/{name}")
        self.accounts[name] = Account(id=name, stream=stream, opened_at=self.now)
        self.touched.add(name)
        return self.accounts[name]

    def settled(self, name: str) -> Account:
        """The account after what is due on it was booked. Raises Refused."""
        if name not in self.accounts:
            raise Refused("account_not_found", account_id=name)
        account = self.accounts[name]
        assert self.now >= account.seen_at, "time goes back"
        account.seen_at = self.now
        self.touched.add(name)
        settle(self, account)
        return account

    def spender(self, name: str) -> Account:
        """The settled account if its status lets it spend. Raises Refused."""
        account = self.settled(name)
        if account.status != "active":
            raise Refused(f"account_{account.status}")
        return account

    # --- lots ---------------------------------------------------------------------------------

    def add_lot(self, account: Account, kind: str, amount: int, terms: Terms, **more: Any) -> Lot:
        """A new lot, the youngest of its account. It has repaid nothing yet."""
        number = len(account.lots)
        order = (self.now // 1_000, account.stream, number)
        lot = Lot(f"{account.id}#{number}", order, kind, terms, g=amount, r=amount, **more)
        account.lots.append(lot)
        self.touched.add(account.id)
        return lot

    def derive(self, lot: Lot, account: Account, kind: str, amount: int, terms: Terms) -> Lot:
        """Free credits of a lot move out of it into a new one (r→t)."""
        assert amount <= lot.free
        lot.r -= amount
        lot.t += amount
        child = self.add_lot(account, kind, amount, terms, origin=lot.id)
        lot.children.append(child.id)
        return child

    def find(self, lot_id: str) -> Lot:
        """A lot of any account."""
        name, _, number = lot_id.rpartition("#")
        return self.accounts[name].lots[int(number)]

    def repay(self, account: Account, lot: Lot) -> None:
        """A lot that came from elsewhere pays debt: claims on old lots first, then overdraft."""
        if not self.policy.repay_debt:
            return
        for owing in account.lots:
            part = min(lot.free, owing.q)
            owing.q -= part
            owing.y += part
            lot.r -= part
            lot.p += part
        part = min(lot.free, account.o)
        account.o -= part
        lot.r -= part
        lot.p += part

    def free_up(self, account: Account, lot: Lot, amount: int) -> None:
        """Credits that have just come back to a lot: they pay its claim, then may be too late."""
        part = min(amount, lot.q)
        lot.q -= part
        lot.r -= part
        lot.c += part
        rest = amount - part
        over = lot.is_over(self.now)
        if rest == 0 or not (over or lot.is_voided):
            return
        if self.policy.grace:
            terms = replace(lot.terms, expires_at=self.now + self.policy.grace)
            self.derive(lot, account, "grace", rest, terms)
            return
        lot.r -= rest
        if over:
            lot.x += rest
        else:
            lot.v += rest

    # --- between accounts ---------------------------------------------------------------------

    def move(self, lot: Lot, target: Account, amount: int) -> Lot:
        """Free credits of a lot go to another account and pay its debt."""
        source = self.accounts[lot.account]
        moved = self.derive(lot, target, "transfer", amount, lot.terms)
        source.moved_out += amount
        target.moved_in += amount
        self.repay(target, moved)
        return moved

    def assume(self, source: Account, target: Account) -> int:
        """All debt of an account becomes the other one's overdraft."""
        debt = source.debt
        source.o = 0
        for lot in source.lots:
            lot.y += lot.q
            lot.q = 0
        source.moved_in += debt
        target.moved_out += debt
        target.o += debt
        return debt

    def pass_on(self) -> None:
        """What is free or owed on merged accounts goes on, until nothing does."""
        while sources := [name for name in sorted(self.touched) if self._holds_back(name)]:
            source = self.accounts[sources[0]]
            target = self.settled(source.merged_into or "")
            lots = [lot for lot in source.lots if lot.free and not lot.is_over(self.now)]
            for lot in sorted(lots, key=burn_key):
                self.move(lot, target, lot.free)
            self.assume(source, target)

    def _holds_back(self, name: str) -> bool:
        account = self.accounts[name]
        free = any(lot.free and not lot.is_over(self.now) for lot in account.lots)
        return account.status == "merged" and bool(free or account.debt)


def burn_key(lot: Lot, promotional_first: bool = False) -> tuple[Any, ...]:
    """Sorts lots into burn order; age is the place among the account's lots.

    What is promotional goes first where credits are spent, not where they move.
    """
    bought = lot.terms.source == "purchase"
    ends = lot.terms.expires_at
    return (
        promotional_first and bought,
        lot.terms.priority,
        ends is None,
        ends or 0,
        bought,
        lot.terms.unit_cost or 0,
        int(lot.id.rpartition("#")[2]),
    )


# --- settling ------------------------------------------------------------------------------------


def settle(ground: Ground, account: Account) -> None:
    """Book what is due, in the order of its instants; expiries before grants of one instant."""
    granted = 0
    while steps := list(_due(ground, account)):
        _, kind, step = min(steps, key=lambda one: one[:2])
        granted += kind
        if granted > GRANTS_PER_COMMAND_MAX:
            return
        step()


def is_due(ground: Ground, account: Account) -> bool:
    """Whether settling would book anything."""
    return any(True for _ in _due(ground, account))


Step = tuple[int, int, Callable[[], None]]


def _due(ground: Ground, account: Account) -> list[Step]:
    found: list[Step] = []
    for lot in account.lots:
        ends = lot.terms.expires_at
        if lot.free and ends is not None and ends <= ground.now:
            found.append((ends, 0, lambda lot=lot: _expire(ground, account, lot)))  # type: ignore[misc]
    for schedule in account.schedules.values():
        begins = _begins(schedule, account.granted_periods.get(schedule.id, 0))
        is_over = schedule.ends_at is not None and begins >= schedule.ends_at
        if begins <= ground.now and not is_over and account.status != "closed":
            found.append((begins, 1, lambda plan=schedule: _recur(ground, account, plan)))  # type: ignore[misc]
    return found


def _expire(ground: Ground, account: Account, lot: Lot) -> None:
    ends = lot.terms.expires_at
    assert ends is not None
    if lot.schedule in account.schedules:
        _roll_over(ground, account, lot, ends)
    lot.x += lot.free
    lot.r = lot.h


def _roll_over(ground: Ground, account: Account, lot: Lot, at: int) -> None:
    schedule = account.schedules[lot.schedule or ""]
    living = sum(
        other.r
        for other in account.lots
        if other.kind == "rollover" and other.schedule == schedule.id and not other.is_over(at)
    )
    amount = min(lot.free, max(0, schedule.rollover_cap - living))
    if amount:
        ends = _begins(schedule, first_after(schedule, at))
        terms = replace(lot.terms, effective_at=at, expires_at=ends)
        ground.derive(lot, account, "rollover", amount, terms).schedule = schedule.id


def _recur(ground: Ground, account: Account, schedule: Schedule) -> None:
    number = account.granted_periods.get(schedule.id, 0)
    account.granted_periods[schedule.id] = number + 1
    account.granted_until[schedule.id] = _begins(schedule, number)
    terms = Terms(
        source=schedule.source,
        priority=schedule.priority,
        effective_at=_begins(schedule, number),
        expires_at=None if schedule.lasts is None else _begins(schedule, number + schedule.lasts),
        unit_cost=schedule.unit_cost,
        restrict_to=schedule.restrict_to,
    )
    lot = ground.add_lot(account, OUTSIDE[1], schedule.amount, terms, schedule=schedule.id)
    account.granted += schedule.amount
    ground.repay(account, lot)


def _begins(schedule: Schedule, number: int) -> int:
    periods = number * schedule.every
    return period_start(schedule.starts_at, schedule.time_zone, schedule.unit, periods)


def first_after(schedule: Schedule, at: int) -> int:
    """The first period that begins after an instant."""
    number = 0
    while _begins(schedule, number) <= at:
        number += 1
    return number
