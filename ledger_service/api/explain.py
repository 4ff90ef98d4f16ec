"""Explains what a spend would do, and why, by the rules that decide it."""

from typing import Annotated, Final

import msgspec
from litestar import Controller

from contracts.api.common import Amount, Source, Tags
from contracts.api.explanations import ConsideredLimit, ConsideredLot, Explanation, LotVerdict
from contracts.api.keys import Scope
from contracts.api.terms import LimitWindow
from contracts.problems import ProblemCode
from ledger_service.api.body import fault
from ledger_service.api.call import Call
from ledger_service.api.endpoint import get
from ledger_service.api.http_reply import HttpReply, json_reply
from ledger_service.api.query import ReadQuery
from ledger_service.domain.account import explain
from ledger_service.domain.account.limits import LimitState
from ledger_service.domain.policy import DEFAULT_POLICY
from ledger_service.errors import Rejected
from ledger_service.store.policies import read_policy

LOTS_MAX: Final = 200
"""Grants that one answer shows."""


class ExplainQuery(ReadQuery, frozen=True, kw_only=True):
    """The spend in question; several tags with commas between them."""

    amount: Amount
    tags: Annotated[str, msgspec.Meta(min_length=1, max_length=2048)] | None = None


class ExplainController(Controller):
    """`/v1/accounts/{account_id}/explain`."""

    path = "/v1/accounts/{account_id:str}/explain"
    tags = ("Accounts",)

    @get(
        scope=Scope.READ,
        reply=Explanation,
        summary="Explain a spend",
        problems=(ProblemCode.ACCOUNT_NOT_FOUND,),
    )
    async def explain_spend(self, call: Call, account_id: str, query: ExplainQuery) -> HttpReply:
        """What a spend by this key would do now: which grants would pay, in which order, why the
        others would not, which limits count, and the rule that decides. Nothing is changed."""
        tags = _tags(query.tags)
        await call.at_least(query.min_position)
        view = await call.services.reads.whole_account(call.owner(account_id))
        if view is None:
            raise Rejected(ProblemCode.ACCOUNT_NOT_FOUND)
        found = await read_policy(call.services.pool, call.tenant)
        policy = found.policy if found else DEFAULT_POLICY
        key_id = call.identity.key_id
        told = explain.explain_spend(view.state, policy, query.amount, tags, key_id, view.now)
        return json_reply(_shown(told))


def _tags(text: str | None) -> frozenset[str]:
    try:
        return frozenset(msgspec.convert(text.split(",") if text else [], Tags))
    except msgspec.ValidationError:
        raise fault("?tags", "tags with commas between them, as in a debit") from None


def _shown(told: explain.Explanation) -> Explanation:
    return Explanation(
        amount=told.amount,
        would_succeed=told.is_met,
        rule=told.rule,
        spendable=told.spendable,
        available=told.available,
        held=told.held,
        debt=told.debt,
        pending_expiry=told.pending_expiry,
        on_credit=told.on_credit,
        credit_left=told.credit_left,
        lots=tuple([_lot(considered) for considered in told.lots[:LOTS_MAX]]),
        lots_left_out=max(0, len(told.lots) - LOTS_MAX),
        limits=tuple([_limit(limit) for limit in told.limits]),
    )


def _lot(considered: explain.ConsideredLot) -> ConsideredLot:
    lot = considered.lot
    return ConsideredLot(
        grant_id=lot.grant_id,
        verdict=LotVerdict(considered.verdict.value),
        gives=considered.gives,
        free=lot.free,
        held=lot.held,
        source=Source(lot.source),
        priority=lot.priority,
        effective_at=lot.effective_at,
        expires_at=lot.expires_at,
        unit_cost_micros=lot.unit_cost_micros,
        restrict_to=lot.restrict_to,
    )


def _limit(found: LimitState) -> ConsideredLimit:
    return ConsideredLimit(
        limit_id=found.limit.limit_id,
        amount=found.limit.amount,
        window=LimitWindow(found.limit.window),
        used=found.used,
        left=found.left,
        resets_at=found.resets_at,
    )
