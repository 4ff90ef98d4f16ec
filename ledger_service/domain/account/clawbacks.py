"""Clawbacks: a store took the money back, or gave it back after all.

A claim sets a target per lot and reference. The lot's own target is their sum, and the difference
to what it was is laid on its parts in a fixed order, upwards and exactly mirrored downwards, so
that claims may come in any order and any number of times.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from contracts.problems import ProblemCode
from ledger_service.domain.account.freed import settle_freed
from ledger_service.domain.account.grant_views import grant_after
from ledger_service.domain.account.lots import record_arrival
from ledger_service.domain.account.settle import need_of_lots, settle_first
from ledger_service.domain.account.standing import NO_SUCH_ACCOUNT
from ledger_service.domain.account.state import NO_CLAWBACK, Claim, Lot, find_lot
from ledger_service.domain.commands import ClawBack
from ledger_service.domain.draft import Draft
from ledger_service.domain.events.account import CreditsGranted, LotDerived, Slice
from ledger_service.domain.events.clawbacks import GrantClawedBack
from ledger_service.domain.finishing import finish
from ledger_service.domain.ids import split_owner, version_in
from ledger_service.domain.world import GrantFacts, LotKey, Need, Outcome, Refusal, World, one

CLAIMS_MAX: Final = 100
"""References that a grant may be clawed back under; they stand in the account's head."""
NO_SUCH_GRANT: Final = Refusal(ProblemCode.GRANT_NOT_FOUND)


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    """How a lot's target is met, in credits; the letters are those of equation L2."""

    taken: int  # c
    forwarded: int  # f
    absorbed: int  # a
    owed: int  # q
    repaid: int  # y
    reinstated: int = 0


def decide_clawback(world: World, command: ClawBack, now: datetime) -> Outcome:
    """Only lots that came from outside are claimed; what was derived from them follows."""
    found = grant_at(world, command.owner, command.grant_id, now)
    if not isinstance(found, GrantFacts):
        return found
    if not isinstance(found.event, CreditsGranted):
        return _derived(found.event, command.owner)
    draft = Draft(world, command, now)
    settle_first(draft, command.owner)
    lot = _lot(draft, command.owner, command.grant_id)
    claim = Claim(command.reference, command.as_of, _claimed(command, lot))
    if claim.amount > lot.amount:
        fault = {"pointer": "/amount", "detail": f"the grant was of {lot.amount} credits"}
        return Refusal(ProblemCode.VALIDATION_FAILED, {"errors": [fault]})
    if _has_too_many(lot, claim):
        return Refusal(ProblemCode.LIMIT_REACHED, {"limit": CLAIMS_MAX})
    event = GrantClawedBack(
        grant_id=lot.grant_id,
        reference=claim.reference,
        as_of=claim.as_of,
        claim=claim.amount,
        reason=command.reason,
        private=command.private,
    )
    if _is_stale(lot, claim):
        draft.record(command.owner, _unchanged(event, lot))
        draft.answer_here()
    elif need := _claim_along(world, draft, command.owner, event):
        return need

    def complete() -> dict[str, Any]:
        return {"grant": grant_after(_lot(draft, command.owner, command.grant_id), found)}

    return finish(draft, complete=complete)


def grant_at(world: World, owner: str, grant_id: str, now: datetime) -> GrantFacts | Refusal | Need:
    """What made a grant, once its lot and whatever it may touch are loaded."""
    state = world.accounts[owner]
    if state is None:
        return NO_SUCH_ACCOUNT
    if version_in("grt", grant_id, owner) is None:
        return NO_SUCH_GRANT
    if (owner, grant_id) not in world.grants:
        return one("grants", (owner, grant_id))
    found = world.grants[owner, grant_id]
    if found is None:
        return NO_SUCH_GRANT
    if need := need_of_lots(state, now, adds_lot=True):
        return need
    if find_lot(state.lots, grant_id) is None:
        return one("lots", (owner, grant_id))
    return found


def _claimed(command: ClawBack, lot: Lot) -> int:
    if command.amount is not None:
        return command.amount
    assert command.fraction_millis is not None
    return lot.amount * command.fraction_millis // 1000


