"""The client speaks the whole of the API about credits, and reads all of its replies."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from contracts.api.accounts import AccountStatus
from contracts.api.common import Page, Source
from contracts.api.debits import DebitRequest
from contracts.api.generations import (
    FlagReason,
    FlagRequest,
    GenerationRequest,
    ModelSwitchRequest,
)
from contracts.api.grants import ClawbackRequest, GrantKind, GrantRequest, VoidRequest
from contracts.api.holds import HoldRequest, HoldStatus, ReleaseHoldsRequest
from contracts.api.operating import (
    Adjusting,
    AdjustmentRequest,
    StandingRequest,
    TransferRequest,
    WriteOffRequest,
)
from contracts.api.policies import PolicyRequest
from contracts.api.prices import QuoteRequest
from contracts.api.terms import (
    LimitsRequest,
    PeriodUnit,
    Schedule,
    SchedulesRequest,
    SpendLimit,
    ThresholdsRequest,
)
from contracts.client import LedgerClient, LedgerRejected
from tests.fixtures.live import LiveLedger, new_account
from tests.fixtures.tenants import new_tenant

pytestmark = pytest.mark.slow

WHY = StandingRequest(reason="test")


def test_holds_and_clawbacks(ledger: LiveLedger) -> None:
    """From a hold to its capture, and from a grant to its end."""
    asyncio.run(hold_and_claw_back(ledger.url, ledger.caller.key or ""))


async def hold_and_claw_back(url: str, api_key: str) -> None:
    """Every call on holds and grants."""
    account_id = new_account()
    async with LedgerClient(url, api_key) as client:
        given = GrantRequest(amount=100, source=Source.PURCHASE)
        grant = (await client.grant(account_id, given, key="g")).grant
        assert (grant.kind, grant.expires_at, grant.clawback) == (GrantKind.GRANT, None, None)
        asked = HoldRequest(amount=10, reason="render", reference="job")
        planned = await client.place_hold(account_id, asked, key="h1", dry_run=True)
        assert planned.hold.hold_id is None
        hold_ids = []
        for number in range(4):
            held = await client.place_hold(
                account_id,
                HoldRequest(amount=10, reason="render", reference="job"),
                key=f"h{number}",
            )
            assert held.hold.hold_id is not None
            hold_ids.append(held.hold.hold_id)
        captured = await client.capture(account_id, hold_ids[0], 4, key="c")
        assert (captured.hold.released, captured.debit.amount) == (6, 4)
        released = await client.release(account_id, hold_ids[1], key="r")
        assert released.hold.status is HoldStatus.RELEASED
        extended = await client.extend(account_id, hold_ids[2], 6000, key="e")
        assert await client.hold(account_id, hold_ids[2]) == extended.hold
        rest = await client.release_holds(
            account_id, ReleaseHoldsRequest(reference="job"), key="all"
        )
        assert [one.hold_id for one in rest.holds] == hold_ids[2:]
        assert grant.grant_id is not None
        claim = ClawbackRequest(
            reference="r", as_of=datetime.now(UTC), fraction_millis=1000, reason="store"
        )
        clawed = await client.claw_back(account_id, grant.grant_id, claim, key="cb")
        assert clawed.grant.clawback is not None
        assert (clawed.grant.clawback.taken, clawed.grant.clawback.owed) == (96, 4)
        why = VoidRequest(reason="x")
        assert (await client.void_grant(account_id, grant.grant_id, why, key="v")).grant.voided


def test_what_operators_do(ledger: LiveLedger) -> None:
    """Balances put right, accounts frozen, merged and closed."""
    asyncio.run(operate(ledger.url, ledger.caller.key or ""))


async def operate(url: str, api_key: str) -> None:
    """Every call of operators on accounts."""
    one, other = new_account(), new_account()
    async with LedgerClient(url, api_key) as client:
        for account_id in (one, other):
            request = GrantRequest(amount=100, source=Source.PROMO, expires_at=None)
            await client.grant(account_id, request, key="g")
        adjustment = AdjustmentRequest(amount=5, direction=Adjusting.DEBIT, reason="x")
        adjusted = await client.adjust(one, adjustment, key="a")
        assert adjusted.adjustment.lots[0].amount == 5
        with pytest.raises(LedgerRejected, match="no_debt"):
            await client.write_off(one, WriteOffRequest(reason="x"), key="w")
        assert (await client.freeze(one, WHY, key="f")).account.status is AccountStatus.FROZEN
        assert (await client.unfreeze(one, WHY, key="u")).account.status is AccountStatus.ACTIVE
        merge = TransferRequest(
            from_account_id=one, to_account_id=other, amount="all", merge=True, reason="x"
        )
        moved = await client.transfer(merge, key="t")
        assert (moved.transfer.amount, moved.account.merged_into) == (95, other)
        closed = await client.close_account(other, WHY, key="x")
        assert closed.account.status is AccountStatus.CLOSED


def test_terms_and_policies(ledger: LiveLedger) -> None:
    """What is set is what is read."""
    asyncio.run(set_terms(ledger.url, new_tenant(ledger).key or ""))


async def set_terms(url: str, api_key: str) -> None:
    """Every call on terms and policies."""
    account_id = new_account()
    async with LedgerClient(url, api_key) as client:
        await client.grant(account_id, GrantRequest(amount=100, source=Source.PROMO), key="g")
        plan = Schedule(
            schedule_id="plan",
            amount=5,
            unit=PeriodUnit.WEEK,
            starts_at=datetime(2100, 1, 1, tzinfo=UTC),
        )
        set_to = await client.set_schedules(account_id, SchedulesRequest(schedules=(plan,)))
        assert (await client.schedules(account_id)).schedules == set_to.schedules
        watched = ThresholdsRequest(low_balance=(500,), expiry_notice_seconds=60)
        assert (await client.set_thresholds(account_id, watched)).thresholds.below == (500,)
        assert (await client.thresholds(account_id)).low_balance == (500,)
        limit = SpendLimit(limit_id="daily", amount=10)
        await client.set_limits(account_id, LimitsRequest(limits=(limit,)))
        await client.debit(account_id, DebitRequest(amount=4, reason="x"), key="d")
        assert (await client.limits(account_id)).limits[0].used == 4
        changed = await client.set_policy(PolicyRequest(grace_seconds=5))
        assert await client.policy() == changed.policy
        assert (changed.policy.version, changed.policy.grace_seconds) == (1, 5)


def test_models_quotes_and_generations(ledger: LiveLedger) -> None:
    """What is quoted is charged, and what is off is refused."""
    asyncio.run(quote_and_order(ledger.url, new_tenant(ledger).key or ""))


async def quote_and_order(url: str, api_key: str) -> None:
    """Every call on models and generations, by somebody who reads Turkish."""
    account_id = new_account()
    async with LedgerClient(url, api_key, language="tr") as client:
        await client.grant(account_id, GrantRequest(amount=100, source=Source.PROMO), key="g")
        model = (await client.models()).items[0]
        content = {"prompt": "a boat", "duration": "6s"}
        quote = await client.quote(QuoteRequest(model=model.model, input=content))
        request = GenerationRequest(
            account_id=account_id, model=model.model, input=content, quote_id=quote.quote_id
        )
        ordered = (await client.request_generation(request, key="o")).generation
        assert (ordered.charged, ordered.price_line) == (quote.price, quote.lines[0])
        assert await client.generation(ordered.generation_id or "") == ordered
        report = FlagRequest(reason=FlagReason.BROKEN, text="no boat")
        flag = (await client.flag_generation(ordered.generation_id or "", report, key="f")).flag
        assert (await client.flags(ordered.generation_id or "")).items == (flag,)
        for listed in (
            await client.generations(account_id, model=model.model, since=ordered.created_at),
            await client.generations(flagged=True),
        ):
            (found,) = listed.items
            assert (found.generation_id, found.flagged is None) == (ordered.generation_id, False)
        until = await client.generations(account_id, until=ordered.created_at)
        assert until == Page(items=(), next_cursor=None)
        theme = next(it for it in (await client.themes()).items if it.model == model.model)
        asked = QuoteRequest(theme=theme.theme, subject="a boat")
        assert (await client.quote(asked)).price == theme.price
        switch = ModelSwitchRequest(available=False, note="later")
        assert (await client.switch_model(model.model, switch, dry_run=True)).note == "later"
        assert not (await client.switch_model(model.model, switch)).available
        with pytest.raises(LedgerRejected, match="model_unavailable"):
            await client.request_generation(request, key="p")
        cancelled = await client.cancel_generation(ordered.generation_id or "")
        assert cancelled.failure is not None
        assert cancelled.failure.message.startswith("İptal edildi.")
