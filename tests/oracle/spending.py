"""Grants, and every way to spend and to give back: debits, holds, captures, releases, refunds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.oracle.ground import Ground, burn_key
from tests.oracle.periods import window
from tests.oracle.things import Account, Count, Debit, Hold, Lot, Refused, Slice, Terms, Usage

Pairs = list[tuple[str, int]]


def grant(
    ground: Ground, account: str, amount: int, terms: Terms, is_open: bool = False
) -> dict[str, Any]:
    """A lot from outside; the first one opens the account. With `is_open` the policy ends it."""
    after = ground.policy.expires_after.get(terms.source)
    if is_open and after:
        terms = replace(terms, expires_at=max(ground.now, terms.effective_at) + after)
    ends = terms.expires_at
    if ends is not None and ends <= max(ground.now, terms.effective_at):
        raise Refused("validation_failed")
    there = ground.settled(account) if account in ground.accounts else ground.opened(account)
    if there.status == "closed":
        raise Refused("account_closed")
    lot = ground.add_lot(there, "grant", amount, terms)
    there.granted += amount
    ground.repay(there, lot)
    return {"lot": lot.id, "amount": amount, "remaining": lot.r}


def debit(
    ground: Ground,
    account: str,
    amount: int,
    tags: frozenset[str] = frozenset(),
    spender: str | None = None,
    is_adjustment: bool = False,
) -> dict[str, Any]:
    """Credits spent in burn order, then on credit. Spend limits do not bind an adjustment."""
    there = ground.spender(account)
    counts = [] if is_adjustment else _check_limits(ground, there, amount, spender)
    slices, credit = _plan(ground, there, amount, tags)
    for part in slices:
        lot = ground.find(part.lot)
        lot.r -= part.amount
        lot.s += part.amount
    there.o += credit
    _count(there, counts)
    return _debited(there, amount, slices, credit, counts)


def hold(
    ground: Ground,
    account: str,
    amount: int,
    tags: frozenset[str] = frozenset(),
    spender: str | None = None,
    ttl: int | None = None,
) -> dict[str, Any]:
    """Credits set aside in burn order, then on credit."""
    there = ground.spender(account)
    counts = _check_limits(ground, there, amount, spender)
    slices, credit = _plan(ground, there, amount, tags)
    for part in slices:
        ground.find(part.lot).h += part.amount
    there.k += credit
    _count(there, counts)
    ends = ground.now + (ground.policy.hold_ttl if ttl is None else ttl)
    made = Hold(f"{there.id}/h{len(there.holds)}", amount, slices, credit, ends, counts)
    there.holds.append(made)
    return {"hold": made.id, "amount": amount, "expires_at": ends}


def capture(ground: Ground, account: str, hold: str, amount: int | None = None) -> dict[str, Any]:
    """Held credits are spent, the first slices first; what is not captured is freed."""
    there = ground.settled(account)
    found = _open_hold(there, hold)
    amount = found.amount if amount is None else amount
    if amount > found.amount:
        raise Refused("capture_exceeds_hold", held=found.amount, requested=amount)
    left, taken, freed = amount, [], []
    for part in found.slices:
        now = min(left, part.amount)
        left -= now
        lot = ground.find(part.lot)
        lot.h -= part.amount
        lot.r -= now
        lot.s += now
        taken += [Slice(part.lot, now)] if now else []
        freed += [(lot, part.amount - now)] if part.amount > now else []
    there.k -= found.credit
    there.o += left
    found.status, found.captured, found.released = "captured", amount, found.amount - amount
    debit = _debited(there, amount, taken, left, found.counts)
    _give_back(there, found.counts, found.released)
    _free_all(ground, there, freed)
    return {"hold": found.id, **debit}


def release(ground: Ground, account: str, hold: str, status: str = "released") -> dict[str, Any]:
    """Held credits are freed. With `status="expired"` it is the sweep that does it."""
    there = ground.settled(account)
    found = _open_hold(there, hold)
    for part in found.slices:
        ground.find(part.lot).h -= part.amount
    there.k -= found.credit
    found.status, found.released = status, found.amount
    _give_back(there, found.counts, found.amount)
    _free_all(ground, there, [(ground.find(part.lot), part.amount) for part in found.slices])
    return {"hold": found.id, "amount": found.amount}


def expire_hold(ground: Ground, account: str, hold: str) -> dict[str, Any]:
    """The sweep books the end of a hold."""
    return release(ground, account, hold, "expired")


def extend(ground: Ground, account: str, hold: str, ttl: int) -> dict[str, Any]:
    """A hold lasts until `ttl` from now, and never shorter than it did."""
    there = ground.settled(account)
    found = _open_hold(there, hold)
    found.expires_at = max(found.expires_at, ground.now + ttl)
    return {"hold": found.id, "amount": found.amount, "expires_at": found.expires_at}


def refund(ground: Ground, account: str, debit: str, amount: int | None = None) -> dict[str, Any]:
    """A debit is undone in reverse: first what was on credit, then the last lot taken."""
    there = ground.settled(account)
    found = next((one for one in there.debits if one.id == debit), None)
    if found is None:
        raise Refused("debit_not_found")
    refundable = found.amount - found.refunded
    amount = refundable if amount is None else amount
    if amount > refundable or amount == 0:
        raise Refused("refund_exceeds_debit", refundable=refundable, requested=amount)
    on_credit = min(amount, found.credit - found.credit_back)
    found.credit_back += on_credit
    found.refunded += amount
    there.refunded += amount
    freed = _undo(ground, found, amount - on_credit)
    _give_back(there, found.counts, amount)
    cancelled = min(on_credit, there.o)
    there.o -= cancelled
    lots: Pairs = [(lot.id, part) for lot, part in freed]
    _free_all(ground, there, freed)
    if restored := on_credit - cancelled:
        terms = Terms(source="adjustment", effective_at=ground.now)
        ground.repay(there, ground.add_lot(there, "restored", restored, terms))
    return {"debit": found.id, "amount": amount, "lots": lots, "restored": restored}


def _undo(ground: Ground, debit: Debit, amount: int) -> list[tuple[Lot, int]]:
    freed: list[tuple[Lot, int]] = []
    for part in reversed(debit.slices):
        back = min(amount, part.amount - part.back)
        if back:
            lot = ground.find(part.lot)
            part.back += back
            lot.s -= back
            lot.r += back
            freed.append((lot, back))
        amount -= back
    return freed


def _debited(
    there: Account, amount: int, slices: list[Slice], credit: int, counts: list[Count]
) -> dict[str, Any]:
    copies = [Slice(part.lot, part.amount) for part in slices]
    made = Debit(f"{there.id}/d{len(there.debits)}", amount, copies, credit, counts)
    there.debits.append(made)
    there.debited += amount
    lots: Pairs = [(part.lot, part.amount) for part in slices]
    return {"debit": made.id, "amount": amount, "lots": lots, "credit": credit}


def _plan(
    ground: Ground, there: Account, amount: int, tags: frozenset[str]
) -> tuple[list[Slice], int]:
    """Which lots pay, and how much is left for the credit limit. Raises Refused."""
    fitting = [lot for lot in there.lots if lot.is_usable(ground.now) and lot.fits(tags)]
    room = there.limit - there.debt - there.k
    available = sum(lot.free for lot in fitting) + room
    if amount > available:
        missing = amount - available
        raise Refused(
            "insufficient_credits", available=available, required=amount, shortfall=missing
        )
    slices: list[Slice] = []
    fitting.sort(key=lambda lot: burn_key(lot, ground.policy.promotional_first))
    for lot in fitting:
        part = min(amount, lot.free)
        amount -= part
        if part:
            slices.append(Slice(lot.id, part))
    return slices, amount


def _open_hold(there: Account, hold: str) -> Hold:
    found = next((one for one in there.holds if one.id == hold), None)
    if found is None:
        raise Refused("hold_not_found")
    if found.status != "open":
        raise Refused("hold_not_open", hold_status=found.status)
    return found


def _free_all(ground: Ground, there: Account, freed: list[tuple[Lot, int]]) -> None:
    for lot, part in freed:
        ground.free_up(there, lot, part)


# --- spend limits --------------------------------------------------------------------------------


def _check_limits(ground: Ground, there: Account, amount: int, spender: str | None) -> list[Count]:
    counts = []
    for limit in there.limits or ground.policy.limits:
        if limit.spender not in (None, spender):
            continue
        begins, resets = window(limit.window, ground.now)
        counter = f"{limit.id}/{spender}" if limit.per_spender else limit.id
        usage = there.usage.get(counter)
        used = usage.used if usage and usage.window == begins else 0
        if used + amount > limit.amount:
            raise Refused(
                "spend_limit_reached",
                limit_id=limit.id,
                limit=limit.amount,
                used=used,
                required=amount,
                resets_at=resets,
            )
        counts.append(Count(counter, begins, amount))
    return counts


def _count(there: Account, counts: list[Count]) -> None:
    for count in counts:
        usage = there.usage.get(count.counter)
        if usage is None or usage.window != count.window:
            usage = there.usage[count.counter] = Usage(count.window, 0)
        usage.used += count.amount


def _give_back(there: Account, counts: list[Count], amount: int) -> None:
    for count in counts:
        usage = there.usage.get(count.counter)
        if usage and usage.window == count.window:
            usage.used -= min(amount, usage.used)