def _derived(event: LotDerived, owner: str) -> Refusal:
    account_id = event.from_account or split_owner(owner)[1]
    origin = {"account_id": account_id, "grant_id": event.origin}
    return Refusal(ProblemCode.GRANT_DERIVED, {"origin": origin if event.origin else None})


def _has_too_many(lot: Lot, claim: Claim) -> bool:
    known = {other.reference for other in lot.clawback.claims} if lot.clawback else set()
    return len(known) >= CLAIMS_MAX and claim.reference not in known


def _is_stale(lot: Lot, claim: Claim) -> bool:
    """Older news than what is known; of two with one date the larger stands."""
    for known in lot.clawback.claims if lot.clawback else ():
        if known.reference == claim.reference:
            return (known.as_of, known.amount) >= (claim.as_of, claim.amount)
    return False


def _unchanged(event: GrantClawedBack, lot: Lot) -> GrantClawedBack:
    before = lot.clawback or NO_CLAWBACK
    return replace(
        event,
        target=lot.target,
        clawed_back=lot.clawed_back,
        absorbed=before.absorbed,
        owed=before.owed,
        repaid=before.repaid,
        forwarded=before.forwarded,
        is_stale=True,
    )


def _claim_along(world: World, draft: Draft, owner: str, event: GrantClawedBack) -> Need | None:
    """Claim of a lot and of what was derived from it, however often it has moved on since."""
    todo = [(owner, event)]
    while todo:
        home, claim = todo.pop()
        settle_first(draft, home)
        forwarded = _claim(world, draft, home, _lot(draft, home, claim.grant_id), claim)
        if isinstance(forwarded, Need):
            return forwarded
        todo += reversed(forwarded)
    return None


def _claim(
    world: World, draft: Draft, owner: str, lot: Lot, event: GrantClawedBack
) -> list[tuple[str, GrantClawedBack]] | Need:
    """Bring a lot to the target that it has with this claim; returns what that means for the lots
    derived from it."""
    target = _target_with(lot, event)
    before = lot.clawback or NO_CLAWBACK
    derived: list[tuple[LotKey, int, int]] = []  # with amounts, and what is claimed of it
    reaches_on = target - lot.target > lot.free or (target < lot.target and before.forwarded)
    if lot.moved and reaches_on:
        if need := _need_of_descent(world, draft, (owner, lot.grant_id)):
            return need
        derived = _find_derived(draft, owner, lot)
    room = sum([amount - claimed for _, amount, claimed in derived])
    parts = _raised(lot, target, room) if target >= lot.target else _lowered(lot, target)
    lost = (parts.taken + parts.owed) - (lot.clawed_back + before.owed)
    draft.record(
        owner,
        replace(
            event,
            target=target,
            clawed_back=parts.taken,
            absorbed=parts.absorbed,
            owed=parts.owed,
            repaid=parts.repaid,
            forwarded=parts.forwarded,
            amount=abs(lost),
            is_reversal=lost < 0,
            reinstated=parts.reinstated,
        ),
    )
    if event.origin_owner is None:
        draft.answer_here()
    _give_back(draft, owner, lot, parts)
    return _forwarded(owner, event, derived, parts.forwarded - before.forwarded)


def _target_with(lot: Lot, event: GrantClawedBack) -> int:
    known = lot.clawback.claims if lot.clawback else ()
    others = sum([claim.amount for claim in known if claim.reference != event.reference])
    return min(lot.amount, others + event.claim)


def _raised(lot: Lot, target: int, room: int) -> Parts:
    """First what is free, then what moved on, then what is lost anyway, then debt."""
    before = lot.clawback or NO_CLAWBACK
    left = target - lot.target
    taken = min(left, lot.free)
    forwarded = min(left - taken, room)
    lost = lot.expired + lot.voided - before.absorbed
    absorbed = min(left - taken - forwarded, lost)
    return Parts(
        taken=lot.clawed_back + taken,
        forwarded=before.forwarded + forwarded,
        absorbed=before.absorbed + absorbed,
        owed=before.owed + left - taken - forwarded - absorbed,
        repaid=before.repaid,
    )


