"""Transfers and merges, as their callers ask for them."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from contracts.limits import BALANCE_MAX_CREDITS
from contracts.problems import ProblemCode
from ledger_service.domain.account.balance import idle
from ledger_service.domain.account.moving import move_debt, move_lots, need_to_move
from ledger_service.domain.account.settle import settle_first
from ledger_service.domain.account.standing import Movement, refusal_by_status
from ledger_service.domain.account.state import AccountState
from ledger_service.domain.commands import TransferCredits
from ledger_service.domain.draft import Draft
from ledger_service.domain.events.account import Slice
from ledger_service.domain.events.transfers import AccountMerged
from ledger_service.domain.finishing import finish
from ledger_service.domain.ids import split_owner
from ledger_service.domain.world import Outcome, Refusal, World

LOTS_MAX: Final = 1_000
"""Lots that one command moves."""


def decide_transfer(world: World, command: TransferCredits, now: datetime) -> Outcome:
    """Both accounts in one transaction, or nothing."""
    if refusal := _refuse(world, command):
        return refusal
    draft = Draft(world, command, now)
    if need := need_to_move(draft, command.owner, command.to_owner):
        return need
    settle_first(draft, command.owner)
    settle_first(draft, command.to_owner)
    slices = _picked(draft, command)
    if isinstance(slices, Refusal):
        return slices
    if refusal := _refuse_bounds(draft, command, slices):
        return refusal
    if command.is_merge:
        _merge(draft, command, slices)
    else:
        move_lots(
            draft,
            command.owner,
            command.to_owner,
            slices,
            reason=command.reason,
            private=command.private,
        )
    return finish(draft, http_status=201)


def _refuse(world: World, command: TransferCredits) -> Refusal | None:
    if command.owner == command.to_owner:
        return Refusal(ProblemCode.SAME_ACCOUNT)
    source, target = world.accounts[command.owner], world.accounts[command.to_owner]
    if source is None or target is None:
        missing = command.owner if source is None else command.to_owner
        return Refusal(ProblemCode.ACCOUNT_NOT_FOUND, {"account_id": split_owner(missing)[1]})
    if refusal := refusal_by_status(source, Movement.SPEND):
        return refusal
    if refusal := refusal_by_status(target, Movement.GRANT):
        return refusal
    if command.is_merge and target.merged_into is not None:
        return refusal_by_status(target, Movement.SPEND)
    if source.unit != target.unit:
        units = {"unit": source.unit, "to_unit": target.unit}
        return Refusal(ProblemCode.UNIT_MISMATCH, units)
    return None


def transferable(state: AccountState, now: datetime) -> int:
    """Credits that may leave a settled account: free ones that could be spent, less debt; negative
    when that is more."""
    free = sum([lot.free for lot in state.lots if lot.is_spendable(now)])
    return min(free, state.posted - state.held - sum(idle(state, now)))


def _picked(draft: Draft, command: TransferCredits) -> list[Slice] | Refusal:
    state = draft.account(command.owner)
    assert state is not None
    free = [lot for lot in state.lots if lot.free]
    if command.is_merge:
        return [Slice(lot.grant_id, lot.free) for lot in free]
    most = transferable(state, draft.now)
    if most < (command.amount or 1):
        required = command.amount or 1
        numbers = {"available": most, "required": required, "shortfall": required - most}
        return Refusal(ProblemCode.INSUFFICIENT_CREDITS, numbers)
    spendable = [lot for lot in free if lot.is_spendable(draft.now)]
    if command.amount is None and most == sum([lot.free for lot in spendable]):
        later = [lot for lot in free if not lot.is_expired(draft.now)]  # not effective yet, too
        return [Slice(lot.grant_id, lot.free) for lot in later]
    wanted = most if command.amount is None else command.amount
    slices = []
    for lot in spendable:
        if part := min(lot.free, wanted):
            slices.append(Slice(lot.grant_id, part))
            wanted -= part
    return slices


def _refuse_bounds(draft: Draft, command: TransferCredits, slices: list[Slice]) -> Refusal | None:
    target = draft.account(command.to_owner)
    assert target is not None
    if len(slices) > LOTS_MAX:
        return Refusal(ProblemCode.LIMIT_REACHED, {"limit": LOTS_MAX})
    if target.posted + sum([part.amount for part in slices]) > BALANCE_MAX_CREDITS:
        return Refusal(ProblemCode.LIMIT_REACHED, {"limit": BALANCE_MAX_CREDITS})
    return None


def _merge(draft: Draft, command: TransferCredits, slices: list[Slice]) -> None:
    if slices:
        move_lots(draft, command.owner, command.to_owner, slices, is_merge=True)
    move_debt(draft, command.owner, command.to_owner)
    merged = AccountMerged(
        merged_into=split_owner(command.to_owner)[1],
        transfer_id=draft.next_id("trf", command.owner),
        moved=sum([part.amount for part in slices]),
        reason=command.reason,
        private=command.private,
    )
    draft.record(command.owner, merged)
    draft.answer_here()
