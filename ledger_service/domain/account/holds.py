"""Holds: place, capture, release, extend, expire; one by one or by their reference."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final

import msgspec
from msgspec.structs import replace

from contracts.limits import HOLD_TTL_MAX_SECONDS
from contracts.problems import ProblemCode
from ledger_service.domain.account.freed import need_to_free, settle_freed
from ledger_service.domain.account.plain import sole_event
from ledger_service.domain.account.settle import settle_first
from ledger_service.domain.account.spending import Cover, cover_spend, plain_spend
from ledger_service.domain.account.standing import NO_SUCH_ACCOUNT
from ledger_service.domain.commands import (
    CaptureHold,
    ExpireHold,
    ExtendHold,
    HoldCommand,
    PlaceHold,
    ReleaseHold,
    ReleaseHolds,
)
from ledger_service.domain.draft import Draft
from ledger_service.domain.events.account import LimitUse, Slice
from ledger_service.domain.events.holds import (
    HoldAfter,
    HoldCaptured,
    HoldExpired,
    HoldExtended,
    HoldPlaced,
    HoldReleased,
    HoldsReleased,
)
from ledger_service.domain.finishing import finish
from ledger_service.domain.ids import make_id, version_in
from ledger_service.domain.world import HoldState, Need, Outcome, Refusal, World, one

RELEASES_MAX: Final = 1_000
"""Holds that one command releases."""
_TTL_MAX: Final = timedelta(seconds=HOLD_TTL_MAX_SECONDS)
_NOT_FOUND: Final = Refusal(ProblemCode.HOLD_NOT_FOUND)


class Begun(msgspec.Struct, frozen=True, kw_only=True):
    """An open hold on its settled account."""

    draft: Draft
    held: HoldState

    @property
    def owner(self) -> str:
        """The account's stream."""
        return self.held.owner


def decide_hold(world: World, command: PlaceHold, now: datetime) -> Outcome:
    """Set aside what a debit would take."""
    state = world.accounts[command.owner]
    spend = plain_spend(world, command, now)
    if state is None or spend is None:
        return hold_in_full(world, command, now)
    ttl = world.policy_of(command.owner).hold_ttl
    held = _placed(command, Cover(spend=spend, limits=()), ttl, now, state.version + 1)
    return sole_event(command, state, _placing(held), now, http_status=201, hold=held)


def hold_in_full(world: World, command: PlaceHold, now: datetime) -> Outcome:
    """The long way, right for every account."""
    draft, owner = Draft(world, command, now), command.owner
    cover = cover_spend(draft, owner, command.amount, command.tags, command.spender)
    if not isinstance(cover, Cover):
        return cover
    held = _placed(command, cover, draft.policy.hold_ttl, now, draft.next_version(owner))
    draft.record(owner, _placing(held))
    draft.answer_here()
    draft.keep_hold(held)
    return finish(draft, http_status=201)


def _placed(
    command: PlaceHold, cover: Cover, ttl: timedelta, now: datetime, version: int
) -> HoldState:
    hold = HoldAfter(
        hold_id=make_id("hld", now, command.owner, version),
        amount=command.amount,
        status="open",
        expires_at=now + min(command.ttl or ttl, _TTL_MAX),
        reason=command.reason,
        reference=command.reference,
        tags=command.tags,
        private=command.private,
        created_at=now,
    )
    return HoldState(
        owner=command.owner,
        hold=hold,
        slices=cover.spend.slices,
        on_credit=cover.spend.on_credit,
        limits=cover.limits,
    )


def _placing(held: HoldState) -> HoldPlaced:
    return HoldPlaced(
        hold=held.hold, slices=held.slices, on_credit=held.on_credit, limits=held.limits
    )


def decide_capture(world: World, command: CaptureHold, now: datetime) -> Outcome:
    """The first credits of the hold become a debit, the rest is freed."""
    begun = _begin(world, command, now)
    if not isinstance(begun, Begun):
        return begun
    draft, held = begun.draft, begun.held
    amount = held.hold.amount if command.amount is None else command.amount
    if amount > held.hold.amount:
        numbers = {"held": held.hold.amount, "requested": amount}
        return Refusal(ProblemCode.CAPTURE_EXCEEDS_HOLD, numbers)
    captured, freed = _split(held.slices, amount)
    on_credit = amount - sum([part.amount for part in captured])
    hold = replace(
        held.hold, status="captured", captured=amount, released=held.hold.amount - amount
    )
    draft.record(
        begun.owner,
        HoldCaptured(
            hold=hold,
            debit_id=draft.next_id("dbt", begun.owner),
            amount=amount,
            slices=captured,
            on_credit=on_credit,
            freed=freed,
            freed_on_credit=held.on_credit - on_credit,
            limits=held.limits,
        ),
    )
    return _end(begun, hold, freed)


def decide_release(world: World, command: ReleaseHold, now: datetime) -> Outcome:
    """All of it is freed."""
    return _let_go(world, command, now, HoldReleased, "released")