def _lowered(lot: Lot, target: int) -> Parts:
    """The mirror image; debt that was repaid meanwhile comes back as credits."""
    before = lot.clawback or NO_CLAWBACK
    left = lot.target - target
    owed = min(left, before.owed)
    reinstated = min(left - owed, before.repaid)
    absorbed = min(left - owed - reinstated, before.absorbed)
    forwarded = min(left - owed - reinstated - absorbed, before.forwarded)
    return Parts(
        owed=before.owed - owed,
        repaid=before.repaid - reinstated,
        absorbed=before.absorbed - absorbed,
        forwarded=before.forwarded - forwarded,
        taken=lot.clawed_back - (left - owed - reinstated - absorbed - forwarded),
        reinstated=reinstated,
    )


def _give_back(draft: Draft, owner: str, lot: Lot, parts: Parts) -> None:
    freed = lot.clawed_back - parts.taken
    if freed > 0:
        settle_freed(draft, owner, (Slice(lot.grant_id, freed),))
    if parts.reinstated:
        is_over = lot.is_expired(draft.now)
        record_arrival(
            draft,
            owner,
            LotDerived(
                grant_id=draft.next_id("grt", owner),
                kind="reinstated",
                amount=parts.reinstated,
                source=lot.source,
                priority=lot.priority,
                effective_at=draft.now,
                expires_at=None if is_over else lot.expires_at,
                unit_cost_micros=lot.unit_cost_micros,
                restrict_to=lot.restrict_to,
            ),
        )


def _need_of_descent(world: World, draft: Draft, origin: LotKey) -> Need | None:
    """Everything that came of a lot, however far it went, is asked for at once: whoever asks lot
    by lot decides anew for each."""
    todo, descent, unknown = [origin], [], set()
    while todo:
        lot = todo.pop()
        if lot in world.derived:
            made = draft.derived_from(lot)  # what settling has just rolled over, too
            descent += made
            todo += made
        else:
            unknown.add(lot)
    if unknown:
        return Need(derived=frozenset(unknown))
    if missing := {home for home, _ in descent if not draft.is_loaded(home)}:
        return Need(streams=frozenset(missing))
    return _need_of_lots_at(draft, descent)


def _need_of_lots_at(draft: Draft, keys: list[LotKey]) -> Need | None:
    known = set()
    for home in sorted({home for home, _ in keys}):
        state = draft.account(home)
        assert state is not None
        if need := need_of_lots(state, draft.now, adds_lot=True):
            return need
        known |= {(home, lot.grant_id) for lot in state.lots}
    missing = set(keys) - known
    return Need(lots=frozenset(missing)) if missing else None


def _find_derived(draft: Draft, owner: str, lot: Lot) -> list[tuple[LotKey, int, int]]:
    """Lots derived from this one, each with its amount and what is claimed of it already."""
    found = []
    for home, grant_id in draft.derived_from((owner, lot.grant_id)):
        derived = _lot(draft, home, grant_id)
        claimed = _claimed_by(derived, lot.grant_id)
        found.append(((home, grant_id), derived.amount, claimed))
    return found


def _claimed_by(derived: Lot, grant_id: str) -> int:
    claims = derived.clawback.claims if derived.clawback else ()
    return sum([claim.amount for claim in claims if claim.reference == grant_id])


def _forwarded(
    owner: str, event: GrantClawedBack, derived: list[tuple[LotKey, int, int]], change: int
) -> list[tuple[str, GrantClawedBack]]:
    """Lay the change of what is forwarded on the derived lots: the first ones first upwards, the
    last ones first downwards."""
    claims = []
    for (home, grant_id), amount, claimed in derived if change > 0 else reversed(derived):
        part = min(change, amount - claimed) if change > 0 else -min(-change, claimed)
        if part == 0:
            continue
        change -= part
        claim = GrantClawedBack(
            grant_id=grant_id,
            reference=event.grant_id,
            as_of=event.as_of,
            claim=claimed + part,
            origin_owner=owner,
        )
        claims.append((home, claim))
    assert change == 0, "what is forwarded was counted from these lots"
    return claims


def _lot(draft: Draft, owner: str, grant_id: str) -> Lot:
    state = draft.account(owner)
    assert state is not None
    lot = find_lot(state.lots, grant_id)
    assert lot is not None, "it was loaded before"
    return lot