def decide_hold_expiry(world: World, command: ExpireHold, now: datetime) -> Outcome:
    """The sweep may come late, or twice, or after an extension: then nothing happens."""
    begun = _begin(world, command, now)
    if isinstance(begun, Refusal):
        return finish(Draft(world, command, now))
    if isinstance(begun, Begun) and begun.held.hold.expires_at > now:
        return finish(Draft(world, command, now))
    return _let_go(world, command, now, HoldExpired, "expired")


def decide_extend(world: World, command: ExtendHold, now: datetime) -> Outcome:
    """Never shorter than it was, never longer than the longest hold from now."""
    begun = _begin(world, command, now)
    if not isinstance(begun, Begun):
        return begun
    until = max(begun.held.hold.expires_at, now + min(command.ttl, _TTL_MAX))
    hold = replace(begun.held.hold, expires_at=until)
    begun.draft.record(begun.owner, HoldExtended(hold=hold))
    return _end(begun, hold, ())


def decide_releases(world: World, command: ReleaseHolds, now: datetime) -> Outcome:
    """The oldest first; none at all is fine."""
    state, owner = world.accounts[command.owner], command.owner
    if state is None:
        return NO_SUCH_ACCOUNT
    if not world.has_open_holds(owner, command.reference, RELEASES_MAX + 1):
        return one("open_holds", (owner, command.reference))
    found = world.open_holds_of(owner, command.reference)
    holds = found[:RELEASES_MAX]
    freed = _sum_by_lot(held.slices for held in holds)
    if need := need_to_free(state, freed, now):
        return need
    draft = Draft(world, command, now)
    settle_first(draft, owner)
    event = HoldsReleased(
        reference=command.reference,
        holds=tuple([Slice(held.hold.hold_id, held.hold.amount) for held in holds]),
        freed=freed,
        freed_on_credit=sum([held.on_credit for held in holds]),
        limits=_sum_by_use(holds),
        has_more=len(found) > RELEASES_MAX,
        reason=command.reason,
        private=command.private,
    )
    draft.record(owner, event)
    draft.answer_here()
    for held in holds:
        hold = replace(held.hold, status="released", released=held.hold.amount)
        draft.keep_hold(replace(held, hold=hold))
    settle_freed(draft, owner, freed)
    return finish(draft)


def _begin(world: World, command: HoldCommand, now: datetime) -> Begun | Refusal | Need:
    """The hold, open, on its settled account."""
    state = world.accounts[command.owner]
    if state is None:
        return NO_SUCH_ACCOUNT
    if version_in("hld", command.hold_id, command.owner) is None:
        return _NOT_FOUND
    if command.hold_id not in world.holds:
        return one("holds", (command.owner, command.hold_id))
    held = world.holds[command.hold_id]
    if held is None:
        return _NOT_FOUND
    if not held.is_open:
        return Refusal(ProblemCode.HOLD_NOT_OPEN, {"hold_status": held.hold.status})
    if need := need_to_free(state, held.slices, now):
        return need
    draft = Draft(world, command, now)
    settle_first(draft, command.owner)
    return Begun(draft=draft, held=held)


def _let_go(
    world: World,
    command: HoldCommand,
    now: datetime,
    kind: type[HoldReleased | HoldExpired],
    status: str,
) -> Outcome:
    begun = _begin(world, command, now)
    if not isinstance(begun, Begun):
        return begun
    held = begun.held
    hold = replace(held.hold, status=status, released=held.hold.amount)
    event = kind(hold=hold, freed=held.slices, freed_on_credit=held.on_credit, limits=held.limits)
    begun.draft.record(begun.owner, event)
    return _end(begun, hold, held.slices)


def _end(begun: Begun, hold: HoldAfter, freed: Sequence[Slice]) -> Outcome:
    draft = begun.draft
    draft.answer_here()
    draft.keep_hold(replace(begun.held, hold=hold))
    settle_freed(draft, begun.owner, freed)
    return finish(draft)


def _split(slices: Sequence[Slice], amount: int) -> tuple[tuple[Slice, ...], tuple[Slice, ...]]:
    """The first `amount` credits, and the rest; what is on credit comes after all lots."""
    captured, freed = [], []
    for part in slices:
        taken = min(part.amount, amount)
        amount -= taken
        if taken:
            captured.append(Slice(part.grant_id, taken))
        if part.amount > taken:
            freed.append(Slice(part.grant_id, part.amount - taken))
    return tuple(captured), tuple(freed)


def _sum_by_lot(all_slices: Iterable[Sequence[Slice]]) -> tuple[Slice, ...]:
    amounts: dict[str, int] = {}
    for slices in all_slices:
        for part in slices:
            amounts[part.grant_id] = amounts.get(part.grant_id, 0) + part.amount
    return tuple([Slice(grant_id, amount) for grant_id, amount in amounts.items()])


def _sum_by_use(holds: Sequence[HoldState]) -> tuple[tuple[LimitUse, int], ...]:
    amounts: dict[LimitUse, int] = {}
    for held in holds:
        for use in held.limits:
            amounts[use] = amounts.get(use, 0) + held.hold.amount
    return tuple(amounts.items())
